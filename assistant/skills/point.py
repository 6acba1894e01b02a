"""A place in a file: `FILE:LINE[:COL]`, and the text on both sides of it."""

import re
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import HoneError, UsageError
from assistant.skills.repository import source_text

MAX_FILE_BYTES = 64 * 2**20

_POINT = re.compile(r"(?P<path>.+?):(?P<line>[0-9]{1,9})(?::(?P<column>[0-9]{1,9}))?", re.DOTALL)


@dataclass(frozen=True)
class Point:
    """A cursor position. It lies before the character `column` of `line`.

    Columns count characters (Unicode code points), so a column can never fall inside a multi-byte character.
    """

    path: Path
    line: int
    """From 1."""
    column: int | None = None
    """From 1; None is the end of the line."""


def parse_point(text: str) -> Point:
    """Reads `FILE:LINE` or `FILE:LINE:COL`.

    Raises:
        UsageError: not of that form, or a number below 1.
    """
    match = _POINT.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a place in a file; write FILE:LINE or FILE:LINE:COL, counted from 1")
    line, column = int(match["line"]), match["column"]
    if line < 1 or (column is not None and int(column) < 1):
        raise UsageError(f"LINE and COL count from 1 (got {text!r})")
    return Point(Path(match["path"]), line, None if column is None else int(column))


def read_source(path: Path) -> str:
    """The text of a file with its line ends as they are.

    Raises:
        HoneError: missing, a folder, unreadable, binary, not UTF-8, or larger than `MAX_FILE_BYTES`.
    """
    try:
        if path.is_dir():
            raise HoneError(f"{path} is a folder; name a file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise HoneError(
                f"{path} has {size / 2**20:.0f} MiB; files up to {MAX_FILE_BYTES >> 20} MiB can be completed"
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise HoneError(f"there is no file {path}") from error
    except OSError as error:
        raise HoneError(f"cannot read {path}: {error.strerror}") from error
    return source_text(data, str(path))


def split(text: str, point: Point) -> tuple[str, str]:
    """The text before and after the point. Lines end at `\\n` or `\\r\\n` and at nothing else.

    The empty line after a last newline counts as a line, since a cursor can stand there.

    Raises:
        UsageError: the line is past the end of the file, or the column past the end of the line.
    """
    start = 0
    for number in range(1, point.line):
        newline = text.find("\n", start)
        if newline < 0:
            raise UsageError(f"{point.path} has {number} line{'s' * (number > 1)}, so there is no line {point.line}")
        start = newline + 1
    newline = text.find("\n", start)
    end = len(text) if newline < 0 else newline
    if newline > start and text[newline - 1] == "\r":
        end -= 1
    width = end - start
    if point.column is not None and point.column > width + 1:
        raise UsageError(
            f"line {point.line} of {point.path} has {width} character{'s' * (width != 1)}, "
            f"so COL goes up to {width + 1} (got {point.column})"
        )
    offset = end if point.column is None else start + point.column - 1
    return text[:offset], text[offset:]


def check(point: Point) -> None:
    """Reads the file and finds the place in it, so that a mistake is told before a model is loaded.

    Raises:
        HoneError: the file or the place is not usable.
    """
    split(read_source(point.path), point)


def line_end(text: str) -> str:
    """The line end a file uses: `\\r\\n` when most of its lines end so."""
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
