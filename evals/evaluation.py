"""Several tasks on several models, to one report."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant import paths
from assistant.errors import UsageError
from evals import ablate, environment
from evals.errors import HarnessError
from evals.harness import References, check_references, choose, own_code, run_task
from evals.limited import limited
from evals.report.results import KS, Measure, task_report
from evals.report.schema import RIGHT, ModelResult, Report, TaskReport
from evals.sampled import Sampled
from evals.samples import Samples
from evals.sandbox.calibrate import fitting, generous
from evals.sandbox.outcome import Limits
from evals.server import TOP_P
from evals.subjects import Connect, Connected, Subject
from evals.tasks import review_lines, speed
from evals.tasks.base import Item, Task

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

CONCURRENCY = 8
"""Requests at a time. With 2 of them llama.cpp writes no more than with one, with 4 it writes 1.4 times as much, with 8
2.2 times, with 16 little more than that (`benchmarks/batches.py`, on two cores)."""

Tasks = Sequence[Task | speed.Plan | review_lines.Plan]
Build = Callable[["Sandbox | None"], AbstractContextManager[Tasks]]
"""Makes the tasks, which live as long as the block."""


@dataclass(frozen=True)
class Options:
    """What holds for every task of an evaluation."""

    samples: int | None = None
    """Of each item; None: as many as the task says."""
    temperature: float | None = None
    limit: int | None = None
    """Of the items of each task."""
    seed: int = 0
    """Of sampling, of the choice of items, and of the resamples of intervals."""
    concurrency: int = CONCURRENCY
    out: Path | None = None
    """None keeps samples in Hone's state folder."""
    ablate: bool = False
    leave_out: bool = False
    """Leave out items whose reference answers are judged wrongly here, and say so, instead of measuring nothing."""
    show: bool = True
    """Progress on standard error."""


@dataclass(frozen=True)
class Done:
    """What one model did at one task."""

    sampled: tuple[Sampled, ...]
    rows: tuple[Mapping[str, Any], ...]
    """The same as lines of samples.jsonl."""


@dataclass(frozen=True)
class _Prepared:
    task: Task
    items: tuple[Item, ...]
    total: int
    references: References
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """Of the programs of a group of items, fitted to its own references: a slow problem gives no other one time."""


def evaluate(
    build: Build,
    subjects: Sequence[Subject],
    connect: Connect,
    open_sandbox: Callable[[], AbstractContextManager["Sandbox"]] | None,
    options: Options = Options(),
) -> Report:
    """Measures every task on every model; the first model is the reference of all comparisons.

    All references are judged before any model is asked. A model is loaded once for all tasks, and not at all when every
    sample is kept from an earlier run.

    Args:
        open_sandbox: None when nothing that a model writes is run.

    Raises:
        UsageError: the models are not different ones, or the options contradict each other or a task.
        HarnessError: no score can be given.
        HoneError: a model or the output folder is not usable.
    """
    if not subjects:
        raise UsageError("no model was given; name one by --model")
    if len({subject.digest for subject in subjects}) < len(subjects):
        raise UsageError("two of the models are the same one; name different models")
    server = subjects[0].endpoint
    before = environment.describe(subjects[0].engine if server is None else f"server {server.url}")
    with ExitStack() as stack:
        sandbox = stack.enter_context(open_sandbox() if open_sandbox else nullcontext())
        tasks = stack.enter_context(build(sandbox))
        all_prepared = [
            None if isinstance(task, speed.Plan | review_lines.Plan) else _prepare(task, options, sandbox)
            for task in tasks
        ]
        prepared = [each for each in all_prepared if each is not None]
        if len({each.task.name for each in prepared}) < len(prepared):
            raise UsageError("two of the tasks have the same name; run them apart")
        done: dict[tuple[str, str], dict[str, Done]] = {}
        for subject in subjects:
            with _once(connect, subject) as same:
                for each in prepared:
                    done[each.task.name, subject.digest] = _ways(each, subject, same, sandbox, options)
        reports = []
        for task, ready in zip(tasks, all_prepared, strict=True):
            if isinstance(task, speed.Plan):
                reports.append(speed.measure(subjects, connect, task, options.show))
                continue
            if isinstance(task, review_lines.Plan):
                reports.append(review_lines.measure(subjects, task, options.show))
                continue
            assert ready is not None
            found = [(subject, done[ready.task.name, subject.digest]) for subject in subjects]
            reports.append(_report(ready, [(s.facts, ways[ablate.AS_ASKED]) for s, ways in found], options))
            if options.ablate:
                reports += [_ablation(ready, subject, ways, options) for subject, ways in found]
        # A file of one's own may ask for texts alone: then nothing was run in the sandbox.
        ran = any(each.task.needs_sandbox for each in prepared)
        rung = sandbox.rung if sandbox is not None and ran else None
    return Report(
        schema_version=2,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        hone=version("hone-assistant"),
        environment=before | {"load_average_at_end": environment.describe()["load_average"]},
        sandbox=rung,
        tasks=tuple(reports),
    )


