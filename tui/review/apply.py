"""Fixes written to the working tree, and taken back, hunk by hunk; only on files that are what they were."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from assistant import atomic
from assistant.errors import HoneError

if TYPE_CHECKING:
    from assistant.skills.review.changes import FileChange
    from assistant.skills.review.findings import Edit, Finding

_MARK = b"\xef\xbb\xbf"


class ChangedError(HoneError):
    """The file is not what the fix left: it cannot be taken back any more."""


@dataclass(frozen=True)
class Applied:
    """What taking it back needs."""

    path: Path
    before: bytes
    after: str
    """Digest of what was written."""


def changed(data: bytes, edits: Sequence["Edit"]) -> bytes:
    """The file with the edits, which are in its order and do not overlap; its line ends and its mark stay."""
    mark = _MARK if data.startswith(_MARK) else b""
    lines = data[len(mark) :].split(b"\n")
    end = b"\r" if len(lines) > 1 and lines[0].endswith(b"\r") else b""
    for edit in reversed(edits):
        fresh = [line.encode() + end for line in edit.lines]
        if fresh and edit.last == len(lines):
            fresh[-1] = fresh[-1].removesuffix(end)  # a last line without a line end stays one
        lines[edit.first - 1 : edit.last] = fresh
    return mark + b"\n".join(lines)


def write(path: Path, reviewed: bytes, edits: Sequence["Edit"]) -> Applied:
    """Raises HoneError when the file is not as it was reviewed, or cannot be written."""
    before = _read(path)
    if before != reviewed:
        raise HoneError(f"{path.name} is not as it was reviewed any more; review again first")
    after = changed(before, edits)
    _write(path, after)
    return Applied(path, before, _digest(after))


def take_back(applied: Applied) -> None:
    """
    Raises:
        ChangedError: the file was changed since, or is gone.
        HoneError: it cannot be written.
    """
    try:
        now = _digest(_read(applied.path))
    except HoneError as error:
        raise ChangedError(str(error)) from error
    if now != applied.after:
        raise ChangedError(f"{applied.path.name} was changed since the fix; it stays as it is")
    _write(applied.path, applied.before)


def edited(change: "FileChange", edits: Sequence["Edit"]) -> "FileChange":
    """The change with the edits in it, as its diff would be read now."""
    added: set[int] = set()
    removed: dict[int, tuple[str, ...]] = {}
    gone: list[str] = []
    count = 0

    def put(is_new: bool) -> None:
        nonlocal count
        count += 1
        if gone:
            removed[count] = tuple(gone)
            gone.clear()
        if is_new:
            added.add(count)

    number = 1
    for edit in edits:
        for line in range(number, edit.first):
            gone += change.removed.get(line, ())
            put(line in change.added)
        for line in range(edit.first, edit.last + 1):
            gone += change.removed.get(line, ())
            gone += () if line in change.added else change.lines[line - 1 : line]
        before, lines = tuple(gone), edit.lines
        # A fix may bring back what stood there before the change.
        head = _in_common(before, lines)
        tail = _in_common(before[head:][::-1], lines[head:][::-1])
        gone.clear()
        for _ in range(head):
            put(False)
        gone += before[head : len(before) - tail]
        for _ in lines[head : len(lines) - tail]:
            put(True)
        for _ in range(tail):
            put(False)
        number = max(number, edit.last + 1)
    for line in range(number, len(change.lines) + 1):
        gone += change.removed.get(line, ())
        put(line in change.added)
    gone += change.removed.get(len(change.lines) + 1, ())
    if gone:
        removed[count + 1] = tuple(gone)
    return replace(change, data=changed(change.data, edits), added=frozenset(added), removed=removed)


def _in_common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines are the same from the beginning on."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def moved(findings: Sequence["Finding"], path: str, edits: Sequence["Edit"]) -> list["Finding"]:
    """The findings where they stand after edits of a file; a fix that the edits touch is gone."""
    return [_moved(one, edits) if one.path == path else one for one in findings]


def _moved(finding: "Finding", edits: Sequence["Edit"]) -> "Finding":
    fix = finding.fix
    if fix is not None:
        touched = any(_meet(one, other) for one in fix.edits for other in edits)
        shifted = tuple(
            replace(one, first=one.first + _shift(one.first, edits), last=one.last + _shift(one.first, edits))
            for one in fix.edits
        )
        fix = None if touched else replace(fix, edits=shifted)
    shift = _shift(finding.line, edits)
    return replace(finding, line=finding.line + shift, last=finding.last + shift, fix=fix)


def _shift(line: int, edits: Sequence["Edit"]) -> int:
    return sum(len(edit.lines) - (edit.last - edit.first + 1) for edit in edits if edit.last < line)


def _meet(one: "Edit", other: "Edit") -> bool:
    return one.first <= max(other.last, other.first) and other.first <= max(one.last, one.first)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HoneError(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    try:
        if not os.access(path, os.W_OK):
            raise HoneError(f"{path} is read-only; make it writable first")
        atomic.write_bytes(Path(os.path.realpath(path)), data, path.stat().st_mode & 0o7777)
    except OSError as error:
        raise HoneError(f"cannot write {path}: {error.strerror}") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
