"""Fixes become patches that git applies, whatever the file's line ends."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.skills.review import patches, snapshot
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import Edit
from assistant.skills.review.observations import Suggestion, TextEdit

LINES = st.lists(st.sampled_from(["a", "b = 1", "", "  c", "\f", "é☃"]), min_size=1, max_size=14)


def apply(folder: Path, patch: str) -> None:
    done = subprocess.run(
        ["git", "-C", str(folder), "-c", "core.autocrlf=false", "apply", "-"],
        input=patch.encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.stderr, patch)


def whole(path: str, data: bytes) -> FileChange:
    return FileChange(path, data, frozenset({1}), {})


@st.composite
def edited(draw: st.DrawFn) -> tuple[list[str], list[Edit]]:
    """Lines, and edits of them in order with a line between two."""
    lines = draw(LINES)
    edits: list[Edit] = []
    at = 1
    while at <= len(lines) + 1 and draw(st.booleans() if edits else st.just(True)):
        first = draw(st.integers(at, len(lines) + 1))
        last = draw(st.integers(first - 1, len(lines)))
        new = tuple(draw(st.lists(st.sampled_from(["x", "y = 2", ""]), max_size=3)))
        if tuple(lines[first - 1 : last]) != new:
            edits.append(Edit(first, last, new))
        at = last + 2
        if at <= first:
            break
    return lines, edits


@settings(max_examples=40)
@given(case=edited(), end=st.sampled_from(["\n", "\r\n"]), ended=st.booleans(), bom=st.booleans())
def test_a_patch_does_what_its_edits_say(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[list[str], list[Edit]], end: str, ended: bool, bom: bool
):
    lines, edits = case
    if not edits or (not ended and lines[-1] == ""):
        return
    text = end.join(lines) + (end if ended else "")
    data = ("\ufeff" if bom else "").encode() + text.encode()
    with snapshot.of([whole("x.txt", data)]) as folder:
        patch = patches.unified("x.txt", data, edits)
        if patch is None:
            assert (bom, ended, len(lines)) == (True, False, 1)
            return
        assert patches.applies(folder, patch)
        apply(folder, patch)
        found = (folder / "x.txt").read_bytes() if (folder / "x.txt").exists() else b""
    wanted: list[str] = []
    at = 0
    for edit in edits:
        wanted += [*lines[at : edit.first - 1], *edit.lines]
        at = edit.last
    wanted += lines[at:]
    # Whether the last line is ended depends on which one it is now.
    joined = "\n".join(wanted)
    assert found.decode("utf-8-sig").replace("\r\n", "\n") in (joined, joined + "\n" if wanted else "")
    if b"\r\n" in data:
        assert found.count(b"\n") == found.count(b"\r\n")


@given(
    lines=LINES,
    cuts=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 6), st.sampled_from(["", "x", "\n", "p\nq"])), max_size=3
    ),
)
def test_edits_of_text_and_of_lines_are_the_same(lines: list[str], cuts: list[tuple[int, int, str]]):
    text = "\n".join(lines) + "\n"

    def position(offset: int) -> tuple[int, int]:
        before = text[:offset]
        return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1

    wanted, edits, at = "", [], 0
    for first, length, new in sorted(cuts):
        start, stop = min(first, len(text)), min(first + length, len(text))
        if start < at or (start == stop and not new):
            continue
        # The last line end is not part of any line.
        if stop == len(text) or start == len(text):
            continue
        wanted += text[at:start] + new
        edits.append(TextEdit(*position(start), *position(stop), new))
        at = stop
    wanted += text[at:]
    found = patches.line_edits(lines, edits)
    if wanted == text:
        assert found is None
        return
    assert found is not None
    made: list[str] = []
    line = 0
    for edit in found:
        assert edit.first > line
        made += [*lines[line : edit.first - 1], *edit.lines]
        line = edit.last
    made += lines[line:]
    assert "".join(one + "\n" for one in made) == wanted


@pytest.mark.parametrize(
    "edits",
    [
        (TextEdit(1, 1, 1, 3, "x"), TextEdit(1, 2, 1, 4, "y")),
        (TextEdit(1, 9, 1, 10, "x"),),
        (TextEdit(0, 1, 1, 1, "x"),),
        (TextEdit(2, 1, 1, 1, "x"),),
        (TextEdit(4, 1, 4, 2, "x"),),
        (),
    ],
)
def test_edits_that_make_no_sense_are_dropped(edits: tuple[TextEdit, ...]):
    assert patches.line_edits(["abcd", "e", "f"], edits) is None


PYTHON = "def f(x):\n    return x == None\n"


@pytest.mark.parametrize(
    ("path", "text", "edit", "holds"),
    [
        ("x.py", PYTHON, TextEdit(2, 14, 2, 16, "is"), True),
        ("x.py", PYTHON, TextEdit(2, 14, 2, 16, "("), False),
        ("x.go", "package a\n\nfunc f() int { return 1 }\n", TextEdit(3, 23, 3, 24, "2"), True),
        ("x.go", "package a\n\nfunc f() int { return 1 }\n", TextEdit(3, 23, 3, 24, "{"), False),
        ("x.py", "x = 1\nprint 2\ny = 3\n", TextEdit(1, 5, 1, 6, "2"), True),
        ("x.py", "x = (\ny = 3\n", TextEdit(2, 5, 2, 6, "2"), False),
        ("x.rb", "puts 1\n", TextEdit(1, 6, 1, 7, "2"), False),
    ],
)
def test_a_fix_must_parse(path: str, text: str, edit: TextEdit, holds: bool):
    change = whole(path, text.encode())
    with snapshot.of([change]) as folder:
        fix = patches.checked(change, Suggestion("better", (edit,)), "tool", folder)
        assert (fix is not None) == holds
        if fix:
            apply(folder, fix.patch)
            assert edit.text in (folder / path).read_text()


@pytest.mark.parametrize("path", ["with space.py", 'quo"te.py', "tab\t.py", "é.py", "a/b c/d.py"])
def test_patches_of_files_with_odd_names(path: str):
    change = whole(path, PYTHON.encode())
    with snapshot.of([change]) as folder:
        fix = patches.checked(change, Suggestion("", (TextEdit(2, 14, 2, 16, "is"),)), "tool", folder)
        assert fix is not None
        apply(folder, fix.patch)
        assert "is None" in (folder / path).read_text()


def test_a_patch_for_another_content_does_not_apply():
    change = whole("x.py", PYTHON.encode())
    other = patches.unified("x.py", b"something else\n", [Edit(1, 1, ("y",))])
    assert other is not None
    with snapshot.of([change]) as folder:
        assert not patches.applies(folder, other)
        # A fix is given away only if `git apply --check` takes it.
        (folder / "x.py").write_text("something else\n")
        assert patches.checked(change, Suggestion("better", (TextEdit(2, 14, 2, 16, "is"),)), "tool", folder) is None