def _prepare(task: Task, options: Options, sandbox: "Sandbox | None") -> _Prepared:
    count, heat = _decoding(task, options)
    if count > 1 and heat == 0:
        raise UsageError(
            f"{task.name}: {count} samples at temperature 0 would all be the same; give --temperature, 0.2 or 0.8 for "
            "example"
        )
    with own_code(task, "items"):
        every = task.items()
    items = choose(every, options.limit, options.seed)
    limits = getattr(task, "limits", None)
    if not isinstance(limits, Limits):
        return _prepared(task, items, len(every), _checked(task, items, sandbox, options))
    # The machine may be slower than the one that the limits were chosen on.
    references = _checked(limited(task, generous(limits)), items, sandbox, options)
    fitted = {group: fitting(ran, limits) for group, ran in references.ran.items()}
    widest = fitting((each for ran in references.ran.values() for each in ran), limits)
    return replace(_prepared(limited(task, widest), items, len(every), references), limits=fitted)


def _checked(task: Task, items: Sequence[Item], sandbox: "Sandbox | None", options: Options) -> References:
    return check_references(task, items, sandbox, options.leave_out, options.show)


def _prepared(task: Task, items: Sequence[Item], total: int, references: References) -> _Prepared:
    return _Prepared(task, _without(items, references), total, references)


def _without(items: Sequence[Item], references: References) -> tuple[Item, ...]:
    return tuple(item for item in items if item.id not in references.left_out)


def _decoding(task: Task, options: Options) -> tuple[int, float]:
    return (
        task.samples_per_item if options.samples is None else options.samples,
        task.temperature if options.temperature is None else options.temperature,
    )


@contextmanager
def _once(connect: Connect, subject: Subject) -> Iterator[Connect]:
    """Connects when it is first needed, and stays connected."""
    with ExitStack() as stack:
        opened: list[Connected] = []

        @contextmanager
        def same(asked: Subject) -> Iterator[Connected]:
            if not opened:
                opened.append(stack.enter_context(connect(asked)))
            yield opened[0]

        yield same


def _ways(
    each: _Prepared, subject: Subject, connect: Connect, sandbox: "Sandbox | None", options: Options
) -> dict[str, Done]:
    """The samples of the task as it is asked, and of its other ways where they are wanted and the model knows them."""
    found = {ablate.AS_ASKED: _run(each, each.task, each.items, subject, connect, sandbox, options)}
    for name, variant in ablate.variants(each.task).items() if options.ablate else ():
        if subject.can(variant.ask(each.items[0], None)):
            check_references(variant, each.items, sandbox, show=options.show)
            items = _without(choose(variant.items(), options.limit, options.seed), each.references)
            found[name] = _run(each, variant, items, subject, connect, sandbox, options)
    return found


def _run(
    each: _Prepared,
    task: Task,
    items: Sequence[Item],
    subject: Subject,
    connect: Connect,
    sandbox: "Sandbox | None",
    options: Options,
) -> Done:
    with Samples(_folder(task, subject, options)) as store:
        sampled = run_task(
            task,
            subject,
            connect,
            store,
            sandbox,
            seed=options.seed,
            concurrency=options.concurrency,
            samples_per_item=options.samples,
            temperature=options.temperature,
            items=items,
            limits=each.limits,
            show=options.show,
        )
        rows = [store.get(one.key) for one in sampled]
    return Done(tuple(sampled), tuple(row for row in rows if row is not None))


def _folder(task: Task, subject: Subject, options: Options) -> Path:
    """One for all that a user keeps together, else one for each task and model, so that none grows without end."""
    if options.out is not None:
        return options.out
    name = re.sub(r"[^\w.@-]", "_", f"{task.version}-{subject.digest[:16]}")
    return paths.home() / "evals" / name


def _report(each: _Prepared, found: Sequence[tuple[Mapping[str, Any], Done]], options: Options) -> TaskReport:
    task, settings = each.task, _settings(each, options)
    if hasattr(task, "figures"):
        return _own_report(each, found, options)
    rows = [(facts, one.rows) for facts, one in found]
    # One of as many as were asked for is the chance that somebody who asks so often has.
    ks = sorted({*KS, _decoding(task, options)[0]})
    made = task_report(
        task.name, task.version, settings, rows, ks=ks, notes=_notes(each, options, found), seed=options.seed
    )
    if all("exact_match" in row["verdict"]["extra"] for row in made.samples):
        exact = Measure(name="exact match", parts=lambda row: (row["verdict"]["extra"]["exact_match"], 1.0))
        return _with(made, task_report(task.name, task.version, settings, rows, measures=[exact], seed=options.seed))
    return made


