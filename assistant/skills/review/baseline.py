"""Findings that were accepted once, and how they are found again when lines move."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assistant import atomic
from assistant.errors import HoneError
from assistant.skills.review.findings import Finding, Mark

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
        data = json.loads(file.read_text("utf-8"))
        if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
            raise HoneError(f"{file} is no baseline of this version; write it anew with --write-baseline")
        return [
            Mark(*(_text(entry, field) for field in ("rule", "path", "line", "around"))) for entry in data["accepted"]
        ]
    except FileNotFoundError as error:
        raise HoneError(
            f"there is no baseline {file}; `hone review --baseline {file} --write-baseline` makes one"
        ) from error
    except OSError as error:
        raise HoneError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise HoneError(f"{file} is no baseline ({error!r}); write it anew with --write-baseline") from error


def _text(entry: Any, field: str) -> str:
    value = entry[field]
    if not isinstance(value, str):
        raise TypeError(f"{field} is no text")
    return value


def write(file: Path, findings: Sequence[Finding]) -> None:
    """Replaces the file; where a finding stood and what it said is there for people alone.

    Raises:
        HoneError: it cannot be written.
    """
    _write(file, [_entry(finding) for finding in findings])


def accept(file: Path, finding: Finding, reason: str) -> None:
    """Adds a finding to the baseline, which is made if there is none; the reason is there for people.

    Raises:
        HoneError: the file is no baseline, or it cannot be written.
    """
    entries = []
    if file.exists():
        read(file)
        entries = json.loads(file.read_text("utf-8"))["accepted"]
    _write(file, [*entries, {**_entry(finding), "reason": reason}])


def _entry(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding.mark), "was_at": finding.line, "message": finding.message}


def _write(file: Path, accepted: Sequence[dict[str, Any]]) -> None:
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
