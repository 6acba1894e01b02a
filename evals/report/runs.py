"""Which reports were written on this machine and where, so that they can be listed without reading them.

`HONE_HOME/evals/runs` holds a small file for each folder that `hone eval` or `hone gate` left a report in;
`HONE_HOME/evals/reports` holds the reports of runs that were given no folder.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant import atomic, paths
from assistant.errors import HoneError
from evals.report import words
from evals.report.json import NAME
from evals.report.schema import EXIT_CODES, Comparison, Report

SIGNIFICANT = 0.05
"""A difference with a smaller p is called better or worse in a list."""
_TRENDS = ("better", "worse", "unclear", "")


@dataclass(frozen=True)
class Summary:
    """What a list tells of a report."""

    created: str
    """ISO 8601, UTC."""
    tasks: tuple[str, ...]
    """Their names."""
    models: tuple[str, ...]
    """The reference first."""
    figure: str
    """Name of the first task's deciding figure."""
    values: tuple[str, ...]
    """That figure of each model, with its unit; empty where a model has none."""
    change: str
    """What the last model changes against the reference, with interval and p; empty of one model alone."""
    trend: str
    """`better` or `worse` where the change is significant, `unclear` where it is not, empty without a change."""
    decision: str
    """The gate's outcome: `pass`, `regression` or `inconclusive`; empty where there was no gate."""


@dataclass(frozen=True)
class Run:
    folder: Path
    """Holds `report.json` and its other forms."""
    summary: Summary
    command: tuple[str, ...] = ()
    """The command line that wrote it, without the program and without keys; empty when it is not known."""

    @property
    def file(self) -> Path:
        return self.folder / NAME


def fresh_folder(what: str, now: datetime | None = None) -> Path:
    """Where a run that was given no folder keeps its report; not created yet.

    Raises:
        HoneError: the state folder cannot be used.
    """
    at = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    name = re.sub(r"[^\w.@-]+", "-", what).strip("-.")[:60] or "run"
    return paths.home() / "evals" / "reports" / f"{at}-{name}"


def record(report: Report, folder: Path, command: Sequence[str] = ()) -> None:
    """Lists the report that was written to `folder`; a later one in the same folder takes its place.

    Raises:
        HoneError: the state folder cannot be written.
    """
    folder = folder.absolute()
    listed = {"folder": str(folder), "command": list(command), **asdict(summarise(report))}
    try:
        atomic.write_json(_listing() / f"{_name(folder)}.json", listed, mode=0o600)
    except OSError as error:
        raise HoneError(f"cannot list the report among the runs: {error.strerror}") from error


def forget(folder: Path) -> None:
    """Takes the report in `folder` off the list; its files stay.

    Raises:
        OSError: the state folder cannot be written.
    """
    (_listing() / f"{_name(folder.absolute())}.json").unlink(missing_ok=True)


def all_runs() -> list[Run]:
    """The runs whose report is still there, the newest first.

    Raises:
        HoneError: the state folder cannot be used.
    """
    found = [run for file in _listing().glob("*.json") if (run := _read(file)) is not None and run.file.is_file()]
    return sorted(found, key=lambda run: (run.summary.created, str(run.folder)), reverse=True)


def summarise(report: Report) -> Summary:
    models = list(dict.fromkeys(str(model.facts["name"]) for task in report.tasks for model in task.models))
    first = report.tasks[0] if report.tasks else None
    figure = next(iter(first.models[0].figures), "") if first is not None and first.models else ""
    values: Mapping[str, str] = {}
    changed: Comparison | None = None
    if first is not None and figure:
        values = {
            str(model.facts["name"]): words.quantity(model.figures[figure].value, model.figures[figure].unit)
            for model in first.models
            if figure in model.figures
        }
        changed = next((each for each in reversed(first.comparisons) if each.figure == figure), None)
    return Summary(
        created=report.created,
        tasks=tuple(task.name for task in report.tasks),
        models=tuple(models),
        figure=words.label(figure),
        values=tuple(values.get(name, "") for name in models),
        change=words.compared(changed) if changed else "",
        trend=trend(changed) if changed else "",
        decision=report.gate.outcome if report.gate else "",
    )


def trend(comparison: Comparison) -> str:
    """`better` or `worse` where the change is significant, else `unclear`."""
    difference = comparison.difference
    apart = difference.low is not None and difference.high is not None and not difference.low <= 0 <= difference.high
    certain = comparison.p < SIGNIFICANT if comparison.p is not None else apart
    if not certain or not difference.value or difference.better == "neither":
        return "unclear"
    return "better" if (difference.value > 0) == (difference.better == "higher") else "worse"


def _read(file: Path) -> Run | None:
    """None of one that is gone or damaged."""
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        summary = Summary(
            created=str(found["created"]),
            tasks=tuple(map(str, found["tasks"])),
            models=tuple(map(str, found["models"])),
            figure=str(found["figure"]),
            values=tuple(map(str, found["values"])),
            change=str(found["change"]),
            trend=str(found["trend"]),
            decision=str(found["decision"]),
        )
        if summary.trend not in _TRENDS or summary.decision not in ("", *EXIT_CODES):
            return None
        return Run(Path(found["folder"]), summary, tuple(map(str, found["command"])))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _listing() -> Path:
    return paths.home() / "evals" / "runs"


def _name(folder: Path) -> str:
    return hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:16]
