"""What a gate decides on: tasks with their budgets, and reports of them that compare the two models."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant.errors import UnknownModel, UsageError
from evals.report import json
from evals.report.schema import Comparison, Figure, Report, TaskReport

_GENERAL = re.compile(
    r"(?:humaneval|mbpp|mbpp-plus)(?:-chat|-fewshot)?|infill(?:-single-line|-multi-line|-random-span(?:-light)?)?"
)
"""Tasks of general skill, as they are asked for and as reports name them: what a model that is tuned on one repository
may forget."""
UNPAIRED = frozenset({"speed"})
"""Tasks whose report compares nothing: no two requests are the same."""
OUTPUT = "gate"
"""The gate's own folder beside the reports it reads."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of one task."""

    task: str
    """Its name, or the path of a custom one."""
    figure: str | None
    """None: the task's deciding figure, which is its first one."""
    budget: float
    """How much worse the candidate may be, in the figure's unit: 0.02 of a share is two points."""


@dataclass(frozen=True)
class Model:
    """A model as the user named it, and as it is known here."""

    asked: str
    name: str
    digest: str | None
    """None: it is not on this machine, so reports are searched for its name alone."""
    form: str | None = None
    """Of its weights as they are served here; see `serving_form.form_name`."""


@dataclass(frozen=True)
class Measured:
    """A task's report and what it calls the two models."""

    report: Report
    task: TaskReport
    candidate: str
    against: str
    file: Path


def wanted(text: str, max_regression: float, max_forgetting: float | None) -> list[Wanted]:
    """Reads `repo,humaneval:pass@1=0.03`: tasks with an optional figure and an optional budget each.

    Args:
        max_regression: the budget of tasks that name none.
        max_forgetting: the same for general tasks; None takes `max_regression`.

    Raises:
        UsageError: a part is no such thing, or a task comes twice.
    """
    found: list[Wanted] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        named, equals, amount = part.partition("=")
        task, colon, figure = named.partition(":")
        if not task or (colon and not figure) or (equals and not re.fullmatch(r"\d*\.?\d+", amount)):
            raise UsageError(
                f"{part!r} is no task; write TASK, TASK=BUDGET or TASK:FIGURE=BUDGET, such as humaneval=0.05"
            )
        if task in UNPAIRED:
            raise UsageError(f"{task} measures each model for itself, so there is nothing to gate on; leave it out")
        usual = max_forgetting if max_forgetting is not None and _GENERAL.fullmatch(task) else max_regression
        found.append(Wanted(task, figure or None, float(amount) if equals else usual))
    names = [each.task for each in found]
    if not names:
        raise UsageError("name at least one task by --tasks")
    if len(set(names)) < len(names):
        raise UsageError("a task comes twice in --tasks")
    return found


def known(spec: str) -> Model:
    """What `spec` means on this machine now; a name alone where it means nothing here."""
    from assistant.models.identity import base_identity
    from assistant.models.resolve import resolve
    from assistant.models.serving_form import form_name

    try:
        served = resolve(spec, fetch_missing=False)
    except UnknownModel:
        return Model(spec, spec, None)
    digest = served.adapter.digest if served.adapter else base_identity(served.base).digest
    return Model(spec, served.name, digest, form_name(served.base.gguf))


def reports(folder: Path) -> list[tuple[Path, Report]]:
    """The reports in `folder` and in its own folders, without the gate's; the newest first.

    Raises:
        HarnessError: a report cannot be read.
    """
    files = [folder / json.NAME, *sorted(folder.glob(f"*/{json.NAME}"))]
    read = [(file, json.read(file)) for file in files if file.is_file() and file.parent.name != OUTPUT]
    return sorted(read, key=lambda pair: pair[1].created, reverse=True)


def find(found: Sequence[tuple[Path, Report]], task: str, candidate: Model, against: Model) -> Measured | None:
    """The newest report of a task that compares the two models; None when there is none."""
    for file, report in found:
        for each in report.tasks:
            if each.name != task and file.parent.name != folder_name(task):
                continue
            names = [_name_in(each, model) for model in (candidate, against)]
            if names[0] is not None and names[1] is not None:
                return Measured(report, each, names[0], names[1], file)
    return None


def compared(found: Sequence[tuple[Path, Report]], candidate: Model, against: Model) -> list[str]:
    """Names of the tasks on which a report compares the two models."""
    names = dict.fromkeys(task.name for _, report in found for task in report.tasks)
    measured = {name: find(found, name, candidate, against) for name in names}
    return [name for name, each in measured.items() if each is not None and comparison_of(each, None) is not None]


def folder_name(task: str) -> str:
    """Where a task's own report goes: a custom task's path as one name."""
    return re.sub(r"[^A-Za-z0-9@._-]+", "-", task).strip("-.") or "task"


def comparison_of(measured: Measured, figure: str | None) -> Comparison | None:
    """Of the two models, candidate after; the first one when no figure is named.

    A figure may be written without blanks and punctuation: `bugs-fixed-by-tests`.
    """
    for each in measured.task.comparisons:
        if figure is not None and _plain(figure) != _plain(each.figure):
            continue
        if (each.before, each.after) == (measured.against, measured.candidate):
            return each
        if (each.after, each.before) == (measured.against, measured.candidate):
            return turned(each)
    return None


def turned(comparison: Comparison) -> Comparison:
    """The same comparison with before and after exchanged."""
    outcomes = comparison.outcomes
    return replace(
        comparison,
        before=comparison.after,
        after=comparison.before,
        difference=_negative(comparison.difference),
        outcomes=outcomes and (outcomes[0], outcomes[2], outcomes[1], outcomes[3]),
        relative=None,
        clusters=tuple((row[2], row[3], row[0], row[1]) for row in comparison.clusters),
    )


def _negative(figure: Figure) -> Figure:
    low, high = figure.high, figure.low
    return replace(figure, value=-figure.value, low=None if low is None else -low, high=None if high is None else -high)


def _served_so(facts: Mapping[str, Any], model: Model) -> bool:
    """Whether what was measured is what would answer now: the same weights may be served in another form, which gives
    other answers. Batches by torch (None) read the weights of the original."""
    return model.form is None or facts.get("served", "") in (None, model.form)


def _plain(figure: str) -> str:
    return re.sub(r"[^a-z0-9@.]+", "-", figure.lower()).strip("-")


def _name_in(task: TaskReport, model: Model) -> str | None:
    for each in task.models:
        same = (
            each.facts.get("digest") == model.digest and _served_so(each.facts, model)
            if model.digest is not None
            else model.asked in (each.facts["name"], each.facts.get("asked"))
        )
        if same:
            return str(each.facts["name"])
    return None
