"""Which row of the view shows what: rows fit, nothing is lost between them, and edits leave what a fresh layout has."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from textual._cells import cell_len
from textual.expand_tabs import expand_tabs_inline
from textual.geometry import Offset

from tui.code.document import SourceDocument
from tui.code.layout import SourceLayout, breaks
from tui.inert import inert_in_place

TEXT = st.text(st.sampled_from("ab  \n\té漢\x1b"), max_size=60)
EDITS = st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70), TEXT), max_size=6)


def rows_of(line: str, width: int) -> list[str]:
    edges = [0, *breaks(line, width, 4), len(line)]
    return [line[start:end] for start, end in pairwise(edges)]


@given(st.text(st.sampled_from("ab  \té漢😀❤\ufe0f\u200d\u202e"), max_size=80), st.integers(1, 12))
@settings(deadline=None)
def test_no_row_is_wider_than_the_view_and_none_is_empty(line: str, width: int):
    rows = rows_of(line, width)
    assert "".join(rows) == line
    for row in rows:
        assert row or not line
        assert cell_len(expand_tabs_inline(inert_in_place(row), 4)) <= width or len(row) == 1


def test_rows_end_behind_words_where_they_can():
    assert rows_of("def total(items, tax):", 12) == ["def ", "total(items,", " tax):"]
    assert rows_of("one two three four", 9) == ["one two ", "three ", "four"]
    assert rows_of("        indented_beyond_the_edge", 12) == ["        inde", "nted_beyond_", "the_edge"]
    assert rows_of("", 5) == [""]


@given(TEXT, EDITS, st.integers(0, 9))
@settings(deadline=None)
def test_edits_leave_the_layout_that_the_text_would_have_anew(text: str, edits: list[tuple[int, int, str]], width: int):
    document = SourceDocument(text)
    layout = SourceLayout(document, 4)
    layout.wrap(width)
    for start, end, put in edits:
        last = len(document.text)
        places = sorted((document.location_of(min(start, last)), document.location_of(min(end, last))))
        result = document.replace_range(*places, document.fitting(put))
        layout.wrap_range(*places, result.end_location)
    fresh = SourceLayout(document, 4)
    fresh.wrap(width)
    lines = range(document.line_count)
    assert layout.height == fresh.height
    assert [layout.get_sections(line) for line in lines] == [fresh.get_sections(line) for line in lines]
    assert [layout.top(line) for line in lines] == [fresh.top(line) for line in lines]


@given(TEXT, st.integers(0, 9))
@settings(deadline=None)
def test_every_place_has_one_cell_of_the_view(text: str, width: int):
    document = SourceDocument(text)
    layout = SourceLayout(document, 4)
    layout.wrap(width)
    for line in range(document.line_count):
        assert [layout.line_at(layout.top(line) + part) for part in range(len(layout.get_sections(line)))] == [
            (line, part) for part in range(len(layout.get_sections(line)))
        ]
        places = [(line, column) for column in range(len(document.get_line(line)) + 1)]
        cells = [layout.location_to_offset(place) for place in places]
        assert [layout.offset_to_location(cell) for cell in cells] == places
    end = layout.offset_to_location(Offset(99, layout.height + 5))
    assert end == document.end
