"""What is true of a job now, read from its folder and from the processes that there are."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from assistant.errors import HoneError
from tuning import position
from tuning.jobs import files, ray_state, record, slurm_state
from tuning.jobs.identity import Identity
from tuning.jobs.job import Job, changing, unmark
from tuning.jobs.pulse import Pulse, State, read_pulse
from tuning.jobs.record import Checkpointed, Record
from tuning.jobs.spec import BadSpec, Spec

ACTIVE: tuple[State, ...] = ("waiting", "running", "stopping", "orphaned", "elsewhere")
SILENT_SECONDS = 60.0
"""A job of another machine that gave no sign for so long may have ended unseen."""


@dataclass(frozen=True)
class Status:
    job: Job
    spec: Spec
    state: State
    why: str
    """Why it waits or ended; empty when there is nothing to say."""
    pulse: Pulse | None
    """None also of a job that has ended."""
    ended: Record | None
    step: str
    """The one that is running or was the last."""

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def peak(self) -> int:
        """Bytes."""
        return self.ended.peak_memory if self.ended else self.pulse.peak if self.pulse else 0


def look(job: Job) -> Status:
    """
    Raises:
        BadSpec: the folder is gone or damaged.
    """
    spec = job.spec()
    ended = job.ended()
    if ended is not None:
        return Status(job, spec, ended.ending, ended.reason, None, ended, ended.step)
    pulse = read_pulse(job)
    step = pulse.step if pulse else ""
    supervisor, trainer = job.identity("supervisor"), job.identity("step")
    if spec.slurm is not None:
        stands = slurm_state.standing(job, supervisor, pulse)
        return Status(job, spec, stands.state, stands.why, pulse, None, step)
    if spec.ray is not None:
        stands = ray_state.standing(job, spec.ray, supervisor, pulse)
        return Status(job, spec, stands.state, stands.why, pulse, None, step)
    if supervisor is not None and supervisor.is_elsewhere():
        seen = Status(job, spec, "elsewhere", f"on {supervisor.host}", pulse, None, step)
        silent = silence(seen)
        return replace(seen, why=f"{seen.why}, silent for {silent:.0f} s") if silent > SILENT_SECONDS else seen
    if supervisor is not None and supervisor.alive():
        if pulse is None:
            return Status(job, spec, "waiting", "its supervisor starts", None, None, step)
        return Status(job, spec, pulse.phase, pulse.why, pulse, None, step)
    if trainer is not None and trainer.alive():
        words = f"its supervisor is gone; {step or 'its step'} (process {trainer.pid}) is still there"
        return Status(job, spec, "orphaned", words, pulse, None, step)
    return Status(job, spec, "died", _cause(supervisor), pulse, None, step)


def silence(seen: Status) -> float:
    """Seconds since the last sign of life of a job that has not ended."""
    if seen.pulse is not None:
        return time.time() - seen.pulse.at
    try:
        return time.time() - seen.job.identity_file("supervisor").stat().st_mtime
    except OSError:
        return 0.0


def settled(job: Job) -> Status:
    """As `look`; an end that nobody was there to record is recorded now.

    Raises:
        BadSpec: as `look`.
    """
    seen = look(job)
    if seen.ended is not None or seen.is_active:
        return seen
    # A disk that refuses: what was seen is true all the same.
    with suppress(OSError, files.NoLocks), changing(job.folder.parent):
        # Somebody else may have been faster, or has resumed it.
        seen = look(job)
        if seen.ended is None and not seen.is_active:
            seen = certify(seen)
    return seen


def checkpoint_of(job: Job, spec: Spec, step: str) -> Checkpointed | None:
    """The last good checkpoint of a step's tuning run; None without one."""
    run = next((each.run for each in spec.steps if each.name == step), "")
    if not run:
        return None
    try:
        found = position.newest(job.home / "unfinished" / run)
    except HoneError:
        return None
    return None if found is None else Checkpointed(found.step, found.share)


def steps_done(job: Job) -> set[str]:
    """Names of the steps that ended well, in this attempt or an earlier one."""
    return {
        event["step"]
        for event in files.read_lines(job.events)
        if event.get("event") == "step ended" and event.get("exit_code") == 0 and isinstance(event.get("step"), str)
    }


def attempt(job: Job) -> int:
    """1, and one more for each time it was resumed."""
    return 1 + sum(event.get("event") == "resumed" for event in files.read_lines(job.events))


def _cause(supervisor: Identity | None) -> str:
    if supervisor is None:
        return "the process that submitted it ended before the job had started"
    if supervisor.is_of_earlier_boot():
        return "the machine was started again meanwhile"
    return "its supervisor was killed"


def certify(seen: Status) -> Status:
    """Writes the record of a job whose supervisor could not; the caller holds `changing`."""
    job, step, pulse = seen.job, seen.step, seen.pulse
    kept = checkpoint_of(job, seen.spec, step)
    where = f" in {step}" if step else " while it waited" if pulse else ""
    ending: record.Ending = "stopped" if seen.state == "stopped" else "died"
    evidence = _memory_evidence(job) if ending == "died" and seen.spec.is_local else ()
    if evidence:
        where += f", because memory ran out ({evidence[0]})"
    ended = Record(
        ending=ending,
        reason=f"{seen.why}{where}" + ("; the step left when it saw that" if _left(job) else ""),
        advice=("free memory, then " if evidence else "")
        + f"`hone jobs resume {job.id}` "
        + ("goes on from the checkpoint" if kept else "does the step again" if step else "puts it in the queue again"),
        ended=record.now(),
        step=step,
        memory_evidence=evidence,
        peak_memory=pulse.peak if pulse else 0,
        seconds=pulse.at - pulse.began if pulse and pulse.began else 0.0,
        checkpoint=kept,
        last_lines=record.last_lines(job.log),
    )
    write_record(job, ended)
    return Status(job, seen.spec, ending, ended.reason, pulse, ended, step)


def _memory_evidence(job: Job) -> tuple[str, ...]:
    """What the kernel still knows of a step or a supervisor that it killed for want of memory, since this start of the
    machine. Their cgroup's counters are of nobody any more."""
    killed = [each for each in map(job.identity, ("supervisor", "step")) if each and not each.is_of_earlier_boot()]
    if not killed or any(each.is_elsewhere() for each in killed):
        return ()
    from tuning.jobs import memory

    return tuple(line for each in killed for line in memory.Watch.of_process(each.started).evidence(each.pid))


def write_record(job: Job, ended: Record) -> None:
    """
    Raises:
        OSError: not even the reserved room could be written.
    """
    # A full disk keeps the event out; the record has its room.
    with suppress(OSError):
        job.note("ended", ending=ended.ending, reason=ended.reason)
    files.fill(job.exit, record.to_json(ended), final=True)
    unmark(job)


def _left(job: Job) -> bool:
    lines = record.last_lines(job.log, 1)
    return bool(lines) and " as told; " in lines[0]


def statuses(jobs: Sequence[Job], see: Callable[[Job], Status] = settled) -> list[Status]:
    """Of those that can be read; one that goes meanwhile is left out.

    Args:
        see: `look` for who holds `changing`: nothing is recorded then.
    """
    found = []
    for job in jobs:
        try:
            found.append(see(job))
        except BadSpec:
            continue
    return found
