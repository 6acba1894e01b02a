from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError, UsageError
from assistant.skills.point import Point, line_end, parse_point, read_source, split

LINES = st.lists(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=6
)


@given(
    path=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
        lambda text: not text.endswith(tuple("0123456789:"))
    ),
    line=st.integers(1, 10**6),
    column=st.none() | st.integers(1, 10**6),
)
def test_a_written_point_is_read_back(path: str, line: int, column: int | None) -> None:
    written = f"{path}:{line}" + (f":{column}" if column else "")
    assert parse_point(written) == Point(Path(path), line, column)


@pytest.mark.parametrize(
    "text", ["a.py", "a.py:", "a.py:x", ":3", "a.py:-1", "a.py:1:2:x", "", "a.py:99999999999999999999", "a.py:³"]
)
def test_what_is_no_point_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="FILE:LINE") as caught:
        parse_point(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a.py:0", "a.py:1:0"])
def test_counting_from_zero_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="count from 1"):
        parse_point(text)


def test_a_path_may_hold_colons() -> None:
    assert parse_point("a:b.py:3:4") == Point(Path("a:b.py"), 3, 4)


@given(lines=LINES, newline=st.sampled_from(["\n", "\r\n"]), data=st.data())
def test_split_gives_the_file_back_at_the_column(lines: list[str], newline: str, data: st.DataObject) -> None:
    text = newline.join(lines)
    number = data.draw(st.integers(1, len(lines)))
    column = data.draw(st.integers(1, len(lines[number - 1]) + 1))
    prefix, suffix = split(text, Point(Path("f"), number, column))
    assert prefix + suffix == text
    assert prefix == "".join(line + newline for line in lines[: number - 1]) + lines[number - 1][: column - 1]


@given(lines=LINES, newline=st.sampled_from(["\n", "\r\n"]))
def test_without_a_column_the_end_of_the_line_is_meant(lines: list[str], newline: str) -> None:
    prefix, suffix = split(newline.join(lines), Point(Path("f"), 1))
    assert prefix == lines[0]
    assert suffix == newline.join(["", *lines[1:]])


def test_columns_count_characters_not_bytes() -> None:
    text = "名 = 'ü'\n"
    assert split(text, Point(Path("f"), 1, 2)) == ("名", " = 'ü'\n")
    assert split(text, Point(Path("f"), 1, 8)) == ("名 = 'ü'", "\n")
    with pytest.raises(UsageError, match=r"has 7 characters, so COL goes up to 8 \(got 9\)"):
        split(text, Point(Path("f"), 1, 9))


def test_a_line_past_the_end_is_refused_and_the_last_empty_one_is_not() -> None:
    assert split("a\nb\n", Point(Path("f"), 3)) == ("a\nb\n", "")
    assert split("", Point(Path("f"), 1, 1)) == ("", "")
    with pytest.raises(UsageError, match="f has 3 lines, so there is no line 4"):
        split("a\nb\n", Point(Path("f"), 4))
    with pytest.raises(UsageError, match="f has 1 line, so there is no line 2"):
        split("a", Point(Path("f"), 2))


def test_only_newlines_end_lines() -> None:
    assert split("a\x0c\u2028b\nc", Point(Path("f"), 2, 1)) == ("a\x0c\u2028b\n", "c")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"a = 1\nb = '\xff'\n", r"not UTF-8 \(byte 0xff on line 2\)"), (b"\x7fELF\0\0", "binary file")],
)
def test_files_that_are_no_text_are_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(content)
    with pytest.raises(HoneError, match=complaint):
        read_source(file)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HoneError, match="there is no file"):
        read_source(tmp_path / "none.py")
    with pytest.raises(HoneError, match="is a folder"):
        read_source(tmp_path)


def test_a_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(b"\xef\xbb\xbfx = 1\r\n")
    assert read_source(file) == "x = 1\r\n"


def test_line_ends_are_those_most_lines_have() -> None:
    assert line_end("a\r\nb\r\n") == "\r\n"
    assert line_end("a\nb\r\nc\n") == "\n"
    assert line_end("") == "\n"
