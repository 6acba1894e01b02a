"""Which of the waiting jobs may start on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.cores import usable
from tuning.jobs import memory
from tuning.jobs.job import Job, active
from tuning.jobs.spec import BadSpec, Spec
from tuning.jobs.state import Status, look

_SPARE = 0.9
"""Share of the memory that all running jobs together may be expected to need."""


@dataclass(frozen=True)
class Machine:
    memory: int
    available: int
    """Bytes."""
    cores: int

    @staticmethod
    def here() -> "Machine":
        return Machine(memory.total(), memory.available(), usable())


@dataclass(frozen=True)
class Claim:
    """What a job of the queue wants."""

    id: str
    spec: Spec


def wait_reason(mine: Claim, waiting: Sequence[Claim], running: Sequence[Claim], machine: Machine) -> str:
    """Why a job whose `after` is fulfilled must wait; empty when it may start now.

    Jobs go by priority, then by submission. One that lacks memory or cores holds back those behind it, so that it is
    not passed over for ever.
    """
    ahead = sorted((one for one in waiting if _rank(one) < _rank(mine)), key=_rank)
    if len(running) >= mine.spec.limit:
        names = ", ".join(one.id for one in running)
        return f"{len(running)} of {mine.spec.limit} jobs that may run at once are running: {names}{_behind(ahead)}"
    if ahead:
        return _behind(ahead).lstrip("; ")
    used = sum(one.spec.memory for one in running)
    free = min(machine.available, round(machine.memory * _SPARE) - used)
    # On an idle machine it may try: what it needs is an estimate.
    if mine.spec.memory > free and (running or mine.spec.memory > machine.available):
        return f"it needs {mine.spec.memory / 1e9:.1f} GB of memory, {max(free, 0) / 1e9:.1f} GB are free"
    cores = machine.cores - sum(one.spec.cores for one in running)
    if running and min(mine.spec.cores, machine.cores) > cores:
        return f"it needs {mine.spec.cores} cores, {max(cores, 0)} of {machine.cores} are free"
    return ""


@dataclass(frozen=True)
class Dependency:
    """What the jobs say that a job comes after."""

    waits: str
    """Which one is not done yet; empty when all are."""
    refused: str
    """Which one ended otherwise than well; empty when none did."""


def dependency(jobs: Path, spec: Spec) -> Dependency:
    for identifier in spec.after:
        try:
            other = look(Job(jobs / identifier))
        except BadSpec:
            return Dependency("", f"{identifier}, which it comes after, was removed")
        if other.state in ("failed", "stopped", "died"):
            return Dependency("", f"{identifier}, which it comes after, {_ended(other)}")
        if other.state != "done":
            return Dependency(f"it comes after {identifier}", "")
    return Dependency("", "")


def others(jobs: Path, mine: Job) -> tuple[list[Claim], list[Claim]]:
    """The other jobs that (wait for their turn, run). The caller holds `changing`."""
    waiting, running = [], []
    for job in active(jobs):
        if job.id == mine.id:
            continue
        try:
            seen = look(job)
        except BadSpec:
            continue
        if not seen.spec.is_local:
            continue
        claim = Claim(job.id, seen.spec)
        if seen.state in ("running", "orphaned") or (seen.state == "stopping" and seen.step):
            running.append(claim)
        elif seen.state == "waiting" and not dependency(jobs, seen.spec).waits:
            waiting.append(claim)
    return waiting, running


def _rank(claim: Claim) -> tuple[int, str]:
    return -claim.spec.priority, claim.id


def _behind(ahead: Sequence[Claim]) -> str:
    if not ahead:
        return ""
    return f"; {len(ahead)} {'is' if len(ahead) == 1 else 'are'} ahead of it: {', '.join(one.id for one in ahead)}"


def _ended(other: Status) -> str:
    return {"failed": "failed", "stopped": "was stopped", "died": "died"}[other.state]
