"""Where a job of a cluster stands: what its supervisor says while it is heard. The cluster is asked when it is not."""

import time
from dataclasses import dataclass

from tuning.jobs import files
from tuning.jobs.identity import Identity
from tuning.jobs.job import Job
from tuning.jobs.pulse import Pulse, State

_SILENT_SECONDS = 15.0
"""A supervisor gives a sign every two seconds; disks that several machines share may show it later."""


@dataclass(frozen=True)
class Standing:
    state: State
    why: str


def heard(supervisor: Identity | None, pulse: Pulse | None) -> Standing | None:
    """As the job's supervisor says; None when it is silent."""
    if supervisor is None or pulse is None or not supervisor.alive():
        return None
    if supervisor.is_elsewhere() and silence(pulse) >= _SILENT_SECONDS:
        return None
    return Standing(pulse.phase, pulse.why)


def silence(pulse: Pulse) -> float:
    """Seconds since the last sign; clocks of two machines may differ either way."""
    return abs(time.time() - pulse.at)


def asked_to_stop(job: Job) -> bool:
    """Since it was last submitted."""
    for event in reversed(files.read_lines(job.events)):
        if event.get("event") in ("submitted", "resumed"):
            return False
        if event.get("event") == "stop asked":
            return True
    return False
