"""What came of a job: figures, tables, the gate's verdict, and what can be done next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size

from tui.inert import inert
from tuning.jobs.pulse import State
from tuning.jobs.state import Status

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Next:
    """A line for the input box, and what it would do."""

    line: str
    does: str


@dataclass(frozen=True)
class Outcome:
    job: str
    name: str
    state: State
    why: str
    """How it ended and what to do about it, where it did not end well."""
    fields: tuple[tuple[str, str], ...] = ()
    tables: tuple[Rows, ...] = ()
    """Cells, the header first."""
    verdict: str = ""
    passed: bool | None = None
    """None: there was no gate, or it could not decide."""
    next: tuple[Next, ...] = ()


def read(status: Status) -> Outcome:
    """Reads the reports of a job that has ended; heavy imports, for a thread."""
    told = {step.name: status.job.report(step) for step in status.spec.steps}
    decision = told.get("gate") or {}
    decided = str(decision.get("outcome") or "")
    why = ""
    if status.state != "done" and not decided:
        advice = status.ended.advice if status.ended else ""
        why = "; ".join(each for each in (status.why, advice) if each)
    return Outcome(
        job=status.job.id,
        name=status.spec.name,
        state="done" if decided else status.state,
        why=why,
        fields=tuple(_training(told.get("tune") or {})),
        tables=tuple(_tables(told.get("eval") or {})),
        verdict=str(decision.get("explanation") or ""),
        passed={"pass": True, "regression": False}.get(decided),
        next=tuple(next_steps(status.state, status.job.id, told)),
    )


def next_steps(state: State, job: str, told: Mapping[str, Mapping[str, Any]]) -> list[Next]:
    """
    Args:
        told: what each step reported, by its name; a step that has not ended has told nothing.
    """
    decision, measured, tuned = (told.get(name) or {} for name in ("gate", "eval", "tune"))
    candidate = str(decision.get("candidate") or tuned.get("adapter") or _candidate(measured))
    against = str(decision.get("against") or tuned.get("base") or _reference(measured))
    compare = Next(f"/compare {against} {candidate} ", "asks both the same")
    if told.get("promote"):
        return [Next("/model champion", "answers here with it"), Next("/rollback", "takes the promotion back")]
    match decision.get("outcome"):
        case "pass":
            return [Next(f"/promote {candidate}", "puts it to use"), compare]
        case "regression" | "inconclusive":
            return [compare]
    if state != "done":
        return [Next(f"hone jobs resume {job}", "goes on with the step that is not done")]
    if measured and "@" in candidate:
        return [Next(f"/gate {candidate}", "decides whether it may replace what is in use"), compare]
    if tuned:
        return [Next(f"/eval repo --model {against} --model {candidate}", "measures it"), compare]
    return []


def headline(outcome: Outcome) -> str:
    """How it ended, in a line."""
    name = inert(outcome.name)
    if outcome.passed is not None:
        return f"✓ {name} passed the gate" if outcome.passed else f"✕ {name} did not pass the gate"
    if outcome.verdict:
        return f"? {name}: the gate could not decide"
    return f"✓ {name} is done" if outcome.state == "done" else f"✕ {name} {outcome.state}"


def _names(report: Mapping[str, Any]) -> list[str]:
    """Of the models in a report, the reference first."""
    try:
        return [str(model["facts"]["name"]) for model in report["tasks"][0]["models"]]
    except (KeyError, IndexError, TypeError):
        return []


def _candidate(report: Mapping[str, Any]) -> str:
    return (_names(report) or [""])[-1]


def _reference(report: Mapping[str, Any]) -> str:
    return (_names(report) or [""])[0]


def _training(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    figures = report.get("figures")
    if not isinstance(figures, Mapping):
        return []
    found = [("adapter", str(report.get("adapter")))]
    try:
        seconds, speed = float(figures["seconds"]), float(figures["tokens_per_second"])
        steps = f"{figures['steps']} steps, {figures['tokens']:,} tokens in {seconds / 60:.1f} min, {speed:,.0f} tok/s"
        found.append(("trained", steps))
        before, after = figures["validation_before"], figures["validation_after"]
        if before and after:
            found.append(("validation", f"{before:.3f} -> {after:.3f} bits per byte ({after / before - 1:+.1%})"))
    except (KeyError, TypeError, ValueError):
        pass
    return found


def _tables(report: Mapping[str, Any]) -> list[Rows]:
    import json

    from assistant.errors import HoneError
    from evals.report import markdown
    from evals.report.schema import from_json

    if not report:
        return []
    try:
        read = from_json(json.dumps(report))
    except HoneError as error:
        return [[["report", f"cannot be read: {error}"]]]
    return [[[task.version, *rows[0][1:]], *rows[1:]] for task in read.tasks if (rows := markdown.table(task))]


def laid_out(rows: Rows, width: int) -> str:
    """Aligned columns where they fit, else a block for each row."""
    columns = max(len(row) for row in rows)
    widths = [max((cell_len(row[at]) for row in rows if at < len(row)), default=0) for at in range(columns)]
    if sum(widths) + 2 * (columns - 1) <= width:
        return "\n".join(
            "  ".join(set_cell_size(cell, space) for cell, space in zip(row, widths, strict=False)).rstrip()
            for row in rows
        )
    head, *body = rows
    lines = [head[0]]
    for row in body:
        lines.append(f"{row[0]}")
        lines += [f"  {title}: {cell}" for title, cell in zip(head[1:], row[1:], strict=False) if cell]
    return "\n".join(lines)
