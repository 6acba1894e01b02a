"""Which row of the view shows what: one row for each line, or as many as a line takes in the view's width."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from rich.cells import get_character_cell_size
from textual._cells import cell_len, cell_width_to_column_index
from textual.document._document import Location
from textual.document._wrapped_document import WrappedDocument
from textual.expand_tabs import expand_tabs_inline
from textual.geometry import Offset

from tui.code.document import SourceDocument, plain
from tui.inert import inert_in_place

_EMOJI_STYLE = "\ufe0f"
"""Makes the character in front of it two cells wide."""


def breaks(line: str, width: int, tab_width: int) -> Sequence[int]:
    """The columns where a line goes on in another row, so that no row takes more than `width` cells.

    A row ends behind white space if there is some behind its first word. Tab stops are counted from the row's start.
    Only a single character may be wider than `width`.
    """
    text = inert_in_place(line)
    one_cell_each = plain(text)
    found: list[int] = []
    start = 0
    while True:
        end = min(start + width, len(text)) if one_cell_each else _filled(text, start, width, tab_width)
        if end >= len(text):
            return found
        row = text[start:end]
        words = row[: max(row.rfind(" "), row.rfind("\t")) + 1]
        start = start + len(words) if words.strip() else end
        found.append(start)


def _filled(text: str, start: int, width: int, tab_width: int) -> int:
    """The end of a row that begins at `start` and is cut anywhere."""
    cells = 0
    for index in range(start, len(text)):
        character = text[index]
        if character == "\t":
            cells += tab_width - cells % tab_width
        else:
            cells += 1 if character == _EMOJI_STYLE else get_character_cell_size(character)
        if cells > width:
            return max(index, start + 1)
    return len(text)


class SourceLayout(WrappedDocument):
    """Kept up with as little as an edit changes; with a width of 0 there is nothing to keep up."""

    def __init__(self, document: SourceDocument, tab_width: int) -> None:
        self._source = document
        super().__init__(document, tab_width=tab_width)

    def wrap(self, width: int, tab_width: int | None = None) -> None:
        self._width = width
        self._tab_width = tab_width or self._tab_width
        self._breaks: list[Sequence[int]] = []
        self._rows: list[int] = []
        """How many each line takes."""
        self._tops: list[int] | None = None
        if width:
            self._breaks = self._breaks_of(0, self._source.line_count)
            self._rows = [len(found) + 1 for found in self._breaks]

    def wrap_range(self, start: Location, old_end: Location, new_end: Location) -> None:
        if not self._width:
            return
        more = self._source.line_count - len(self._breaks)
        top = min(start[0], len(self._breaks) - 1)
        bottom = max(top, old_end[0], new_end[0] - more)
        fresh = self._breaks_of(top, bottom + 1 + more)
        self._breaks[top : bottom + 1] = fresh
        self._rows[top : bottom + 1] = [len(found) + 1 for found in fresh]
        self._tops = None

    def _breaks_of(self, first: int, last: int) -> list[Sequence[int]]:
        width, tab_width = self._width, self._tab_width
        cells = self._source.widths(tab_width)[first:last]
        lines = self._source.lines[first:last]
        return [
            () if wide <= width else breaks(line, width, tab_width) for line, wide in zip(lines, cells, strict=True)
        ]

    @property
    def width(self) -> int:
        """Cells of a row; 0 where lines are as long as they are."""
        return self._width

    @property
    def wrapped(self) -> bool:
        return self.height > self._source.line_count

    @property
    def height(self) -> int:
        return self.top(self._source.line_count)

    def top(self, line_index: int) -> int:
        """The first row of a line; that of the line behind the last is the number of rows."""
        if not self._width:
            return line_index
        if self._tops is None:
            self._tops = list(accumulate(self._rows, initial=0))
        return self._tops[line_index]

    def line_at(self, y: int) -> tuple[int, int]:
        """The line of a row, and which of its rows that is; behind the last as if lines of one row followed."""
        if not self._width:
            return y, 0
        height = self.height
        if y >= height:
            return self._source.line_count + y - height, 0
        assert self._tops is not None
        line = bisect_right(self._tops, y) - 1
        return line, y - self._tops[line]

    def section(self, line_index: int, part: int) -> tuple[int, int]:
        """The columns at which one row of a line begins and ends."""
        found = self.get_offsets(line_index)
        end = found[part] if part < len(found) else len(self._source.get_line(line_index))
        return found[part - 1] if part else 0, end

    def get_offsets(self, line_index: int) -> list[int]:
        if not 0 <= line_index < self._source.line_count:
            raise ValueError(f"there is no line {line_index}")
        return list(self._breaks[line_index]) if self._width else []

    def get_sections(self, line_index: int) -> list[str]:
        line = self._source.get_line(line_index)
        edges = [0, *self.get_offsets(line_index), len(line)]
        return [line[start:end] for start, end in pairwise(edges)]

    def get_tab_widths(self, line_index: int) -> list[int]:
        return []

    def location_to_offset(self, location: Location) -> Offset:
        row, column = location
        row = min(max(row, 0), self._source.line_count - 1)
        part = bisect_right(self.get_offsets(row), column)
        start, _ = self.section(row, part)
        before = self._source.get_line(row)[start:column]
        return Offset(self._cells(before), self.top(row) + part)

    def offset_to_location(self, offset: Offset) -> Location:
        row, part = self.line_at(max(offset.y, 0))
        if row >= self._source.line_count:
            row, part = self._source.line_count - 1, -1
        return row, self.get_target_document_column(row, max(offset.x, 0), part)

    def get_target_document_column(self, line_index: int, x_offset: int, y_offset: int) -> int:
        last = len(self.get_offsets(line_index))
        part = last if y_offset < 0 else y_offset
        start, end = self.section(line_index, part)
        text = inert_in_place(self._source.get_line(line_index)[start:end])
        if plain(text):
            column = min(x_offset, len(text))
        else:
            column = cell_width_to_column_index(text, x_offset, self._tab_width)
        # The place behind a row that is not the line's last is the next row's first.
        return start + (column if part == last else min(column, len(text) - 1))

    def _cells(self, text: str) -> int:
        return len(text) if plain(text) else cell_len(expand_tabs_inline(inert_in_place(text), self._tab_width))
