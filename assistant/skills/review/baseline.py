"""Findings that were accepted once, and how they are found again when lines move."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from assistant import atomic
from assistant.errors import HoneError
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import MODEL, Finding, Mark

SCHEMA_VERSION = 1
_NEIGHBOURS = 2


def mark(rule: str, path: str, lines: Sequence[str], number: int) -> Mark:
    """
    Args:
        lines: of the file.
        number: of the finding's first line, from 1; one past the end counts as an empty line.
    """
    squeezed = [" ".join(line.split()) for line in lines]
    at = number - 1
    own = squeezed[at] if 0 <= at < len(squeezed) else ""
    above = [line for line in squeezed[: max(at, 0)] if line][-_NEIGHBOURS:]
    below = [line for line in squeezed[at + 1 :] if line][:_NEIGHBOURS]
    return Mark(rule, path, _digest([own]), _digest([*above, own, *below]))


def identifier(known_by: Mark) -> str:
    return _digest([known_by.rule, known_by.path, known_by.line, known_by.around])


def _digest(parts: Sequence[str]) -> str:
    joined = "\0".join(part.encode("utf-8", "replace").decode() for part in parts)
    return hashlib.sha256(joined.encode()).hexdigest()[:24]


def read(file: Path) -> list[Mark]:
    """
    Raises:
        HoneError: the file cannot be read or is no baseline.
    """
    try:
        return [one.mark for one in _read(file)]
    except FileNotFoundError as error:
        raise HoneError(
            f"there is no baseline {file}; `hone review --baseline {file} --write-baseline` makes one"
        ) from error
    except OSError as error:
        raise HoneError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise HoneError(f"{file} is no baseline ({error!r}); write it anew with --write-baseline") from error


@dataclass(frozen=True)
class _Accepted:
    """An entry of a baseline, and what it is known by."""

    mark: Mark
    entry: Mapping[str, Any]


def _read(file: Path) -> list[_Accepted]:
    """
    Raises:
        HoneError: it is of another version.
        OSError, ValueError, KeyError, TypeError: the file cannot be read or is no baseline.
    """
    data = json.loads(file.read_text("utf-8"))
    if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
        raise HoneError(f"{file} is no baseline of this version; write it anew with --write-baseline")
    fields = ("rule", "path", "line", "around")
    return [_Accepted(Mark(*(_text(entry, field) for field in fields)), entry) for entry in data["accepted"]]


def _text(entry: Any, field: str) -> str:
    value = entry[field]
    if not isinstance(value, str):
        raise TypeError(f"{field} is no text")
    return value


def write(file: Path, findings: Sequence[Finding], changes: Sequence[FileChange], asked: bool) -> int:
    """Writes what a review found; where a finding stood and what it said is there for people alone.

    Entries that were there already keep their reasons where they are found again, and stay where this review could not
    have found them: in other files, on lines that it did not look at, the model's where it was not asked. What is no
    baseline is replaced.

    Args:
        changes: what was reviewed.
        asked: the model was.

    Returns:
        how many entries stayed without being found again.

    Raises:
        HoneError: it cannot be read or written.
    """
    try:
        before = _read(file)
    except (FileNotFoundError, HoneError, ValueError, KeyError, TypeError):
        before = []
    except OSError as error:
        raise HoneError(f"cannot read {file}: {error.strerror}") from error
    entries = []
    for finding, again in zip(findings, _found_again([one.mark for one in findings], before), strict=True):
        reason = {"reason": again.entry["reason"]} if again is not None and "reason" in again.entry else {}
        entries.append({**_entry(finding), **reason})
    by_path = {change.path: change for change in changes}
    kept = [one.entry for one in before if not _looked_at(one.mark, by_path.get(one.mark.path), asked)]
    _write(file, [*kept, *entries])
    return len(kept)


def _found_again(marks: Sequence[Mark], before: list[_Accepted]) -> list[_Accepted | None]:
    """The entry that each mark is known by, taken out of `before`: one with the same surroundings goes first."""
    found: list[_Accepted | None] = [None] * len(marks)
    for loose in (False, True):
        for index, mark in enumerate(marks):
            if found[index] is None:
                known_by = (
                    one for one in before if one.mark == (replace(mark, around=one.mark.around) if loose else mark)
                )
                found[index] = next(known_by, None)
                before[:] = [one for one in before if one is not found[index]]
    return found


def _looked_at(mark: Mark, change: FileChange | None, asked: bool) -> bool:
    """Whether a review of `change` would have found again what is still there of an entry."""
    if change is None or (not asked and mark.rule.startswith(f"{MODEL}/")):
        return False
    reviewed = change.added | change.removed.keys()
    lines = {number: _digest([" ".join(line.split())]) for number, line in enumerate((*change.lines, ""), 1)}
    elsewhere = {digest for number, digest in lines.items() if number not in reviewed}
    if mark.line in elsewhere:
        return False
    # Of a file of which a diff alone is known, the other lines are not.
    return change.is_whole or any(lines[number] == mark.line for number in reviewed & lines.keys())


def accept(file: Path, finding: Finding, reason: str) -> None:
    """Adds a finding to the baseline, which is made if there is none; the reason is there for people.

    Raises:
        HoneError: the file is no baseline, or it cannot be written.
    """
    entries = []
    if file.exists():
        read(file)
        entries = [one.entry for one in _read(file)]
    _write(file, [*entries, {**_entry(finding), "reason": reason}])


def _entry(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding.mark), "was_at": finding.line, "message": finding.message}


def _write(file: Path, accepted: Sequence[Mapping[str, Any]]) -> None:
    try:
        atomic.write_json(file, {"schema_version": SCHEMA_VERSION, "accepted": list(accepted)})
    except OSError as error:
        raise HoneError(f"cannot write {file}: {error.strerror}") from error


def known(found: Sequence[Mark], accepted: Sequence[Mark]) -> list[bool]:
    """Which of the findings were accepted. Each accepted one stands for one finding: first for that with the same
    surroundings, then for one with the same line alone."""
    left = Counter(accepted)
    answers = [False] * len(found)
    for index, one in enumerate(found):
        if left[one]:
            left[one] -= 1
            answers[index] = True
    loose: Counter[tuple[str, str, str]] = Counter()
    for one, count in left.items():
        loose[(one.rule, one.path, one.line)] += count
    for index, one in enumerate(found):
        key = (one.rule, one.path, one.line)
        if not answers[index] and loose[key] > 0:
            loose[key] -= 1
            answers[index] = True
    return answers
