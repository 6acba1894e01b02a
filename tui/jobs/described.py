"""What is told of a job: a row of a list, a summary for machines, everything for people."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tui.inert import inert
from tuning.jobs import files, metrics, ray_api, slurm, spec
from tuning.jobs.command import shown
from tuning.jobs.job import Job
from tuning.jobs.metrics import Point
from tuning.jobs.state import Status, attempt, checkpoint_of

HEADER = ("job", "name", "state", "step", "done", "ETA", "tok/s", "submitted (UTC)", "")
_WHY = 80
"""Characters of the reason in a list; `show` has all of it."""


def submitted(job: Job) -> str:
    """UTC, ISO 8601."""
    return next((str(event.get("time", "")) for event in files.read_lines(job.events)), "")


def progress(status: Status) -> Point | None:
    """The last step of the job's training run; None while another step runs."""
    trains = {step.name for step in status.spec.steps if step.run}
    return metrics.last(status.job.metrics) if status.step in trains else None


def row(status: Status) -> tuple[str, ...]:
    """Of `HEADER`."""
    point = progress(status)
    runs = status.state in ("running", "stopping", "elsewhere", "orphaned")
    return (
        status.job.id,
        inert(status.spec.name),
        status.state,
        status.step,
        f"{point.share:.0%}" if point else "",
        duration(point.eta_seconds) if point and runs else "",
        f"{point.tokens_per_second:,.0f}" if point and runs else "",
        submitted(status.job)[:16].replace("T", " "),
        _short(inert(status.why)),
    )


def _short(text: str) -> str:
    return text if len(text) <= _WHY else text[: _WHY - 1].rstrip() + "…"


def summary(status: Status) -> dict[str, Any]:
    """For machines."""
    point = progress(status)
    ended = status.ended
    return {
        "job": status.job.id,
        "name": status.spec.name,
        "state": status.state,
        "why": status.why,
        "step": status.step,
        "steps": [step.name for step in status.spec.steps],
        "command": list(status.spec.command),
        "submitted": submitted(status.job),
        "ended": ended.ended if ended else None,
        "advice": ended.advice if ended else "",
        "progress": asdict(point) if point else None,
        "memory": status.pulse.memory if status.pulse and status.is_active else 0,
        "peak_memory": status.peak,
        "slurm_job": slurm.number(status.job) if status.spec.slurm else None,
        "ray_job": ray_api.submission(status.job) if status.spec.ray else None,
    }


def harmless(value: Any) -> Any:
    """The same with every text made inert."""
    if isinstance(value, str):
        return inert(value)
    if isinstance(value, Mapping):
        return {key: harmless(one) for key, one in value.items()}
    return [harmless(one) for one in value] if isinstance(value, list) else value


def details(status: Status) -> dict[str, Any]:
    """For machines: the summary, the steps with what they reported, the record of the end and the events."""
    job = status.job
    begun, codes = _steps(job)
    steps = [
        {
            "name": step.name,
            "command": list(step.argv),
            "began": begun.get(step.name),
            "exit_code": codes.get(step.name),
            "report": str(job.step_folder(step) / "report.json"),
        }
        for step in status.spec.steps
    ]
    kept = checkpoint_of(job, status.spec, status.step)
    return {
        **summary(status),
        "folder": str(job.folder),
        "attempt": attempt(job),
        "steps": steps,
        "checkpoint": asdict(kept) if kept else None,
        "exit": asdict(status.ended) if status.ended else None,
        "pulse": asdict(status.pulse) if status.pulse else None,
        "spec": spec.to_json(status.spec),
        "events": files.read_lines(job.events),
    }


def in_words(status: Status) -> dict[str, Any]:
    """For people: what `tui.tables.print_fields` takes."""
    job, ended = status.job, status.ended
    _, codes = _steps(job)
    steps = {step.name: _step_words(status, step.name, codes.get(step.name)) for step in status.spec.steps}
    point = progress(status)
    kept = checkpoint_of(job, status.spec, status.step)
    death: dict[str, Any] = {}
    if ended is not None and ended.ending != "done":
        death = {
            "reason": ended.reason,
            "exit_code": ended.exit_code,
            "signal": ended.signal,
            "memory_evidence": list(ended.memory_evidence),
            "last_lines": ended.last_lines[-5:] and "\n" + "\n".join(f"    {line}" for line in ended.last_lines[-5:]),
            "advice": ended.advice,
        }
    told = {
        "job": job.id,
        "name": status.spec.name,
        "slurm_job": status.spec.slurm and slurm.number(job),
        "ray_job": status.spec.ray and ray_api.submission(job),
        "command": "hone " + shown(status.spec.command),
        "state": status.state + (f": {status.why}" if status.why and ended is None else ""),
        "steps": steps,
        "progress": point and progress_words(point, status.is_active),
        "checkpoint": kept and f"step {kept.step} ({kept.share:.0%})",
        "peak_memory": size(status.peak),
        "took": ended and duration(ended.seconds),
        "attempt": attempt(job),
        "how_it_ended": death,
        "submitted": submitted(job),
        "ended": ended and ended.ended,
        "folder": str(job.folder),
    }
    return {key: harmless(one) for key, one in told.items()}


def progress_words(point: Point, runs: bool) -> str:
    """One line on where a training run is."""
    parts = [f"{point.share:.0%}", f"step {point.step:.0f}", f"loss {point.loss:.3f}"]
    if runs:
        parts += [f"{point.tokens_per_second:,.0f} tok/s", f"ETA {duration(point.eta_seconds)}"]
    return "  ".join(parts)


def duration(seconds: float | None) -> str:
    """`4:05` or `2:30:00`; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(count: int) -> str:
    """Bytes for people; empty for none."""
    if not count:
        return ""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _steps(job: Job) -> tuple[dict[str, str], dict[str, int]]:
    """By name: when each step last began, and its last exit code."""
    begun: dict[str, str] = {}
    codes: dict[str, int] = {}
    for event in files.read_lines(job.events):
        name = str(event.get("step"))
        if event.get("event") == "step began":
            begun[name] = str(event.get("time"))
            codes.pop(name, None)
        elif event.get("event") == "step ended" and isinstance(event.get("exit_code"), int):
            codes[name] = event["exit_code"]
    return begun, codes


def _step_words(status: Status, name: str, code: int | None) -> str:
    if code is None:
        runs = status.is_active and status.step == name and status.state != "waiting"
        return status.state if runs else "not done"
    report: Mapping[str, Any] = status.job.report(next(step for step in status.spec.steps if step.name == name))
    told = next((str(report[key]) for key in ("explanation", "adapter") if report.get(key)), "")
    return ("done" if code == 0 else f"ended with exit code {code}") + (f": {told}" if told else "")
