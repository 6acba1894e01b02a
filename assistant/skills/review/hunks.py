"""Unified diffs, read with unidiff."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assistant.errors import HoneError

if TYPE_CHECKING:
    from unidiff import PatchedFile

_COMBINED = re.compile(r"^@@@ ", re.MULTILINE)
_INDEX = re.compile(r"index [0-9a-f]+\.\.([0-9a-f]+)\b")
_ESCAPE = re.compile(r'\\([0-7]{3}|[abtnvfr"\\])')
_LETTERS = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_PREFIX = re.compile(r"[abciow12]/")
_NOWHERE = "/dev/null"


@dataclass(frozen=True)
class Lines:
    """Which lines a diff changes."""

    added: frozenset[int]
    """Numbers in the new file, from 1."""
    removed: dict[int, tuple[str, ...]]
    """Old lines, by the number of the new line that follows them."""
    new: dict[int, str] = field(default_factory=dict)
    """Every line of the new file that the diff shows, by its number; line ends as `\\r` or nothing."""
    old: dict[int, str] = field(default_factory=dict)
    """The same of the old file."""
    gone: frozenset[int] = frozenset()
    """Numbers in the old file of the removed lines."""
    ends_without_newline: bool = False
    """The diff says so of the new file."""


@dataclass(frozen=True)
class Section:
    """What a diff says of one file."""

    old: str | None
    """Paths as written, unquoted; None for no file."""
    new: str | None
    mode: str | None
    """Of the new file, or of the old one where there is no new one: `120000` is a symbolic link, `160000` a
    submodule."""
    blob: str | None
    """The (abbreviated) object id of the new content."""
    is_binary: bool
    lines: Lines


def read(text: str) -> list[Section]:
    """The sections of a diff; bytes that are not UTF-8 as surrogate escapes.

    Raises:
        HoneError: it is no unified diff, is damaged, or a combined one.
    """
    from unidiff import PatchSet, UnidiffParseError

    if _COMBINED.search(text):
        raise HoneError("a combined diff (@@@) shows no file's lines whole; review the merge with --commit instead")
    if re.search(r"^(?:---|\+\+\+|diff --git) [^\n]*\r$", text, re.MULTILINE):
        # The diff itself went through a program that writes such line ends.
        text = text.replace("\r\n", "\n")
    if text and not text.endswith("\n"):
        text += "\n"
    try:
        patch = PatchSet(_split(text))
    except UnidiffParseError as error:
        raise HoneError(f"the diff is damaged: {str(error).strip()}") from error
    if not patch and text.strip():
        raise HoneError("this is no unified diff; `git diff` writes one")
    return [_section(file) for file in patch]


def body(text: str) -> Lines:
    """The lines of one file's hunks: a text from its first `@@`.

    Raises:
        HoneError: it is damaged.
    """
    from unidiff import PatchSet, UnidiffParseError

    try:
        (file,) = PatchSet(["--- a/x\n", "+++ b/x\n", *_split(text)])
    except (UnidiffParseError, ValueError) as error:
        raise HoneError(f"the diff is damaged: {str(error).strip()}") from error
    return _lines(file)


def _split(text: str) -> Sequence[str]:
    """Only `\\n` ends a line: a form feed or a Unicode separator is part of one."""
    return [line + "\n" for line in text.split("\n")[:-1]]


def _section(file: "PatchedFile") -> Section:
    information = "".join(file.patch_info or ())
    blob = _INDEX.search(information)
    old, new = _path(file.source_file), _path(file.target_file)
    return Section(
        old,
        new,
        file.target_mode or file.source_mode,
        blob[1] if blob and blob[1].strip("0") else None,
        file.is_binary_file,
        _lines(file),
    )


def _path(name: str) -> str | None:
    name = name.rstrip("\r")
    return None if name == _NOWHERE else unquoted(name)


def unquoted(name: str) -> str:
    """A path that git may have quoted in C's way, its bytes decoded as in `os.fsdecode`."""
    if len(name) < 2 or name[0] != '"' or name[-1] != '"':
        return name
    raw = bytearray()
    rest = name[1:-1]
    while match := _ESCAPE.search(rest):
        raw += rest[: match.start()].encode("utf-8", "surrogateescape")
        raw.append(_LETTERS[match[1]] if match[1] in _LETTERS else int(match[1], 8) & 255)
        rest = rest[match.end() :]
    return (bytes(raw) + rest.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def without_prefix(path: str) -> str:
    """A path without the `a/` or `b/` that git writes before it."""
    return path[2:] if _PREFIX.match(path) else path


def _lines(file: "PatchedFile") -> Lines:
    added: set[int] = set()
    removed: dict[int, list[str]] = {}
    new: dict[int, str] = {}
    old: dict[int, str] = {}
    gone: set[int] = set()
    unended = False
    for hunk in file:
        # Of an empty side, the header names the line before it.
        number = hunk.target_start + (hunk.target_length == 0)
        before = hunk.source_start + (hunk.source_length == 0)
        last = ""
        for line in hunk:
            text = line.value.removesuffix("\n")
            kind = line.line_type
            if kind == "\\":
                unended = unended or last in ("+", " ")
            if kind not in ("+", "-", " "):
                continue
            if kind == "-":
                removed.setdefault(number, []).append(text.removesuffix("\r"))
                gone.add(before)
            else:
                new[number] = text
            if kind != "+":
                old[before] = text
                before += 1
            if kind == "+":
                added.add(number)
            if kind != "-":
                number += 1
            last = kind
    return Lines(
        frozenset(added), {at: tuple(lines) for at, lines in removed.items()}, new, old, frozenset(gone), unended
    )
