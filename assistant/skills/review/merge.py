"""One finding for each problem: claims of several sources about the same thing are put together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from assistant.skills.review import baseline
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import MODEL, SEVERITIES, Evidence, Finding, Fix, Mark
from assistant.skills.review.observations import LONG_REGION, Observation

MAX_CODE = 10
"""Lines of code shown with a finding."""


@dataclass(frozen=True)
class Problem:
    """Claims about one thing, the strongest first: analyzers before the model, which cannot say what is wrong."""

    change: FileChange
    claims: tuple[Observation, ...]

    @property
    def first(self) -> int:
        return self.claims[0].first

    @property
    def last(self) -> int:
        return self.claims[0].last

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return tuple(one.evidence for one in self.claims)

    @property
    def rule(self) -> str:
        strongest = self.claims[0].evidence
        return f"{strongest.source}/{strongest.rule}"

    @property
    def confidence(self) -> float:
        return max(one.evidence.confidence for one in self.claims)

    @property
    def mark(self) -> Mark:
        return baseline.mark(self.rule, self.change.path, self.change.lines, self.first)

    @property
    def only_model(self) -> bool:
        return all(one.evidence.source == MODEL for one in self.claims)


def problems(changes: Sequence[FileChange], observations: Sequence[Observation]) -> list[Problem]:
    """The problems, ordered by path and line.

    The same claim twice is one. Claims of different tools are one problem when they are of one category, on common
    lines and, where both name columns, on common columns; a claim of the model joins what an analyzer says of its line.
    Different claims of one tool stay apart: the tool knows.
    """
    by_path = {change.path: change for change in changes}
    groups: dict[str, list[list[Observation]]] = {}
    for one in sorted(_distinct(observations), key=_order):
        of_file = groups.setdefault(one.path, [])
        group = next((group for group in of_file if any(_same(one, other) for other in group)), None)
        if group is not None and not any(other.evidence.source == one.evidence.source for other in group):
            group.append(one)
        else:
            of_file.append([one])
    made = [Problem(by_path[path], tuple(group)) for path, of_file in groups.items() for group in of_file]
    return sorted(made, key=lambda problem: (problem.change.path, problem.first, problem.rule))


def _distinct(observations: Sequence[Observation]) -> list[Observation]:
    """Some tools report a claim once for each way that leads to it."""
    return list(
        {
            (one.path, one.first, one.last, one.evidence.source, one.evidence.rule, one.evidence.message): one
            for one in reversed(observations)
        }.values()
    )


def _order(one: Observation) -> tuple[bool, int, float, str, int, str]:
    gravest = -SEVERITIES.index(one.severity)
    return one.evidence.source == MODEL, gravest, -one.evidence.confidence, one.path, one.first, one.evidence.rule


def _same(one: Observation, other: Observation) -> bool:
    if one.path != other.path or one.evidence.source == other.evidence.source:
        return False
    if MODEL in (one.evidence.source, other.evidence.source):
        model, tool = (one, other) if one.evidence.source == MODEL else (other, one)
        return tool.category != "review" and tool.first <= model.first <= min(tool.last, tool.first + LONG_REGION)
    if one.category != other.category or one.last < other.first or other.last < one.first:
        return False
    if max(one.last - one.first, other.last - other.first) >= LONG_REGION and one.first != other.first:
        return False
    return _columns_meet(one.evidence, other.evidence)


def _columns_meet(one: Evidence, other: Evidence) -> bool:
    if "column" not in one.details or "column" not in other.details:
        return True
    start, end = one.details["column"], one.details.get("last_column", one.details["column"] + 1)
    other_start, other_end = other.details["column"], other.details.get("last_column", other.details["column"] + 1)
    return bool(start < max(other_end, other_start + 1) and other_start < max(end, start + 1))


def finding(problem: Problem, identifier: str, fix: Fix | None, message: str | None = None) -> Finding:
    """
    Args:
        message: better words than the strongest evidence's.
    """
    lines = problem.change.lines
    count = max(len(lines), 1)
    first = min(max(problem.first, 1), count)
    last = min(max(problem.last, first), count)
    strongest = problem.claims[0]
    return Finding(
        id=identifier,
        mark=problem.mark,
        path=problem.change.path,
        line=first,
        last=last,
        severity=strongest.severity,
        category=strongest.category,
        rule=problem.rule,
        message=message or strongest.evidence.message,
        confidence=problem.confidence,
        evidence=problem.evidence,
        code=tuple(lines[first - 1 : min(last, first + MAX_CODE - 1)]),
        fix=fix,
    )


def identifiers(problems: Sequence[Problem]) -> list[str]:
    """A stable id for each; equal ones get a number."""
    seen: dict[str, int] = {}
    made = []
    for problem in problems:
        name = baseline.identifier(problem.mark)
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return made


def with_message(problem: Problem, evidence: Evidence) -> Problem:
    """The problem with the model's evidence replaced by one that says more."""
    claims = tuple(replace(one, evidence=evidence) if one.evidence.source == MODEL else one for one in problem.claims)
    return replace(problem, claims=claims)
