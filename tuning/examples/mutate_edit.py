"""Textual edits by byte position, and the bug that one or several of them seed."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Replaces the bytes [start, end) of a file."""

    start: int
    end: int
    replacement: str


@dataclass(frozen=True)
class Site:
    """A place where an operator can seed a bug, and how."""

    operator: str
    edits: tuple[Edit, ...]
    """In order, not overlapping."""
    description: str
    """What is wrong with the code once the edits are made; one sentence without its full stop."""


@dataclass(frozen=True)
class Mutation:
    """One seeded bug. The texts differ in the lines `start_line` to `end_line` of `after` and nowhere else."""

    operator: str
    before: str
    after: str
    start_line: int
    end_line: int
    """The changed lines of `after`, from 1, both inclusive; where lines were only removed, the line below or above
    the gap. A reviewer would name `start_line`."""
    description: str

    @property
    def original_lines(self) -> tuple[int, int]:
        """The lines of `before` that the changed lines replace, from 1, both inclusive."""
        grown = self.before.count("\n") - self.after.count("\n")
        return self.start_line, self.end_line + grown


class Source:
    """A text with the byte offsets that parsers report. Lines count from 1, columns are bytes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.data = text.encode()
        self.starts = [0]
        position = self.data.find(b"\n")
        while position >= 0:
            self.starts.append(position + 1)
            position = self.data.find(b"\n", position + 1)

    def offset(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column

    def line_at(self, offset: int) -> int:
        return bisect.bisect_right(self.starts, offset)

    def slice(self, start: int, end: int) -> str:
        return self.data[start:end].decode()

    def line(self, number: int) -> str:
        """A line without its end."""
        end = self.starts[number] - 1 if number < len(self.starts) else len(self.data)
        return self.slice(self.starts[number - 1], end)

    def indent(self, number: int) -> str:
        line = self.line(number)
        return line[: len(line) - len(line.lstrip(" \t"))]

    def whole_lines(self, first: int, last: int) -> tuple[int, int]:
        """The bytes of the lines `first` to `last`, the end of the last one included."""
        return self.starts[first - 1], self.starts[last] if last < len(self.starts) else len(self.data)

    def alone(self, start: int, end: int) -> bool:
        """Nothing but blanks stands beside [start, end) on its lines: no other statement, no comment."""
        first, last = self.whole_lines(self.line_at(start), self.line_at(max(start, end - 1)))
        return not self.data[first:start].strip() and not self.data[end:last].strip()

    def without_lines(self, first: int, last: int) -> Edit:
        """Deletes lines, and blank ones above that would be left beside another blank line or at the end of a block."""
        following = self.line(last + 1) if last < len(self.starts) else ""
        ends = not following.strip() or len(self.indent(last + 1)) < len(self.indent(first))
        while ends and first > 1 and not self.line(first - 1).strip():
            first -= 1
        return Edit(*self.whole_lines(first, last), "")


def apply(data: bytes, edits: Sequence[Edit]) -> bytes:
    """The bytes with all edits made.

    Raises:
        ValueError: the edits overlap or are out of order.
    """
    pieces = []
    position = 0
    for edit in edits:
        if edit.start < position or edit.end < edit.start:
            raise ValueError("edits overlap or are out of order")
        pieces += [data[position : edit.start], edit.replacement.encode()]
        position = edit.end
    return b"".join([*pieces, data[position:]])


def shared_ends(one: Sequence[str], two: Sequence[str]) -> tuple[int, int]:
    """How many items two sequences share at their beginning, and of the rest at their end."""
    shorter = min(len(one), len(two))
    head = 0
    while head < shorter and one[head] == two[head]:
        head += 1
    tail = 0
    while tail < shorter - head and one[-1 - tail] == two[-1 - tail]:
        tail += 1
    return head, tail


def changed_lines(before: Sequence[str], after: Sequence[str]) -> tuple[int, int]:
    """First and last line of `after` (from 1) outside of which both texts are the same.

    Where lines were only removed, a line that stays is named: the one below, which now runs unguarded; or the one
    above when the removed lines ended their block.
    """
    head, tail = shared_ends(before, after)
    first, last = head + 1, len(after) - tail
    if last >= first:
        return first, last
    if head < len(after) and after[head].strip() and _indent(after[head]) >= _indent(before[head]):
        return first, first
    above = head
    while above > 1 and not after[above - 1].strip():
        above -= 1
    return max(above, 1), max(head, 1)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
