"""Files as the editor reads and writes them."""

import codecs
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import HoneError
from tui.code import recovery, source
from tui.code.document import SourceDocument
from tui.code.recovery import Recovery, Unsaved


@given(st.binary(max_size=200).filter(lambda data: b"\0" not in data))
@settings(deadline=None)
def test_saving_an_untouched_file_changes_no_byte(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(data)
    try:
        opened = source.read(path)
    except HoneError:
        assert data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return
    source.write(opened, SourceDocument(opened.text).text)
    assert path.read_bytes() == data


def test_encoding_mode_and_link_stay(tmp_path: Path):
    real = tmp_path / "real.py"
    real.write_bytes(codecs.BOM_UTF16_LE + "é = 1\r\n".encode("utf-16-le"))
    real.chmod(0o750)
    link = tmp_path / "link.py"
    link.symlink_to(real)
    opened = source.read(link)
    assert opened.text == "é = 1\r\n"
    source.write(opened, "ü = 2\r\n")
    assert link.is_symlink()
    assert real.read_bytes() == codecs.BOM_UTF16_LE + "ü = 2\r\n".encode("utf-16-le")
    assert real.stat().st_mode & 0o777 == 0o750


def test_what_cannot_be_edited_is_said(tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0")
    with pytest.raises(HoneError, match="binary"):
        source.read(tmp_path / "binary")
    with pytest.raises(HoneError, match="no file"):
        source.read(tmp_path)
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    latin = source.read(tmp_path / "latin")
    assert (latin.text, latin.encoding) == ("café\n", "latin-1")
    with pytest.raises(HoneError, match=r"latin-1, which has no '→' \(line 2\)"):
        source.write(latin, "café\n→\n")
    assert (tmp_path / "latin").read_bytes() == b"caf\xe9\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_is_not_replaced(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_text("a\n")
    path.chmod(0o444)
    with pytest.raises(HoneError, match="read-only"):
        source.write(source.read(path), "b\n")


def test_unsaved_text_of_a_dead_app_is_taken_over_and_of_a_living_one_not(hone_home: Path, tmp_path: Path):
    living, dead, heir = Recovery(), Recovery(), Recovery()
    dead.keep(Unsaved(str(tmp_path / "a.py"), "typed", "digest"))
    living.keep(Unsaved(str(tmp_path / "b.py"), "mine", None))
    assert recovery.left_behind(tmp_path) == []
    dead._lock.close()  # type: ignore[union-attr]  # as the system does when a process is killed
    assert recovery.left_behind(tmp_path / "elsewhere") == []
    assert recovery.left_behind(tmp_path) == [str(tmp_path / "a.py")]
    assert heir.take_over(tmp_path) == [Unsaved(str(tmp_path / "a.py"), "typed", "digest")]
    assert recovery.left_behind(tmp_path) == []
    heir.close()  # it crashed before the user saved: the text is still there
    assert recovery.left_behind(tmp_path) == [str(tmp_path / "a.py")]
    again = Recovery()
    assert len(again.take_over(tmp_path)) == 1
    again.forget(str(tmp_path / "a.py"))
    again.close()
    living.close()
    assert recovery.left_behind(tmp_path) == [str(tmp_path / "b.py")]


def test_unsaved_text_from_outside_of_the_root_comes_back_in_the_app_of_that_root(hone_home: Path, tmp_path: Path):
    root, path = tmp_path / "shop", str(tmp_path / "elsewhere/a.py")
    dead, heir = Recovery(), Recovery()
    unsaved = Unsaved(path, "typed", "digest", str(root))
    dead.keep(unsaved)
    dead.close()
    assert recovery.left_behind(tmp_path / "other") == []
    assert recovery.left_behind(root) == [path]
    assert heir.take_over(root) == [unsaved]
    heir.close()


def test_two_unsaved_texts_of_one_file_both_come_back_the_latest_first(hone_home: Path, tmp_path: Path):
    path = str(tmp_path / "a.py")
    for text in ("older", "latest"):
        dead = Recovery()
        dead.keep(Unsaved(path, text, None, str(tmp_path)))
        dead.close()
        time.sleep(0.02)
    for text in ("latest", "older"):
        heir = Recovery()
        assert [one.text for one in heir.take_over(tmp_path)] == [text]
        heir.forget(path)
        heir.close()
    assert recovery.left_behind(tmp_path) == []
