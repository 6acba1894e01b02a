"""Runs a task on a model: references first, then samples that are generated, judged and kept side by side.

What is kept is never measured again: a sample is identified by everything that decides it. An answer is kept before it
is judged, so that a run that was killed asks for none a second time.
"""

import hashlib
import json
import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assistant import cores, prompts
from assistant.errors import HoneError
from evals import pool, samples
from evals.errors import HarnessError
from evals.limited import limited
from evals.progress import Progress
from evals.sampled import Job, Sampled, answer_of, answer_row, is_judged, job, recall, to_row
from evals.sandbox.outcome import Limits, Outcome
from evals.server import RETRY_SECONDS
from evals.subjects import Connect, Subject
from evals.tasks.base import Answer, Item, Task, Verdict

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

__all__ = ["LostSamplesError", "References", "Sampled", "check_references", "choose", "own_code", "run_task"]

LEFT_OUT = 0.1
"""Of the items at most; where more references fail, it is the machine or the judge that is wrong."""
_PROBE = prompts.FimTokens("<probe prefix>", "<probe suffix>", "<probe middle>")


class LostSamplesError(HarnessError):
    """Some samples could not be had from the server. What was sampled is kept; there is no score."""


@contextmanager
def own_code(task: Task, what: str) -> Iterator[None]:
    """A task may be a user's program: what it raises is told in a line.

    Raises:
        HarnessError: it raised something that is none of ours.
    """
    try:
        yield
    except HoneError:
        raise
    except Exception as error:
        raise HarnessError(f"{task.name} cannot give its {what}: {error!r}; nothing was measured") from error


def choose(items: Sequence[Item], limit: int | None, seed: int) -> list[Item]:
    """At most `limit` items, in their own order; a smaller limit gives a subset of a larger one.

    Raises:
        HarnessError: no items, or two with one id.
    """
    twice = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        raise HarnessError(f"the task has two items called {twice[0]!r}; nothing was measured")
    if not items:
        raise HarnessError("the task has no items; nothing was measured")
    if limit is None or limit >= len(items):
        return list(items)
    ranked = sorted(items, key=lambda item: hashlib.sha256(f"{seed}:{item.id}".encode()).digest())
    kept = {item.id for item in ranked[:limit]}
    return [item for item in items if item.id in kept]


@dataclass(frozen=True)
class References:
    """Answers that were judged as they must be."""

    good: int
    bad: int
    ran: Mapping[str, Sequence[Outcome]]
    """Group of items -> the programs of the good ones, for the calibration of limits; empty where none was run."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Item -> how its reference was judged wrongly; no model may be asked about it."""


def check_references(
    task: Task, items: Sequence[Item], sandbox: "Sandbox | None", may_leave_out: bool = False, show: bool = False
) -> References:
    """Judges the answers to `items`, and to others of their groups where they have none, that are known to be good and
    bad.

    Args:
        may_leave_out: items whose references are judged wrongly are left out, up to `LEFT_OUT` of all, instead of an
            error.
        show: progress on standard error.

    Raises:
        HarnessError: a good one does not score 1 or a bad one does not score 0. No model may be measured then.
    """
    wanted = {item.id for item in items}
    with own_code(task, "known answers"):
        every = list(task.references())
    own = {item.id for item, _, _ in every} & wanted
    # Some tasks have references for one item of a group alone, which then speak for the others.
    others = [item for item in items if item.id not in own]
    groups = {item.group for item in others}
    references = [reference for reference in every if reference[0].id in wanted or reference[0].group in groups]

    def judged(reference: tuple[Item, str, bool]) -> Verdict:
        return _judge(task, reference[0], Answer(reference[1], "stop", None, None, 0.0, None), sandbox)

    progress = Progress(f"{task.name}, known answers", len(references), "answers") if show and references else None
    verdicts: list[tuple[tuple[Item, str, bool], Verdict]] = []
    with ThreadPoolExecutor(cores.usable()) as judges:
        for verdict in judges.map(judged, references):
            verdicts.append((references[len(verdicts)], verdict))
            if progress:
                progress.add()
    if progress:
        progress.finish()
    wrong = [(item, good, verdict) for (item, _, good), verdict in verdicts if verdict.value != float(good)]
    unsound = {item.id: _misjudged(item, good, verdict) for item, good, verdict in reversed(wrong)}
    of_group = {item.group: unsound[item.id] for item, _, _ in reversed(wrong)}
    left_out = {name: why for name, why in unsound.items() if name in wanted}
    left_out |= {item.id: of_group[item.group] for item in others if item.group in of_group}
    if wrong and not (may_leave_out and len(left_out) <= LEFT_OUT * len(wanted)):
        item, is_good, verdict = wrong[0]
        further = list(dict.fromkeys(other.id for other, _, _ in wrong if other.id != item.id))
        raise HarnessError(
            f"{task.name}: {len(wrong)} of {len(references)} reference answers are judged wrongly, so no model was "
            f"asked: {_misjudged(item, is_good, verdict)}"
            + (f"; the others are of {', '.join(further)}" if further else "")
            + (f"; at most {LEFT_OUT:.0%} of the items may be left out" if may_leave_out else "")
        )
    verdicts = [each for each in verdicts if each[0][0].id not in unsound]
    good = [(item.group, verdict.extra) for (item, _, good), verdict in verdicts if good]
    ran: dict[str, list[Outcome]] = {}
    for group, extra in good:
        if "cpu_seconds" in extra:
            took = Outcome(None, "", extra["cpu_seconds"], extra["wall_seconds"], "")
            ran.setdefault(group, []).append(took)
    return References(len(good), len(verdicts) - len(good), ran, left_out)


