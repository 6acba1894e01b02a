"""Diffs that are handed in: the whole content is found where it can be."""

import difflib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.skills.review import from_diff
from assistant.skills.review.request import Request
from assistant.skills.review.run import read
from tests.conftest import git

OLD = "".join(f"line{number} = {number}\n" for number in range(1, 31))
NEW = OLD.replace("line3 = 3\n", "line3 = 33\nmore = 1\n").replace("line20 = 20\n", "")


def diff_of(old: str, new: str, context: int = 3, path: str = "x.py") -> bytes:
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{path}", f"b/{path}", n=context)
    return "".join(lines).encode()


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("on_disk", [OLD, NEW])
def test_content_on_disk_with_the_diff_applied_or_not(tmp_path: Path, on_disk: str, context: int):
    (tmp_path / "x.py").write_text(on_disk)
    found = from_diff.changes(diff_of(OLD, NEW, context), tmp_path, None)
    (file,) = found.files
    assert file.text == NEW
    assert file.added == {3, 4}
    assert file.old_text == OLD
    assert file.is_whole
    assert not found.notes


@given(
    old=st.lists(st.sampled_from(["a", "b", "c", "", "\f", "é"]), min_size=1, max_size=15),
    new=st.lists(st.sampled_from(["a", "b", "c", "", "\f", "é"]), min_size=1, max_size=15),
    context=st.integers(0, 3),
    crlf=st.booleans(),
    ended=st.booleans(),
)
def test_a_diff_applied_in_memory_gives_the_new_file(
    tmp_path_factory: pytest.TempPathFactory, old: list[str], new: list[str], context: int, crlf: bool, ended: bool
):
    end = "\r\n" if crlf else "\n"
    before, after = ("".join(line + end for line in lines) for lines in (old, new))
    lines = list(
        difflib.unified_diff(
            [line + end for line in old], [line + end for line in new], "a/x.py", "b/x.py", n=context, lineterm="\n"
        )
    )
    if not lines:
        return
    folder = tmp_path_factory.mktemp("diff")
    (folder / "x.py").write_bytes(before.encode())
    found = from_diff.changes("".join(lines).encode(), folder, None)
    (file,) = found.files
    # Where the file fits both sides, it is taken for the new one.
    assert file.data in (after.encode(), before.encode())
    if file.data == before.encode():
        shown = file.lines
        assert all(shown[number - 1] == new[number - 1] for number in file.added)


def test_content_among_the_repositorys_objects(make_repository):
    root = make_repository({"x.py": OLD})
    (root / "x.py").write_text(NEW)
    git(root, "add", "x.py")
    diff = git(root, "diff", "--cached").encode()
    (root / "x.py").write_text("something = 'else'\n")
    (file,) = read(Request(root, "diff", diff=diff)).files
    assert file.text == NEW


def test_without_the_content_the_shown_lines_have_to_do(tmp_path: Path):
    found = from_diff.changes(diff_of(OLD, NEW), tmp_path, None)
    (file,) = found.files
    assert not file.is_whole
    assert file.lines[2:4] == ("line3 = 33", "more = 1")
    assert "no content here fits the diff of x.py" in found.notes[0]


def test_a_new_file_needs_no_other_content(tmp_path: Path):
    diff = b"--- /dev/null\n+++ b/x.py\n@@ -0,0 +1,2 @@\n+x = 1\n+y = 2\n\\ No newline at end of file\n"
    (file,) = from_diff.changes(diff, tmp_path, None).files
    assert (file.data, file.is_new, file.is_whole) == (b"x = 1\ny = 2", True, True)


@pytest.mark.parametrize(
    "path", ["../x.py", "/etc/x.py", "a/../../x.py", ".git/hooks/x.py", "a/.GIT/x.py", "a\\b.py", "a//x.py"]
)
def test_a_path_that_leaves_the_repository_is_not_followed(tmp_path: Path, path: str):
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "x.py").write_text(OLD)
    diff = f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-line1 = 1\n+line1 = 2\n".encode()
    found = from_diff.changes(diff, folder, None)
    assert not found.files
    assert [one.reason for one in found.skipped] == ["a path that leaves the repository"]


def test_a_folder_called_a_is_no_prefix(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text(OLD)
    diff = diff_of(OLD, NEW).replace(b"b/x.py", b"a/x.py")
    assert [file.path for file in from_diff.changes(diff, tmp_path, None).files] == ["a/x.py"]


def test_only_some_paths(tmp_path: Path):
    diff = diff_of("", "x = 1\n", path="in/x.py") + diff_of("", "x = 1\n", path="out/x.py")
    assert [file.path for file in from_diff.changes(diff, tmp_path, None, ("in",)).files] == ["in/x.py"]


def test_a_file_twice_is_refused(tmp_path: Path):
    with pytest.raises(HoneError, match="more than once"):
        from_diff.changes(diff_of("", "x = 1\n") * 2, tmp_path, None)


def test_bytes_that_are_not_utf_8(tmp_path: Path):
    diff = "--- /dev/null\n+++ b/x.py\n@@ -0,0 +1 @@\n+x = 'é'\n".encode("latin-1")
    found = from_diff.changes(diff, tmp_path, None)
    assert [one.reason for one in found.skipped] == ["not UTF-8 (byte 5)"]


def test_kinds_that_are_not_reviewed(make_repository):
    root = make_repository({"gone.py": "other = 1\n", "pic.py": b"\0", "old.py": OLD})
    git(root, "rm", "-q", "gone.py")
    git(root, "mv", "old.py", "new.py")
    (root / "pic.py").write_bytes(b"\0\1")
    (root / "link.py").symlink_to("new.py")
    (root / "notes.txt").write_text("words\n")
    git(root, "add", "-A")
    found = read(Request(root, "diff", diff=git(root, "diff", "--cached").encode()))
    assert not found.files
    assert {one.path: one.reason for one in found.skipped} == {
        "gone.py": "deleted",
        "pic.py": "binary",
        "link.py": "a symbolic link",
        "notes.txt": "not source code",
    }


def test_nothing_is_nothing(tmp_path: Path):
    assert from_diff.changes(b"", tmp_path, None).files == ()
