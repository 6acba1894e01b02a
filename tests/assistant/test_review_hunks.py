"""Unified diffs are read back as what they were made from."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.skills.review import hunks
from assistant.skills.review.changes import FileChange

# Lines with what other programs take for line ends, and with what looks like a diff's own lines.
LINE = st.one_of(
    st.sampled_from(["", "a", "b", "-- a", "++ b", "@@ -1 +1 @@", "diff --git a/x b/x", "\\ No newline", " x"]),
    st.text(alphabet="ab \t\f\v\x1c\x85\u2028é☃", max_size=4),
)
LINES = st.lists(LINE, max_size=12)


def ended(lines: list[str], end: str) -> list[str]:
    return [line + end for line in lines]


@given(old=LINES, new=LINES, context=st.integers(0, 3), end=st.sampled_from(["\n", "\r\n"]))
def test_a_diff_gives_back_both_files(old: list[str], new: list[str], context: int, end: str):
    text = "".join(difflib.unified_diff(ended(old, end), ended(new, end), "a/x.py", "b/x.py", n=context, lineterm="\n"))
    if not text:
        return
    (section,) = hunks.read(text)
    assert (section.old, section.new, section.is_binary) == ("a/x.py", "b/x.py", False)
    change = FileChange("x.py", "".join(ended(new, end)).encode(), section.lines.added, section.lines.removed)
    assert change.old_text == "".join(ended(old, "\n"))
    assert {number: new[number - 1] for number in section.lines.added} == {
        number: section.lines.new[number].removesuffix("\r") for number in section.lines.added
    }


@given(old=LINES, new=LINES)
def test_hunks_without_header_and_context_are_read_alike(old: list[str], new: list[str]):
    whole = "".join(difflib.unified_diff(ended(old, "\n"), ended(new, "\n"), "a/x", "b/x", n=0))
    if whole:
        assert hunks.body(whole[whole.index("@@ ") :]) == hunks.read(whole)[0].lines


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_one_line(text: str):
    refused = ""
    try:
        hunks.read(text)
    except HoneError as error:
        refused = str(error)
    assert "\n" not in refused


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("plain.py", "plain.py"),
        ('"a/\\303\\251.py"', "a/é.py"),
        ('"a/tab\\there\\".py"', 'a/tab\there".py'),
        ('"back\\\\slash"', "back\\slash"),
        ('"\\377"', "\udcff"),
        ('"', '"'),
    ],
)
def test_quoted_paths(written: str, meant: str):
    assert hunks.unquoted(written) == meant


def test_what_a_diff_says_of_files():
    text = (
        "diff --git a/old.py b/new.py\nsimilarity index 100%\nrename from old.py\nrename to new.py\n"
        "diff --git a/pic.png b/pic.png\nindex 1234567..89abcde 100644\nBinary files a/pic.png and b/pic.png differ\n"
        "diff --git a/gone.py b/gone.py\ndeleted file mode 100644\nindex 1234567..0000000\n"
        "--- a/gone.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        "diff --git a/sub b/sub\nindex 1234567..89abcde 160000\n--- a/sub\n+++ b/sub\n@@ -1 +1 @@\n"
        "-Subproject commit 1\n+Subproject commit 2\n"
        "diff --git a/end.py b/end.py\nindex 1234567..89abcde 100644\n--- a/end.py\n+++ b/end.py\n@@ -1 +1 @@\n"
        "-x\n+y\n\\ No newline at end of file\n"
    )
    renamed, picture, gone, module, end = hunks.read(text)
    assert (renamed.old, renamed.new, renamed.lines.new) == ("a/old.py", "b/new.py", {})
    assert picture.is_binary
    assert gone.new is None
    assert module.mode == "160000"
    assert end.lines.ends_without_newline
    assert end.blob == "89abcde"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<html>not found</html>\n", "no unified diff"),
        ("--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n x\n", "damaged"),
        ("diff --cc x\n--- a/x\n+++ b/x\n@@@ -1,1 -1,1 +1,1 @@@\n++x\n", "combined"),
    ],
)
def test_what_is_no_diff_is_refused(text: str, reason: str):
    with pytest.raises(HoneError, match=reason):
        hunks.read(text)


def test_a_diff_whose_own_lines_end_in_crlf():
    text = "--- a/x.py\r\n+++ b/x.py\r\n@@ -1 +1,2 @@\r\n a\r\n+b\r\n"
    (section,) = hunks.read(text)
    assert (section.new, section.lines.new) == ("b/x.py", {1: "a", 2: "b"})
