"""Rows of a diff and the writing of fixes, without a screen."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import Edit, Evidence, Finding, Fix, Mark
from tui.review import apply, rows

LINES = st.lists(st.text("ab é", max_size=3), min_size=1, max_size=12)


@st.composite
def edited(draw: st.DrawFn) -> tuple[list[str], list[Edit]]:
    """Lines and edits that fit them."""
    lines = draw(LINES)
    cuts = sorted(draw(st.sets(st.integers(1, len(lines) + 1), max_size=4)))
    edits = []
    for first, after in zip(cuts[::2], cuts[1::2], strict=False):
        edits.append(Edit(first, draw(st.integers(first - 1, after - 1)), tuple(draw(LINES))))
    return lines, edits


@given(edited(), st.data())
@settings(deadline=None)
def test_a_change_with_edits_shows_the_new_lines_and_the_same_old_ones(
    case: tuple[list[str], list[Edit]], data: st.DataObject
):
    lines, edits = case
    text = "".join(f"{line}\n" for line in lines).encode()
    added = data.draw(st.frozensets(st.integers(1, len(lines))))
    removed = data.draw(st.dictionaries(st.integers(1, len(lines) + 1), st.tuples(st.text("ab", max_size=2))))
    before = FileChange("a.py", text, added, removed)
    after = apply.edited(before, edits)
    assert after.data == apply.changed(text, edits)
    assert after.old_text == before.old_text
    assert max(after.added, default=0) <= len(after.lines)
    assert max(after.removed, default=0) <= len(after.lines) + 1


def test_an_edit_that_brings_an_old_line_back_leaves_no_change():
    before = FileChange("a.py", b"a\nX\nc\n", frozenset({2}), {2: ("b",)})
    after = apply.edited(before, [Edit(2, 2, ("b",))])
    assert (after.lines, after.added, after.removed) == (("a", "b", "c"), frozenset(), {})


@given(edited(), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
@settings(deadline=None)
def test_edits_are_made_in_the_files_own_form(
    case: tuple[list[str], list[Edit]], end: str, is_ended: bool, is_marked: bool
):
    lines, edits = case
    mark = b"\xef\xbb\xbf" if is_marked else b""
    data = mark + (end.join(lines) + (end if is_ended else "")).encode()
    wanted = list(lines)
    for edit in reversed(edits):
        wanted[edit.first - 1 : edit.last] = edit.lines
    done = apply.changed(data, edits)
    assert done.startswith(mark)
    assert done[len(mark) :].decode().split("\n") == [
        *(line + end[:-1] for line in wanted[:-1]),
        *([wanted[-1] + end[:-1], ""] if is_ended else [wanted[-1]]),
    ] or (len(lines) == 1 and not is_ended)  # one line without an end does not tell which end the file has


def finding(line: int, edits: tuple[Edit, ...] = ()) -> Finding:
    evidence = Evidence("ruff", "F821", "Undefined name", 0.9)
    mark = Mark("ruff/F821", "a.py", "x", "y")
    fix = Fix("ruff", "Replace", "", edits) if edits else None
    return Finding(
        f"id{line}",
        mark,
        "a.py",
        line,
        line,
        "error",
        "correctness",
        "ruff/F821",
        "Undefined name",
        0.9,
        (evidence,),
        (),
        fix,
    )


def test_other_findings_move_with_a_fix_and_a_fix_that_it_touches_is_gone():
    found = [finding(1), finding(4, (Edit(4, 4, ("x",)),)), finding(3, (Edit(3, 3, ("y",)),))]
    after = apply.moved(found, "a.py", [Edit(2, 3, ("one", "two", "three", "four"))])
    assert [one.line for one in after] == [1, 6, 3]
    assert after[1].fix is not None
    assert after[1].fix.edits == (Edit(6, 6, ("x",)),)
    assert after[2].fix is None
    assert apply.moved(found, "b.py", [Edit(1, 1, ())]) == found


def test_a_fix_is_written_only_on_what_was_reviewed_and_taken_back_only_from_what_it_wrote(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_bytes(b"a\r\nb\r\n")
    path.chmod(0o755)
    with pytest.raises(HoneError, match="review again"):
        apply.write(path, b"other", [Edit(1, 1, ("x",))])
    applied = apply.write(path, b"a\r\nb\r\n", [Edit(1, 1, ("x",))])
    assert path.read_bytes() == b"x\r\nb\r\n"
    assert path.stat().st_mode & 0o777 == 0o755
    path.write_bytes(b"x\r\nb\r\nmine\r\n")
    with pytest.raises(HoneError, match="it stays as it is"):
        apply.take_back(applied)
    path.write_bytes(b"x\r\nb\r\n")
    apply.take_back(applied)
    assert path.read_bytes() == b"a\r\nb\r\n"


def change() -> FileChange:
    text = "".join(f"line {number}\n" for number in range(1, 21))
    return FileChange("a.py", text.encode(), frozenset({10, 11}), {10: ("old 10",), 21: ("old end",)})


def shown(found: list[rows.Row]) -> list[str]:
    made = []
    for row in found:
        old, new = (f"{side.number}{'*' if side.changed else ''}" if side else "" for side in (row.old, row.new))
        made.append(f"{row.kind} {row.hidden or ''}{row.finding if row.finding >= 0 else ''}{old}|{new}")
    return made


def test_a_unified_diff_has_removed_above_added_and_leaves_out_what_is_far():
    assert shown(rows.unified(change(), {11: [0]})) == [
        "gap 6|",
        "same 7|7",
        "same 8|8",
        "same 9|9",
        "changed 10*|",
        "changed |10*",
        "changed |11*",
        "finding 0|",
        "same 11|12",
        "same 12|13",
        "same 13|14",
        "gap 3|",
        "same 17|18",
        "same 18|19",
        "same 19|20",
        "changed 20*|",
    ]


def test_side_by_side_has_an_added_line_beside_the_one_it_replaced():
    found = shown(rows.side_by_side(change(), {}))
    assert found[4:6] == ["changed 10*|10*", "changed |11*"]
    assert found[-1] == "changed 20*|"


def test_a_finding_far_from_any_change_is_shown_with_its_lines():
    found = rows.unified(change(), {2: [0, 1]})
    assert [row.finding for row in found if row.kind == "finding"] == [0, 1]
    assert found[0].new is not None
    assert found[0].new.number == 1
