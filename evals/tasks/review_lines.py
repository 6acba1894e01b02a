"""The task `review-lines`: the probability that each changed line is wrong, read from the logits of models of this
machine, calibrated and called wrong as the adapter's `reviewer.json` says.

Nothing is generated, so there is no temperature; the same cases give the same figures.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from assistant.errors import UsageError
from assistant.review_calibration import RAW
from assistant.review_prompt import Finding
from assistant.skills.review.verdicts import read_reviewer
from evals.errors import HarnessError
from evals.progress import Progress
from evals.report.schema import Comparison, Figure, ModelResult, TaskReport
from evals.subjects import Subject
from evals.tasks import review_metrics, review_scores
from evals.tasks.review_data import OTHER, Case
from evals.tasks.review_metrics import Review
from evals.tasks.review_scores import Scored

NAME = "review-lines"
VERSION = "review-lines@3"
EVEN = 0.5
"""The threshold of a model that has none of its own."""
SHOWN = (
    "line F1",
    "line precision",
    "line recall",
    "exact line F1",
    "line recall, operators not trained on",
    "false alarms per clean diff",
    "clean diffs with a false alarm",
    "false alarms per 100 changed lines",
)
"""Figures at the threshold, the deciding one first."""
_DECIDING = ("line F1", "clean diffs with a false alarm")


@dataclass(frozen=True)
class Plan:
    cases: tuple[Case, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Where the cases come from; for the report."""
    seed: int = 0


@dataclass(frozen=True)
class Read:
    """What one model says."""

    scored: tuple[Scored, ...]
    threshold: float
    stored: bool
    """The threshold and the calibration are the adapter's own."""

    @property
    def reviews(self) -> list[Review]:
        return [called(one, self.threshold) for one in self.scored]


def called(scored: Scored, threshold: float) -> Review:
    """The findings of one hunk: each changed line of at least the threshold."""
    lines = [scored.case.hunk.lines[index] for index in scored.case.hunk.changed]
    named = [
        Finding(line.number, line.number, OTHER, "")
        for line, stated in zip(lines, scored.wrong, strict=True)
        if stated >= threshold
    ]
    return Review(scored.case, 0, tuple(named))


def measure(subjects: Sequence[Subject], plan: Plan, show: bool = False) -> TaskReport:
    """
    Args:
        show: progress on standard error.

    Raises:
        UsageError: a model is behind a server, which shows no logits of a text.
        HarnessError: no change is short enough to be read.
        HoneError: a model cannot be loaded.
    """
    far = next((subject for subject in subjects if subject.endpoint is not None), None)
    if far is not None:
        raise UsageError(f"{NAME} reads logits, which {far.name}'s server does not show; name models of this machine")
    found = _on_the_same([_read(subject, plan, show) for subject in subjects])
    if not found[0].scored:
        raise HarnessError(f"none of {len(plan.cases)} changes is short enough to be read; nothing was measured")
    models = tuple(_result(subject, one, plan.seed) for subject, one in zip(subjects, found, strict=True))
    notes = [
        f"{len(found[0].scored)} of {len(plan.cases)} hunks, read once each: at every added line, the probability that "
        "another one is written in its place.",
        *(
            f"{subject.name}: "
            + (
                f"threshold {one.threshold:.3f} and calibration as stored with the adapter."
                if one.stored
                else f"no stored threshold, so {EVEN:g} of the uncalibrated probability."
            )
            for subject, one in zip(subjects, found, strict=True)
        ),
    ]
    return TaskReport(
        name=NAME,
        version=VERSION,
        settings={**plan.settings, "seed": plan.seed, "most_tokens": review_scores.MAX_TOKENS},
        models=models,
        comparisons=tuple(_comparisons(subjects, found, plan.seed)),
        notes=tuple(notes),
        samples=(),
        details={
            subject.name: {**review_metrics.by_kind(one.reviews), "best_threshold": best_f1(one.scored)}
            for subject, one in zip(subjects, found, strict=True)
        },
    )


def best_f1(scored: Sequence[Scored]) -> dict[str, float]:
    """The highest line F1 over all thresholds and where it is: chosen on the cases themselves, so what a threshold
    could do at most, and no figure of a reviewer."""
    levels = sorted({stated for one in scored for stated in one.wrong})
    best = (0.0, 1.0)
    # A hundred thresholds show the curve; each costs a pass over all cases.
    for level in levels[:: max(1, len(levels) // 100)]:
        total: Counter[str] = Counter()
        for one in scored:
            total.update(review_metrics.of_hunk(called(one, level)))
        parts = 2 * total["line hits"] + total["line false alarms"] + total["line missed"]
        best = max(best, (2 * total["line hits"] / parts if parts else 0.0, level))
    return {"line_f1": best[0], "threshold": best[1]}


def _read(subject: Subject, plan: Plan, show: bool) -> Read:
    from assistant.models import store
    from assistant.models.resolve import resolve

    served = resolve(subject.asked)
    folder = served.adapter.folder if served.adapter else None
    own = read_reviewer(folder) if folder else None
    progress = Progress(f"{NAME}, {subject.name}", len(plan.cases), "hunks") if show else None
    scored = review_scores.read(
        plan.cases,
        store.tuning_form(served.base),
        folder,
        calibrated=own.calibration if own else RAW,
        done=progress.add if progress else lambda: None,
    )
    if progress:
        progress.finish()
    return Read(tuple(scored), own.threshold if own else EVEN, own is not None)


def _on_the_same(found: Sequence[Read]) -> list[Read]:
    """What all models could read: a tokenizer may make more of a change than another one."""
    common = set.intersection(*({one.case.id for one in each.scored} for each in found))
    return [replace(each, scored=tuple(one for one in each.scored if one.case.id in common)) for each in found]


def _result(subject: Subject, found: Read, seed: int) -> ModelResult:
    at_threshold = review_metrics.figures(found.reviews, seed)
    figures: dict[str, Figure] = {name: at_threshold[name] for name in SHOWN if name in at_threshold}
    ranked, calibration = review_scores.figures(found.scored, seed)
    facts = {**subject.facts, "threshold": found.threshold, "threshold_stored": found.stored}
    return ModelResult(facts, figures | ranked, {}, calibration, ())


def _comparisons(subjects: Sequence[Subject], found: Sequence[Read], seed: int) -> list[Comparison]:
    first, *others = found
    made = [
        review_metrics.compare(first.reviews, one.reviews, (subjects[0].name, subject.name), seed, figure)
        for subject, one in zip(subjects[1:], others, strict=True)
        for figure in _DECIDING
    ]
    return [comparison for comparison in made if comparison is not None]
