"""What was measured of models, and what the gate decided; read from the reports of this machine's runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.errors import HoneError

if TYPE_CHECKING:
    from evals.gate_inputs import Model
    from evals.report.schema import Report

    Found = Sequence[tuple[Path, Report]]


@dataclass(frozen=True)
class Line:
    """One figure of a model, in words."""

    task: str
    figure: str
    value: str
    """With its 95 % interval."""
    changes: tuple[str, ...]
    """Against other models of the same run."""


@dataclass(frozen=True)
class Difference:
    """One figure of two models, in words."""

    task: str
    figure: str
    before: str
    after: str
    change: str
    better: bool | None
    """None: neither, or by no more than chance (p of 0.05 and more, or an interval with zero in it)."""


@dataclass(frozen=True)
class Decision:
    """What a gate said of a candidate."""

    file: Path
    candidate: str
    against: str
    outcome: str
    explanation: str


def reports() -> "Found":
    """The report of every evaluation, the newest first; what cannot be read is left out.

    Raises:
        HoneError: the state folder cannot be used.
    """
    from evals.report import runs

    # A gate's own report repeats what it decided from.
    files = [run.file for run in runs.all_runs() if not run.summary.decision]
    return [(file, report) for file in files if (report := _report(file)) is not None]


def decisions() -> list[Decision]:
    """The decision of every gate, the newest first.

    Raises:
        HoneError: as `reports`.
    """
    from evals.report import runs

    files = [run.folder / "decision.json" for run in runs.all_runs() if run.summary.decision]
    return [found for file in files if (found := _decision(file)) is not None]


def decisions_of(spec: str) -> list[dict[str, Any]]:
    """What gates decided on an adapter version, as evidence that can go with it; empty for a name that means none.

    Raises:
        HoneError: as `reports`.
    """
    from assistant.models.registry import Registry

    version = Registry().find(spec)
    found = [] if version is None else [one for one in decisions() if one.candidate == version.id]
    return [
        {"kind": "gate", "candidate": one.candidate, "report": json.loads(one.file.read_text("utf-8"))} for one in found
    ]


def lines(found: "Found", name: str) -> list[Line]:
    """The deciding figure of each task, as it was last measured of a model.

    Args:
        name: the immutable one, of a base or NAME@DIGEST.
    """
    from evals.report import words

    told: dict[str, Line] = {}
    for _, report in found:
        for task in report.tasks:
            model = next((one for one in task.models if one.facts["name"] == name), None)
            if model is None or not model.figures or task.name in told:
                continue
            figure, value = next(iter(model.figures.items()))
            changes = [each for each in task.comparisons if each.figure == figure and each.after == name]
            told[task.name] = Line(
                task.name,
                words.label(figure),
                words.with_interval(value),
                tuple(f"{words.change(each.difference)} against {each.before}" for each in changes),
            )
    return list(told.values())


def differences(found: "Found", before: "Model", after: "Model") -> list[Difference]:
    """Every figure on which the two were compared, by the newest run of each task."""
    from evals import gate_inputs
    from evals.report import runs, words

    better = {"better": True, "worse": False}
    told = []
    for task in gate_inputs.compared(found, after, before):
        measured = gate_inputs.find(found, task, after, before)
        if measured is None:
            continue
        figures = {str(model.facts["name"]): model.figures for model in measured.task.models}
        for name in dict.fromkeys(each.figure for each in measured.task.comparisons):
            compared = gate_inputs.comparison_of(measured, name)
            if compared is None:
                continue
            values = [figures[model].get(name) for model in (measured.against, measured.candidate)]
            shown = [words.quantity(value.value, value.unit) if value else "" for value in values]
            p = "" if compared.p is None else f", {words.p_value(compared.p)}"
            change = words.change(compared.difference) + p
            told.append(
                Difference(task, words.label(name), shown[0], shown[1], change, better.get(runs.trend(compared)))
            )
    return told


def _report(file: Path) -> "Report | None":
    try:
        seen = file.stat()
        return _read_report(file, seen.st_mtime_ns, seen.st_size)
    except (OSError, HoneError):
        return None


@lru_cache(maxsize=256)
def _read_report(file: Path, *_state: int) -> "Report":
    """A file is read once for each state it is in."""
    from evals.report import json as reports

    return reports.read(file)


def _decision(file: Path) -> Decision | None:
    try:
        told = json.loads(file.read_text("utf-8"))
        return Decision(file, *(str(told[key]) for key in ("candidate", "against", "outcome", "explanation")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
