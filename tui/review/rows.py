"""A changed file as the rows of a diff, unified or side by side, with what was found below the lines it is about."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from assistant.skills.review.changes import FileChange

CONTEXT = 3
Kind = Literal["gap", "same", "changed", "finding"]


@dataclass(frozen=True)
class Side:
    number: int
    text: str
    changed: bool


@dataclass(frozen=True)
class Row:
    kind: Kind
    old: Side | None = None
    new: Side | None = None
    hidden: int = 0
    """Of a gap: how many lines are left out."""
    finding: int = -1
    """Of a finding: which."""


def unified(change: "FileChange", findings: Mapping[int, Sequence[int]]) -> list[Row]:
    """Removed lines above the added ones.

    Args:
        findings: numbers of findings by the line (from 1) that they stand below.
    """
    return _with_findings(_cut(list(_lines(change)), findings), findings)


def side_by_side(change: "FileChange", findings: Mapping[int, Sequence[int]]) -> list[Row]:
    """Removed lines beside the added ones that took their place."""
    paired: list[Row] = []
    removed: list[Side] = []
    added: list[Side] = []

    def flush() -> None:
        for index in range(max(len(removed), len(added))):
            old = removed[index] if index < len(removed) else None
            paired.append(Row("changed", old, added[index] if index < len(added) else None))
        removed.clear()
        added.clear()

    for row in _lines(change):
        if row.kind == "same":
            flush()
            paired.append(row)
        elif row.old is not None:
            if added:
                flush()
            removed.append(row.old)
        elif row.new is not None:
            added.append(row.new)
    flush()
    return _with_findings(_cut(paired, findings), findings)


def _lines(change: "FileChange") -> Iterator[Row]:
    """All lines of the file; a changed one is a removed or an added one."""
    old = 0
    for number in range(1, len(change.lines) + 2):
        for text in change.removed.get(number, ()):
            old += 1
            yield Row("changed", Side(old, text, True), None)
        if number > len(change.lines):
            return
        text = change.lines[number - 1]
        if number in change.added:
            yield Row("changed", None, Side(number, text, True))
        else:
            old += 1
            yield Row("same", Side(old, text, False), Side(number, text, False))


def _cut(rows: list[Row], findings: Mapping[int, Sequence[int]]) -> list[Row]:
    """Only what is near a change or a finding; the rest is gaps."""
    near = {
        index
        for index, row in enumerate(rows)
        if row.kind == "changed" or (row.new is not None and row.new.number in findings)
    }
    kept: list[Row] = []
    hidden = 0
    for index, row in enumerate(rows):
        if any(index + step in near for step in range(-CONTEXT, CONTEXT + 1)):
            if hidden:
                kept.append(Row("gap", hidden=hidden))
                hidden = 0
            kept.append(row)
        else:
            hidden += 1
    if hidden and kept:
        kept.append(Row("gap", hidden=hidden))
    return kept


def _with_findings(rows: list[Row], findings: Mapping[int, Sequence[int]]) -> list[Row]:
    found: list[Row] = []
    for row in rows:
        found.append(row)
        if row.new is not None:
            found += [Row("finding", finding=number) for number in findings.get(row.new.number, ())]
    return found