def _with(made: TaskReport, other: TaskReport) -> TaskReport:
    """A report with the figures and comparisons of another one on the same samples."""
    models = tuple(
        replace(one, figures={**one.figures, **two.figures}) for one, two in zip(made.models, other.models, strict=True)
    )
    return replace(made, models=models, comparisons=(*made.comparisons, *other.comparisons))


def _own_report(each: _Prepared, found: Sequence[tuple[Mapping[str, Any], Done]], options: Options) -> TaskReport:
    """Of a task that has figures of its own: `figures`, `compare`, `calibration` and `details`."""
    task: Any = each.task
    models = tuple(
        ModelResult(
            facts=facts,
            figures=task.figures(one.sampled, options.seed),
            classes=dict(Counter(sample.verdict.error or RIGHT for sample in one.sampled)),
            calibration=task.calibration(one.sampled),
            latency_seconds=tuple(sample.answer.seconds for sample in one.sampled),
        )
        for facts, one in found
    )
    (first_facts, first), *others = found
    comparisons = [
        comparison
        for facts, one in others
        for comparison in task.compare(
            first.sampled, one.sampled, (str(first_facts["name"]), str(facts["name"])), options.seed
        )
    ]
    return TaskReport(
        name=task.name,
        version=task.version,
        settings=_settings(each, options) | dict(task.settings or {}),
        models=models,
        comparisons=tuple(comparisons),
        notes=_notes(each, options, found),
        samples=tuple(row for _, one in found for row in one.rows),
        details={str(facts["name"]): task.details(one.sampled) for facts, one in found},
    )


def _ablation(each: _Prepared, subject: Subject, ways: Mapping[str, Done], options: Options) -> TaskReport:
    """A report whose models are the ways of asking one model, on the items that are asked in all of them: one way may
    show some of the items as examples."""
    common = set.intersection(*({row["item"] for row in one.rows} for one in ways.values()))
    if not common:
        raise HarnessError(
            f"the ways of asking {each.task.name} have no item in common; measure more than {options.limit}"
        )
    found = []
    for way, one in ways.items():
        name = f"{subject.name} ({way})"
        rows = tuple({**row, "name": name} for row in one.rows if row["item"] in common)
        sampled = tuple(sample for sample in one.sampled if sample.item.id in common)
        found.append((dict(subject.facts) | {"name": name, "variant": way}, Done(sampled, rows)))
    made = _report(each, found, options)
    settings = dict(made.settings) | {"model": subject.name}
    what = f"ablation of {subject.name}"
    made = replace(made, name=f"{made.name} {what}", version=f"{made.version} {what}", settings=settings, notes=())
    return replace(made, notes=(ablate.spread(made),))


def _settings(each: _Prepared, options: Options) -> dict[str, Any]:
    ask = each.task.ask(each.items[0], None)
    count, heat = _decoding(each.task, options)
    return {
        "items": len(each.items),
        "items_of_the_task": each.total,
        "samples_per_item": count,
        "temperature": heat,
        **({"top_p": TOP_P} if heat > 0 else {}),
        "style": "chat" if ask.prompt is None else "completion",
        "max_tokens": ask.max_tokens,
        "stop": list(ask.stop),
        "seed": options.seed,
        "concurrency": options.concurrency,
        **({"left_out": sorted(left_out)} if (left_out := each.references.left_out) else {}),
        **({"limits": asdict(limits)} if (limits := getattr(each.task, "limits", None)) is not None else {}),
        # What a task tells of how it was made.
        **dict(getattr(each.task, "facts", {})),
    }


def _notes(each: _Prepared, options: Options, found: Sequence[tuple[Mapping[str, Any], Done]]) -> tuple[str, ...]:
    (count, heat), good, bad = _decoding(each.task, options), each.references.good, each.references.bad
    measured = f"{len(each.items)} of {each.total} items, {count} {'samples' if count > 1 else 'sample'} each"
    checked = (
        f"Before any model was asked, {good} known good answers scored 100 % and {bad} known bad ones 0 %."
        if good or bad
        else "The task has no reference answers, so its judge was not checked."
    )
    whys = dict.fromkeys(each.references.left_out.values())
    left_out = [f"Left out, as its reference does not hold here: {why}." for why in whys]
    return (
        f"{measured}, {f'temperature {heat:g}' if heat else 'greedy'}, seed {options.seed}.",
        checked,
        *left_out,
        *_of_servers(found),
    )


def _of_servers(found: Sequence[tuple[Mapping[str, Any], Done]]) -> Iterator[str]:
    """What models were not asked as they should have been, and what failed on the way."""
    for facts, one in found:
        answers = [sample.answer for sample in one.sampled]
        if refused := sorted({field for answer in answers for field in answer.refused}):
            yield f"The server of {facts['name']} does not take {' and '.join(refused)}, and decided on that itself."
        if again := sum(answer.retries for answer in answers):
            failed = "1 request" if again == 1 else f"{again} requests"
            yield f"{failed} to {facts['name']} failed and {'was' if again == 1 else 'were'} sent again."
