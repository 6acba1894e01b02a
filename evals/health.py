"""How a live adapter fares in use: its last days next to the evidence it was promoted on, to its own first days and to
what it replaced."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from assistant.answer_counts import AnswerCounts, Counted
from assistant.errors import UnknownModel
from assistant.feedback import Feedback
from assistant.feedback_events import Event as FeedbackEvent
from assistant.feedback_summary import stories
from assistant.models.registry import Event, Registry
from evals import statistics

LEAST = 50
"""Fewer answers on either side allow no comparison."""
_MARGIN = 0.02
"""So many more refusals or repetitions, as a share of the answers, are nothing to act on."""
_SLOWER = 1.5

_COMPLETING = "repo"
"""The task that completes code of the user's own repository."""
_ALIKE = re.compile(r"exact.match|edit.similarity")
"""Figures of other tasks that say how near a completion comes to what was written."""
_KEPT = "acceptance since the promotion"

_NOTES = {
    "seconds": "slower than before; look at the machine",
    "cut": "more answers end at their token limit; look at what clients ask for",
}
"""What is told of measures that are not the adapter's alone."""

Verdict = Literal["healthy", "tune again", "unproven", "too little use"]
Finding = Literal["ok", "worse", "too little use"]


@dataclass(frozen=True)
class Days:
    """What a version did in some days, both included."""

    what: str
    version: str
    first: str
    last: str
    shown: int
    """Completions that were visible long enough to be read."""
    taken: int
    """Of those, accepted wholly or partly."""
    counted: Counted

    @property
    def acceptance(self) -> float | None:
        return self.taken / self.shown if self.shown else None


@dataclass(frozen=True)
class Check:
    """One measure of the last days next to other days."""

    measure: str
    against: str
    now: float | None
    then: float | None
    low: float | None
    high: float | None
    """95 % interval of now minus then, for shares."""
    finding: Finding


@dataclass(frozen=True)
class Evidence:
    """The gate's decision that was kept with the promotion. `for_this_version`: it is about the very digest."""

    outcome: str
    against: str
    for_this_version: bool
    differences: Mapping[str, float]
    """By task: candidate minus the model that it was to replace, in the task's figure."""
    promised: Mapping[str, float] = field(default_factory=dict)
    """Those of code that was completed, turned so that more is better: what acceptance in use can be held against."""


@dataclass(frozen=True)
class Health:
    alias: str
    version: str
    promoted: str
    evidence: Evidence | None
    now: Days
    before: tuple[Days, ...]
    checks: tuple[Check, ...]
    verdict: Verdict
    advice: str


def health(alias: str, days: int, registry: Registry, counts: AnswerCounts, feedback: Feedback) -> Health:
    """
    Args:
        days: length of what is compared.

    Raises:
        UnknownModel: no such alias.
        HoneError: a file cannot be read.
    """
    live = registry.aliases().get(alias)
    if live is None:
        raise UnknownModel(f"no alias is called {alias}; `hone models promote NAME --as {alias}` makes it")
    events = registry.history(alias)
    moved = _came_live(events, live.id)
    promotion = next(
        (event for event in reversed(events) if event.kind == "promoted" and event.target == live.id), moved
    )
    log = feedback.read().events
    today, since = datetime.now(UTC).date(), datetime.fromisoformat(moved.time).date()

    def window(what: str, version: str, first: date, last: date) -> Days:
        shown, taken = _acceptance(log, version, first, last)
        return Days(what, version, first.isoformat(), last.isoformat(), shown, taken, counts.read(version, first, last))

    span = timedelta(days=days - 1)
    now = window("now", live.id, max(since, today - span), today)
    before = []
    if today - span > since + span:
        before.append(window("its first days", live.id, since, since + span))
    if moved.replaced is not None and moved.replaced != live.id:
        before.append(
            window("what it replaced", moved.replaced, since - span - timedelta(days=1), since - timedelta(days=1))
        )
    evidence = _evidence(promotion, live.id)
    checks = [check for then in before for check in _checks(now, then)]
    promised = _promised(evidence)
    if evidence is not None and promised:
        length = max(span, today - since)
        checks += _held(
            window(f"what the gate said ({promised})", live.id, since, today),
            window("", evidence.against, since - length - timedelta(days=1), since - timedelta(days=1)),
        )
    verdict, advice = _judge(live.name, live.id, now, checks, evidence)
    return Health(alias, live.id, moved.time, evidence, now, tuple(before), tuple(checks), verdict, advice)


def _came_live(events: Sequence[Event], version: str) -> Event:
    """The event since which the alias has pointed to it without a break; it may have been promoted again since."""
    first = len(events) - 1
    while first > 0 and events[first - 1].target == version:
        first -= 1
    return events[first]


