"""Figures of a reviewer: precision, recall and F1 by file, line and class, false alarms on clean changes, duplicates,
answers that cannot be read, fixes that work, and how far stated confidence can be believed.

Every figure is a sum over groups of changes divided by another one, so that intervals and comparisons resample groups.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from assistant.review_prompt import Finding
from evals import statistics
from evals.report.results import calibrate
from evals.report.schema import Better, Calibration, Comparison, Figure
from evals.tasks.base import Item, Verdict
from evals.tasks.review_data import OTHER, Case, finding, from_item
from evals.tasks.review_match import classed, distance, match
from tuning.calibration import area

TOLERANCE = 2
"""Lines that a finding may be off at the levels `line` and `class`. At `exact line` it may be off none."""
BINS = 10

Counts = Mapping[str, float]


@dataclass(frozen=True)
class Review:
    """One answer about one hunk."""

    case: Case
    attempt: int
    findings: tuple[Finding, ...] | None
    """None: the answer is in no form that was taught."""
    passes: bool | None = None
    """The tests pass once all suggested fixes are made; None where nothing was run."""


class Judged(Protocol):
    """What the harness keeps of a sample."""

    @property
    def item(self) -> Item: ...

    @property
    def attempt(self) -> int: ...

    @property
    def verdict(self) -> Verdict: ...


@dataclass(frozen=True)
class Ratio:
    """A figure: the weighted sum of some counts over the weighted sum of others."""

    over: Counts
    under: Counts
    unit: str
    better: Better


def _levels() -> dict[str, Ratio]:
    found = {}
    for level in ("file", "line", "exact line", "class"):
        right, wrong, missed = f"{level} hits", f"{level} false alarms", f"{level} missed"
        found[f"{level} F1"] = Ratio({right: 2}, {right: 2, wrong: 1, missed: 1}, "share", "higher")
        found[f"{level} precision"] = Ratio({right: 1}, {right: 1, wrong: 1}, "share", "higher")
        found[f"{level} recall"] = Ratio({right: 1}, {right: 1, missed: 1}, "share", "higher")
    return found


_LEVELS = _levels()
RATIOS: Mapping[str, Ratio] = {
    # The one that a comparison is decided by comes first.
    **{name: _LEVELS[name] for name in ("line F1", "line precision", "line recall")},
    **{name: ratio for name, ratio in _LEVELS.items() if not name.startswith("line")},
    "line recall, operators not trained on": Ratio({"unseen hits": 1}, {"unseen bugs": 1}, "share", "higher"),
    "false alarms per clean diff": Ratio({"clean alarms": 1}, {"clean diffs": 1}, "", "lower"),
    "clean diffs with a false alarm": Ratio({"clean flagged": 1}, {"clean diffs": 1}, "share", "lower"),
    "false alarms per 100 changed lines": Ratio({"line false alarms": 100}, {"changed lines": 1}, "", "lower"),
    "duplicates": Ratio({"duplicates": 1}, {"findings": 1}, "share", "lower"),
    "parse failures": Ratio({"unread": 1}, {"answers": 1}, "share", "lower"),
    "bugs restored word for word": Ratio({"restored": 1}, {"known fixes": 1}, "share", "higher"),
    "bugs fixed, by tests": Ratio({"fixed": 1}, {"failing": 1}, "share", "higher"),
    "clean changes broken, by tests": Ratio({"broken": 1}, {"passing": 1}, "share", "lower"),
}
"""By the figure's name."""


def review_of(sample: Judged) -> Review:
    extra = sample.verdict.extra
    said = extra["findings"]
    findings = tuple(finding(one) for one in said) if said is not None else None
    return Review(from_item(sample.item), sample.attempt, findings, extra["passes"])