def _misjudged(item: Item, is_good: bool, verdict: Verdict) -> str:
    why = f" ({verdict.error}: {verdict.detail})" if verdict.error else ""
    return f"a known {'good' if is_good else 'bad'} answer to {item.id} scores {verdict.value:g}{why}"


def run_task(
    task: Task,
    subject: Subject,
    connect: Connect,
    store: samples.Samples,
    sandbox: "Sandbox | None",
    *,
    seed: int = 0,
    concurrency: int = 4,
    samples_per_item: int | None = None,
    temperature: float | None = None,
    items: Sequence[Item] | None = None,
    limits: Mapping[str, Limits] = {},
    show: bool = True,
    retry_seconds: Sequence[float] = RETRY_SECONDS,
) -> list[Sampled]:
    """All samples of a task, in the order of its items and attempts; those that the store has are not made again.

    Args:
        sandbox: None only for a task that needs none.
        concurrency: requests at a time.
        samples_per_item, temperature: None takes the task's own.
        items: those of the task to ask about, whose references were checked; None checks and asks all.
        limits: of the programs of a group of items; the task's own where it has none here.
        show: progress on standard error.
        retry_seconds: waits before a request that failed is sent again.

    Raises:
        LostSamplesError: the server did not give some samples; the others are kept, and the same call goes on.
        HarnessError: the references, the judge or the server failed.
        HoneError: the model cannot be had, or the store cannot be written.
    """
    if task.needs_sandbox and sandbox is None:
        raise HarnessError(f"{task.name} runs code and got no sandbox; nothing was measured")
    if items is None:
        with own_code(task, "items"):
            items = choose(task.items(), None, seed)
        check_references(task, items, sandbox, show=show)
    count = task.samples_per_item if samples_per_item is None else samples_per_item
    heat = task.temperature if temperature is None else temperature
    rung = sandbox.rung if sandbox is not None and task.needs_sandbox else None
    done: dict[str, Sampled] = {}
    with ExitStack() as stack:
        connected = stack.enter_context(connect(subject)) if _depends_on_fim(task, items[0]) else None
        fim = connected.fim if connected else None
        with own_code(task, "questions"):
            asks = [task.ask(item, fim) for item in items]
            subject.check(asks[0])
            # Their data may be no JSON.
            jobs = [
                job(task.version, subject, item, attempt, ask, heat, seed)
                for item, ask in zip(items, asks, strict=True)
                for attempt in range(count)
            ]
        rows = {each.key: row for each in jobs if (row := store.get(each.key)) is not None}
        done = {each.key: recall(each, row) for each in jobs if (row := rows.get(each.key)) and is_judged(row, rung)}
        answered = {key: answer_of(row) for key, row in rows.items() if key not in done}
        missing = [each for each in jobs if each.key not in done]
        progress = Progress(f"{task.name}, {subject.name}", len(jobs), "samples") if show else None
        lock = threading.Lock()

        def hold(each: Job, answer: Answer) -> None:
            store.add(answer_row(each, answer, task.version, subject))

        def keep(each: Job, answer: Answer) -> None:
            verdict = _judge(limited(task, limits.get(each.item.group)), each.item, answer, sandbox)
            sampled = Sampled(each.item, each.attempt, each.ask, answer, verdict, each.key)
            store.add(to_row(sampled, each, task.version, subject, rung))
            with lock:
                done[each.key] = sampled
                if progress:
                    progress.add()

        if progress:
            progress.add(len(done), worked=False)
        if connected is None and len(missing) > len(answered):
            connected = stack.enter_context(connect(subject))
        lost = pool.work(missing, answered, connected, concurrency, hold, keep, _finished(task), retry_seconds)
        if progress:
            progress.finish()
    if lost:
        raise LostSamplesError(_what_was_lost(task, subject, [why for _, why in lost], len(jobs)))
    return [done[each.key] for each in jobs]


def _judge(task: Task, item: Item, answer: Answer, sandbox: "Sandbox | None") -> Verdict:
    """
    Raises:
        HarnessError: the task's own code failed, or what it says is no verdict.
    """
    try:
        verdict = task.judge(item, answer, sandbox)
        json.dumps(dict(verdict.extra), allow_nan=False)
    except HarnessError:
        raise
    except Exception as error:
        raise HarnessError(f"{task.name} cannot judge {item.id}: {error!r}; no score is given") from error
    if not math.isfinite(verdict.value) or not 0.0 <= verdict.value <= 1.0:
        raise HarnessError(f"{task.name} judges {item.id} as {verdict.value!r}, which is no share of 1")
    return verdict


def _finished(task: Task) -> pool.Finished:
    """The task's own `finished(item, text)`, where it has one."""
    own = getattr(task, "finished", None)
    return own if callable(own) else lambda item, text: False


def _depends_on_fim(task: Task, item: Item) -> bool:
    """Whether the model must be there before it is known what it is asked."""
    with own_code(task, "questions"):
        return task.ask(item, None) != task.ask(item, _PROBE)


def _what_was_lost(task: Task, subject: Subject, reasons: Sequence[str], total: int) -> str:
    (reason, count), *others = Counter(reasons).most_common()
    more = f" ({count} times, and {len(others)} other reasons)" if others else ""
    return (
        f"{task.name}: {len(reasons)} of {total} samples of {subject.name} were lost, so there is no score: "
        f"{reason}{more}; the same command asks for them again"
    )
