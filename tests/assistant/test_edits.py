"""Putting code into files: by hunks, safely, and taking it back."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.skills import edits
from assistant.skills.material import Material

TEXTS = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n", "d\r\n", "e"]), max_size=12).map("".join)


@given(TEXTS, TEXTS)
def test_all_hunks_make_the_new_text_and_none_the_old(before: str, after: str):
    found = edits.hunks(before, after)
    assert edits.chosen(before, found, range(len(found))) == after
    assert edits.chosen(before, found, ()) == before


def test_one_hunk_alone():
    before, after = "a\nb\nc\nd\ne\n", "A\nb\nc\nd\nE\n"
    found = edits.hunks(before, after)
    assert [(one.start, one.old, one.new) for one in found] == [(0, ("a\n",), ("A\n",)), (4, ("e\n",), ("E\n",))]
    assert edits.chosen(before, found, [1]) == "a\nb\nc\nd\nE\n"


FILE = "import os\n\n\ndef a():\n    return 1\n\n\ndef b():\n    return 2\n"


def test_code_goes_over_the_lines_that_were_shown():
    shown = Material("file", "x.py, lines 4-5", "def a():\n    return 1\n", "x.py", 4)
    assert edits.placed("def a():\n    return 9\n", "x.py", FILE, shown) == FILE.replace("return 1", "return 9")


def test_code_goes_over_definitions_of_the_same_name_and_new_ones_to_the_end():
    code = "def b():\n    return 7\n\n\ndef c():\n    return 3\n"
    assert edits.placed(code, "x.py", FILE) == FILE.replace("return 2", "return 7") + "\n\ndef c():\n    return 3\n"


def test_other_code_is_the_whole_file_and_line_ends_stay():
    assert edits.placed("print(1)\n", "x.py", FILE) == "print(1)\n"
    assert edits.placed("def a():\n    return 5", "x.py", FILE.replace("\n", "\r\n")) == FILE.replace(
        "return 1", "return 5"
    ).replace("\n", "\r\n")


def test_a_change_is_written_with_the_files_mode_and_taken_back(tmp_path: Path):
    path = tmp_path / "run.sh"
    path.write_text("echo 1\n")
    path.chmod(0o755)
    written = edits.write(path, "echo 1\n", "echo 2\n")
    assert path.read_text() == "echo 2\n"
    assert path.stat().st_mode & 0o777 == 0o755
    edits.undo(written)
    assert path.read_text() == "echo 1\n"


def test_a_new_file_is_removed_again_and_its_folder_made(tmp_path: Path):
    path = tmp_path / "new/a.py"
    written = edits.write(path, None, "x = 1\n")
    assert path.read_text() == "x = 1\n"
    edits.undo(written)
    assert not path.exists()


def test_nothing_is_written_over_what_somebody_else_changed(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_text("theirs\n")
    with pytest.raises(HoneError, match="has changed since the changes were shown; nothing was written"):
        edits.write(path, "ours\n", "new\n")
    with pytest.raises(HoneError, match="has changed since"):
        edits.write(path, None, "new\n")
    assert path.read_text() == "theirs\n"
    written = edits.write(path, "theirs\n", "new\n")
    path.write_text("theirs again\n")
    with pytest.raises(HoneError, match="has changed since Hone wrote it"):
        edits.undo(written)
    assert path.read_text() == "theirs again\n"


def test_files_that_cannot_be_changed_are_one_line(tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe")
    with pytest.raises(HoneError, match="not UTF-8"):
        edits.read(tmp_path / "a.bin")
    assert edits.read(tmp_path / "missing") is None
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(HoneError, match="cannot write"):
            edits.write(tmp_path / "b.py", None, "x")
        tmp_path.chmod(0o700)


def test_the_last_change_that_cannot_be_taken_back_makes_way_for_the_one_before(tmp_path: Path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    changes = [edits.write(path, None, "new\n") for path in (one, two)]
    two.write_text("mine\n")
    with pytest.raises(HoneError, match=r"two\.py has changed .* the next undo is for the change before it"):
        edits.undo_last(changes)
    assert edits.undo_last(changes).path == one
    assert (one.exists(), two.read_text(), changes) == (False, "mine\n", [])


def test_a_change_that_the_disk_refuses_to_take_back_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "one.py"
    changes = [edits.write(path, None, "new\n")]
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(HoneError, match="cannot remove"):
            edits.undo_last(changes)
    assert edits.undo_last(changes).path == path