def figures(reviews: Sequence[Review], seed: int) -> dict[str, Figure]:
    """The figures by name; those that nothing is known of (no clean change, no test) are left out.

    Raises:
        ValueError: no reviews.
    """
    if not reviews:
        raise ValueError("no review was made")
    groups = counts(reviews)
    found = {}
    for name, ratio in RATIOS.items():
        over, under = _columns(ratio, list(groups.values()))
        if not sum(under):
            continue
        resting = sum(value > 0 for value in under)
        if len(groups) > 1:
            if ratio.unit == "share":
                told, how = statistics.share(over, under, seed)
            else:
                told, how = statistics.ratio(over, under, seed), "bootstrap"
            method = f"{how} over {len(groups)} groups of changes"
            found[name] = Figure(told.value, told.low, told.high, resting, ratio.unit, ratio.better, method)
        else:
            method = "one group of changes, no interval"
            found[name] = Figure(over[0] / under[0], None, None, resting, ratio.unit, ratio.better, method)
    return found


def compare(
    before: Sequence[Review], after: Sequence[Review], names: tuple[str, str], seed: int, figure: str = "line F1"
) -> Comparison | None:
    """What the second reviewer changes, both on the same cases; None where the figure is undefined for one of them.

    Args:
        names: of the two models.
        figure: a key of `RATIOS`.

    Raises:
        ValueError: they reviewed different cases.
    """
    one, two = counts(before), counts(after)
    if {review.case.id for review in before} != {review.case.id for review in after}:
        raise ValueError("two reviewers can only be compared on the same cases")
    ratio = RATIOS[figure]
    order = list(one)
    clusters = tuple(
        zip(
            *_columns(ratio, [one[group] for group in order]),
            *_columns(ratio, [two[group] for group in order]),
            strict=True,
        )
    )
    totals = [sum(column) for column in zip(*clusters, strict=True)]
    if not (totals[1] and totals[3]):
        return None
    paired = statistics.compare_clusters(clusters, seed)
    method = f"paired bootstrap over {len(clusters)} groups of changes"

    def told(estimate: statistics.Estimate, unit: str) -> Figure:
        return Figure(estimate.value, estimate.low, estimate.high, len(clusters), unit, ratio.better, method)

    return Comparison(
        figure=figure,
        before=names[0],
        after=names[1],
        difference=told(paired.difference, ratio.unit),
        p=paired.p,
        # Draws that never differ have no spread to tell it from.
        detectable=statistics.detectable(paired.standard_error) or None,
        outcomes=None,
        # Shares change in points, as everywhere.
        relative=told(paired.relative, "share") if paired.relative and ratio.unit != "share" else None,
        clusters=clusters,
    )


def _columns(ratio: Ratio, groups: Sequence[Counts]) -> tuple[list[float], list[float]]:
    return tuple(
        [sum(weight * group.get(name, 0) for name, weight in side.items()) for group in groups]
        for side in (ratio.over, ratio.under)
    )  # type: ignore[return-value]


def counts(reviews: Sequence[Review]) -> dict[str, Counter[str]]:
    """What `RATIOS` are made of, by group, in the order in which groups come first."""
    found: dict[str, Counter[str]] = {}
    changes: dict[tuple[str, int, str], list[Review]] = defaultdict(list)
    files: dict[tuple[str, int, str, str], list[Review]] = defaultdict(list)
    for review in reviews:
        case = review.case
        group = found.setdefault(case.group, Counter())
        group.update(of_hunk(review))
        changes[case.group, review.attempt, case.diff].append(review)
        files[case.group, review.attempt, case.diff, case.hunk.path].append(review)
    for (name, *_), hunks in changes.items():
        if not any(review.case.bugs for review in hunks):
            alarms = sum(len(match(review.findings or (), (), TOLERANCE).false_alarms) for review in hunks)
            found[name].update({"clean diffs": 1, "clean alarms": alarms, "clean flagged": int(alarms > 0)})
    for (name, *_), hunks in files.items():
        wrong = any(review.case.bugs for review in hunks)
        flagged = any(review.findings for review in hunks)
        found[name].update(
            {
                "file hits": int(wrong and flagged),
                "file missed": int(wrong and not flagged),
                "file false alarms": int(flagged and not wrong),
            }
        )
    return found


