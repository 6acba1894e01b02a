"""The last sign of life of a job, and the words for where one stands."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from tuning.jobs import files
from tuning.jobs.job import Job

Phase = Literal["waiting", "running", "stopping"]
State = Literal["waiting", "running", "stopping", "orphaned", "elsewhere", "done", "failed", "stopped", "died"]
"""Orphaned: its supervisor is gone, its step is still there. Elsewhere: on another machine that shares this folder."""


@dataclass(frozen=True)
class Pulse:
    """What a supervisor says of itself every second or two."""

    phase: Phase
    why: str
    """What a waiting job waits for."""
    step: str
    at: float
    """Seconds since 1970."""
    began: float
    """When the attempt's first step began; 0 before."""
    memory: int
    peak: int
    """Bytes held by the step now and at most."""


def read_pulse(job: Job) -> Pulse | None:
    content: dict[str, Any] | None = files.read_filled(job.pulse)
    try:
        pulse = content and Pulse(**content)
    except TypeError:
        return None
    return pulse if isinstance(pulse, Pulse) and pulse.phase in get_args(Phase) else None
