"""Which findings of a review hit which bugs: the best one-to-one assignment, never the first that comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from assistant.review_prompt import Finding
from evals.tasks.review_data import OTHER


@dataclass(frozen=True)
class Matching:
    """Indices of findings and bugs. Each finding is in exactly one of `pairs`, `duplicates` and `false_alarms`."""

    pairs: tuple[tuple[int, int], ...]
    """(finding, bug), by bug."""
    duplicates: tuple[int, ...]
    """Findings that name again what another one names: a bug that is matched, or the line and class of an earlier false
    alarm. They cost a reader time, but are no wrong claims of their own."""
    false_alarms: tuple[int, ...]
    missed: tuple[int, ...]
    """Bugs."""


def distance(finding: Finding, bug: Finding) -> int:
    """Lines from the line that a finding names to the bug. Only its first line counts, or one that spans the whole
    file would hit everything."""
    return max(bug.line - finding.line, finding.line - bug.last, 0)


def match(findings: Sequence[Finding], bugs: Sequence[Finding], tolerance: int, same_class: bool = False) -> Matching:
    """The assignment with the most pairs; of those, the one with most equal classes, then with the least distance.

    Args:
        tolerance: lines that a finding may be away from a bug.
        same_class: a finding of another class than the bug's is no hit.
    """

    def hits(finding: Finding, bug: Finding) -> bool:
        return distance(finding, bug) <= tolerance and (not same_class or finding.bug_class == bug.bug_class)

    most = max(min(len(findings), len(bugs)), 1)
    # Whole numbers that order the three wishes: a pair outweighs all classes, a class all distances.
    other_class = tolerance * most + 1
    a_pair = (other_class + tolerance) * most + 1
    costs = [
        [
            -a_pair + distance(finding, bug) + other_class * (finding.bug_class != bug.bug_class)
            if hits(finding, bug)
            else 0
            for bug in bugs
        ]
        for finding in findings
    ]
    chosen = assign(costs)
    pairs = [(finding, bug) for finding, bug in enumerate(chosen) if bug is not None and costs[finding][bug] < 0]
    hit = {bug for _, bug in pairs}
    duplicates: list[int] = []
    false_alarms: list[int] = []
    claimed: set[tuple[int, str]] = set()
    for index in sorted(set(range(len(findings))) - {finding for finding, _ in pairs}):
        finding = findings[index]
        claim = (finding.line, finding.bug_class)
        if claim in claimed or any(costs[index][bug] < 0 for bug in hit):
            duplicates.append(index)
        else:
            false_alarms.append(index)
            claimed.add(claim)
    return Matching(
        tuple(sorted(pairs, key=lambda pair: pair[1])),
        tuple(duplicates),
        tuple(false_alarms),
        tuple(bug for bug in range(len(bugs)) if bug not in hit),
    )


def classed(bugs: Sequence[Finding]) -> bool:
    """Somebody told the class of each bug."""
    return all(bug.bug_class != OTHER for bug in bugs)


def assign(costs: Sequence[Sequence[int]]) -> list[int | None]:
    """The column of each row in the assignment of least total cost, one column a row; None for rows that are left over.

    The Hungarian method with potentials (Kuhn 1955; Munkres 1957), O(n^2 m) for n rows and m columns; whole numbers, so
    exact.

    Args:
        costs: all rows of one length.
    """
    rows, columns = len(costs), len(costs[0]) if costs else 0
    if not rows or not columns:
        return [None] * rows
    if rows > columns:
        turned = assign(list(zip(*costs, strict=True)))
        found: list[int | None] = [None] * rows
        for column, row in enumerate(turned):
            if row is not None:
                found[row] = column
        return found
    # Rows and columns count from 1; column 0 stands for the row that is looking for a place.
    row_potential = [0] * (rows + 1)
    column_potential = [0] * (columns + 1)
    holder = [0] * (columns + 1)
    for row in range(1, rows + 1):
        holder[0] = row
        column, came_from = _free_column(costs, holder, row_potential, column_potential)
        while column:
            holder[column] = holder[came_from[column]]
            column = came_from[column]
    placed: list[int | None] = [None] * rows
    for column in range(1, columns + 1):
        if holder[column]:
            placed[holder[column] - 1] = column - 1
    return placed


def _free_column(
    costs: Sequence[Sequence[int]], holder: Sequence[int], row_potential: list[int], column_potential: list[int]
) -> tuple[int, list[int]]:
    """The column at the end of the cheapest way from `holder[0]` over held columns to a free one, and for each column
    the one before it on the way; raises and lowers the potentials so that all costs along it are tight."""
    columns = len(holder) - 1
    slack: list[float] = [inf] * (columns + 1)
    came_from = [0] * (columns + 1)
    visited = [False] * (columns + 1)
    column = 0
    while holder[column]:
        visited[column] = True
        row = holder[column]
        open_columns = [other for other in range(1, columns + 1) if not visited[other]]
        for other in open_columns:
            reduced = costs[row - 1][other - 1] - row_potential[row] - column_potential[other]
            if reduced < slack[other]:
                slack[other], came_from[other] = reduced, column
        nearest = min(open_columns, key=slack.__getitem__)
        step = int(slack[nearest])
        for other in range(columns + 1):
            if visited[other]:
                row_potential[holder[other]] += step
                column_potential[other] -= step
            else:
                slack[other] -= step
        column = nearest
    return column, came_from
