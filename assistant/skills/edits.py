"""Code from an answer put into a file: where it goes, hunk by hunk, written at once and taken back safely."""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant import atomic
from assistant.errors import HoneError
from assistant.skills import definitions
from assistant.skills.material import Material
from assistant.skills.patch import indented

CONTEXT = 3
"""Lines shown around a hunk."""


@dataclass(frozen=True)
class Hunk:
    """Lines `start` to `start + len(old)` (from 0) of the file before, and what replaces them."""

    start: int
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """A file that was written here, with what it takes to undo that. `before` None: it was new."""

    path: Path
    before: str | None
    after: str


class ChangedSinceError(HoneError):
    """A file is no longer what it was expected to be."""


def placed(code: str, path: str, before: str, shown: Material | None = None) -> str:
    """The file after `code` went in: over the lines that the model was shown, else over the definitions of the same
    names (new ones at the end), else as the whole file.

    Line ends stay the file's own.
    """
    code = code.rstrip("\n") + "\n"
    plain = before.replace("\r\n", "\n")
    after = _over_lines(code, plain, shown) if shown is not None and shown.path == path else None
    if after is None:
        after = _over_definitions(code, path, plain)
    if after is None:
        after = code
    return after.replace("\n", "\r\n") if before.count("\r\n") * 2 > before.count("\n") else after


def _over_lines(code: str, before: str, shown: Material) -> str | None:
    lines = _lines(before)
    old = lines[shown.first - 1 : shown.last] if shown.first else []
    if not old or "".join(old).rstrip("\n") != shown.text.rstrip("\n"):
        return None
    new = [line + "\n" for line in indented(code.rstrip("\n").split("\n"), old)]
    return "".join([*lines[: shown.first - 1], *new, *lines[shown.last :]])


def _over_definitions(code: str, path: str, before: str) -> str | None:
    """Outer definitions only; None when the code defines nothing that the file has."""
    new = _outer(definitions.in_text(path, code))
    old = {one.name: one for one in _outer(definitions.in_text(path, before))}
    if not any(one.name in old for one in new):
        return None
    code_lines, lines = _lines(code), _lines(before)
    added: list[str] = []
    changes: list[tuple[definitions.Definition, list[str]]] = []
    for one in new:
        body = code_lines[one.first - 1 : one.last]
        if one.name in old:
            changes.append((old[one.name], body))
        else:
            added += ["\n", "\n", *body]
    for place, body in sorted(changes, key=lambda change: -change[0].first):
        lines[place.first - 1 : place.last] = body
    return "".join(lines + added)


def _outer(found: Sequence[definitions.Definition]) -> list[definitions.Definition]:
    outer: list[definitions.Definition] = []
    for one in found:
        if not outer or one.first > outer[-1].last:
            outer.append(one)
    return outer


def hunks(before: str, after: str) -> list[Hunk]:
    """The differences of two texts, in order, by lines."""
    old, new = _lines(before), _lines(after)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [Hunk(i, tuple(old[i:j]), tuple(new[k:m])) for tag, i, j, k, m in matcher.get_opcodes() if tag != "equal"]


def chosen(before: str, found: Sequence[Hunk], accepted: Collection[int]) -> str:
    """The text with the hunks of these numbers only."""
    lines = _lines(before)
    for index in sorted(accepted, reverse=True):
        hunk = found[index]
        lines[hunk.start : hunk.start + len(hunk.old)] = hunk.new
    return "".join(lines)


def read(path: Path) -> str | None:
    """The text of a file as it is, None when there is none.

    Raises:
        HoneError: it cannot be read or is no UTF-8 text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise HoneError(f"{path.name} is not UTF-8 text; it cannot be changed here") from error
    except OSError as error:
        raise HoneError(f"cannot read {path}: {error.strerror}") from error


def write(path: Path, before: str | None, after: str) -> Written:
    """Writes a file that still is what was shown.

    Raises:
        ChangedSinceError: it has changed meanwhile.
        HoneError: it cannot be written.
    """
    _replace(path, before, after, "has changed since the changes were shown; nothing was written")
    return Written(path, before, after)


def undo(written: Written) -> None:
    """Puts the file back as it was before, if nobody has changed it since.

    Raises:
        ChangedSinceError: somebody did.
        HoneError: it cannot be written.
    """
    why = "has changed since Hone wrote it, so it is left as it is"
    if written.before is None:
        if read(written.path) != written.after:
            raise ChangedSinceError(f"{written.path.name} {why}")
        try:
            written.path.unlink()
        except OSError as error:
            raise HoneError(f"cannot remove {written.path}: {error.strerror}") from error
        return
    _replace(written.path, written.after, written.before, why)


def undo_last(changes: list[Written]) -> Written:
    """Takes back the last of some changes, and out of the list.

    Raises:
        ChangedSinceError: the file has changed since. The change is out of the list all the same: the next call is for
            the one before it.
        HoneError: it cannot be written.
    """
    try:
        undo(changes[-1])
    except ChangedSinceError as error:
        changes.pop()
        if not changes:
            raise
        raise ChangedSinceError(f"{error}; the next undo is for the change before it") from error
    return changes.pop()


def _replace(path: Path, expected: str | None, text: str, why: str) -> None:
    if read(path) != expected:
        raise ChangedSinceError(f"{path.name} {why}")
    try:
        mode = path.stat().st_mode & 0o7777 if expected is not None else 0o644
        atomic.write_bytes(path, text.encode("utf-8"), mode)
    except OSError as error:
        raise HoneError(f"cannot write {path}: {error.strerror}") from error


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