def of_hunk(review: Review) -> Counter[str]:
    """The counts of one answer; an answer that cannot be read finds nothing."""
    case, findings = review.case, review.findings or ()
    found: Counter[str] = Counter(
        {
            "answers": 1,
            "unread": int(review.findings is None),
            "changed lines": len(case.hunk.changed),
            "findings": len(findings),
        }
    )
    for level, tolerance, same_class in (
        ("line", TOLERANCE, False),
        ("exact line", 0, False),
        ("class", TOLERANCE, True),
    ):
        if same_class and not classed(case.bugs):
            continue
        made = match(findings, case.bugs, tolerance, same_class)
        found[f"{level} hits"] = len(made.pairs)
        found[f"{level} false alarms"] = len(made.false_alarms)
        found[f"{level} missed"] = len(made.missed)
        if level != "line":
            continue
        found["duplicates"] = len(made.duplicates)
        if case.unseen_operator:
            found["unseen bugs"], found["unseen hits"] = len(case.bugs), len(made.pairs)
        known = [bug for bug in case.bugs if bug.fix]
        found["known fixes"] = len(known)
        found["restored"] = sum(
            bool(findings[index].fix) and _repaired(case, findings[index]) == _repaired(case, case.bugs[bug])
            for index, bug in made.pairs
            if case.bugs[bug].fix
        )
    if review.passes is not None:
        found.update(
            {"failing": 1, "fixed": int(review.passes)}
            if case.bugs
            else {"passing": 1, "broken": int(not review.passes)}
        )
    return found


def _repaired(case: Case, fixed: Finding) -> str:
    """The new code that a hunk shows with one fix made, blanks at line ends left out."""
    shown = [(line.number, line.text) for line in case.hunk.lines if line.marker != "-"]
    above = [text for number, text in shown if number < fixed.line]
    below = [text for number, text in shown if number > fixed.last]
    return "\n".join(line.rstrip() for line in (*above, *fixed.fix, *below))


def by_kind(reviews: Sequence[Review]) -> dict[str, dict[str, dict[str, int]]]:
    """Bugs, and those found within the tolerance, by bug class, by operator and by how the change was made; JSON-ready.

    Several attempts at a case count each.
    """
    found: dict[str, dict[str, dict[str, int]]] = {"bug class": {}, "operator": {}, "kind": {}}
    for review in reviews:
        case = review.case
        hit = {bug for _, bug in match(review.findings or (), case.bugs, TOLERANCE).pairs}
        for index, bug in enumerate(case.bugs):
            for table, name in (("bug class", bug.bug_class), ("operator", case.operator), ("kind", case.kind)):
                if name:
                    row = found[table].setdefault(name, {"bugs": 0, "found": 0})
                    row["bugs"] += 1
                    row["found"] += int(index in hit)
    return {table: dict(sorted(rows.items())) for table, rows in found.items()}


def agreement(reviews: Sequence[Review]) -> list[tuple[float, bool]]:
    """Confidence from several attempts at the same cases: for each line that any of them names, the share of attempts
    that name it, and whether a bug is within the tolerance."""
    by_case: dict[str, list[Review]] = defaultdict(list)
    for review in reviews:
        by_case[review.case.id].append(review)
    pairs: list[tuple[float, bool]] = []
    for attempts in by_case.values():
        named: Counter[int] = Counter()
        for review in attempts:
            named.update({one.line for one in review.findings or ()})
        for line, times in sorted(named.items()):
            claim = Finding(line, line, OTHER, "")
            hit = any(distance(claim, bug) <= TOLERANCE for bug in attempts[0].case.bugs)
            pairs.append((times / len(attempts), hit))
    return pairs


def calibration(pairs: Sequence[tuple[float, bool]], bins: int = BINS) -> Calibration | None:
    """Reliability bins of equal width and the expected calibration error (Naeini et al. 2015; Guo et al. 2017).

    Args:
        pairs: (stated probability, what happened).

    Returns:
        None when there are no pairs.

    Raises:
        ValueError: a probability is outside 0..1.
    """
    return calibrate([stated for stated, _ in pairs], [happened for _, happened in pairs], bins)


def ranking(pairs: Sequence[tuple[float, bool]]) -> float | None:
    """The area under the ROC curve: the chance that what happened was stated as likelier than what did not, ties half.

    None when everything or nothing happened.
    """
    return area([stated for stated, _ in pairs], [happened for _, happened in pairs])