def _acceptance(log: Sequence[FeedbackEvent], version: str, first: date, last: date) -> tuple[int, int]:
    low, high = first.isoformat(), (last + timedelta(days=1)).isoformat()
    chosen = (
        event
        for event in log
        if event.source == "complete" and version in (event.adapter, event.model) and low <= event.time < high
    )
    verdicts = [story.verdict for story in stories(chosen)]
    return len(verdicts), sum(verdict in ("accepted", "partly") for verdict in verdicts)


def _checks(now: Days, then: Days) -> Iterable[Check]:
    one, other = now.counted, then.counted
    yield _share("acceptance", then.what, (now.taken, now.shown), (then.taken, then.shown), falls=True)
    for measure in ("refused", "repeating", "cut"):
        counted = (getattr(one, measure), one.answers), (getattr(other, measure), other.answers)
        yield _share(measure, then.what, *counted, falls=False)
    enough = min(one.answers, other.answers) >= LEAST
    for measure in ("seconds", "tokens"):
        new, old = getattr(one, measure), getattr(other, measure)
        # How long answers are is no fault of itself; it explains a change of the seconds.
        worse = measure == "seconds" and enough and new is not None and old is not None and new > _SLOWER * old
        finding: Finding = "too little use" if not enough else "worse" if worse else "ok"
        yield Check(measure, then.what, new, old, None, None, finding)


def _promised(evidence: Evidence | None) -> str:
    """What the gate said of completions, where it let this version pass and found it no worse in all of them."""
    if evidence is None or evidence.outcome != "pass" or not evidence.for_this_version:
        return ""
    if any(gain < 0 for gain in evidence.promised.values()):
        return ""
    return ", ".join(f"{what} {gain:+.3f} over {evidence.against}" for what, gain in evidence.promised.items())


def _held(now: Days, then: Days) -> Iterable[Check]:
    """Whether people take what the gate found no worse at least as often as what it was compared with."""
    if then.shown:
        yield _share(_KEPT, now.what, (now.taken, now.shown), (then.taken, then.shown), falls=True)


def _share(measure: str, against: str, now: tuple[int, int], then: tuple[int, int], falls: bool) -> Check:
    """Worse when the whole interval of the difference is on the bad side (Newcombe 1998, his method 10)."""
    if min(now[1], then[1]) < LEAST:
        shares = [part / whole if whole else None for part, whole in (now, then)]
        return Check(measure, against, shares[0], shares[1], None, None, "too little use")
    new, old = statistics.wilson(*now), statistics.wilson(*then)
    difference = new.value - old.value
    low = difference - ((new.value - new.low) ** 2 + (old.high - old.value) ** 2) ** 0.5
    high = difference + ((new.high - new.value) ** 2 + (old.value - old.low) ** 2) ** 0.5
    worse = high < 0 if falls else low > _MARGIN
    return Check(measure, against, new.value, old.value, low, high, "worse" if worse else "ok")


def _evidence(promotion: Event, version: str) -> Evidence | None:
    """None when the promotion came without a gate's decision."""
    report: Any = promotion.data.get("report")
    if not isinstance(report, Mapping) or not isinstance(report.get("outcome"), str):
        return None
    differences, promised = {}, {}
    for task in report.get("tasks", ()):
        difference = task.get("difference", {}) if isinstance(task, Mapping) else {}
        value = difference.get("value")
        if isinstance(value, int | float):
            name = f"{task.get('task')} {task.get('figure')}"
            differences[name] = float(value)
            if task.get("task") == _COMPLETING or _ALIKE.search(str(task.get("figure"))):
                # Where nothing is said, as in decisions of earlier versions, more is better.
                promised[name] = -float(value) if difference.get("better") == "lower" else float(value)
    of_this = report.get("candidate") == version
    return Evidence(report["outcome"], str(report.get("against", "")), of_this, differences, promised)


def _judge(
    name: str, version: str, now: Days, checks: Sequence[Check], evidence: Evidence | None
) -> tuple[Verdict, str]:
    found = sorted({check.measure for check in checks if check.finding == "worse"})
    worse = [measure for measure in found if measure not in (*_NOTES, _KEPT)]
    told = [f"worse than before: {', '.join(worse)}"] if worse else []
    if _KEPT in found and evidence is not None:
        told.append(
            f"the gate found its completions no worse than those of {evidence.against}, and in use fewer are taken"
        )
    if told:
        again = f"tune again on the code as it is now (`hone tune PATH --name {name}`) and gate it"
        return "tune again", "; ".join((*told, again))
    if evidence is None or evidence.outcome != "pass" or not evidence.for_this_version:
        why = (
            "it was promoted without a gate's decision"
            if evidence is None
            else f"the gate said {evidence.outcome}"
            if evidence.outcome != "pass"
            else "the gate's decision is about another version"
        )
        return "unproven", f"{why}; `hone gate {version} --against MODEL` decides, and `hone models rollback` goes back"
    if max(now.shown, now.counted.answers) < LEAST:
        return "too little use", f"fewer than {LEAST} answers in these days; nothing can be said yet"
    return "healthy", "; ".join(_NOTES[measure] for measure in found) or "nothing got worse in use"
