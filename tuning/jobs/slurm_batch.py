"""The supervisor of a job on Slurm: what its batch script runs, as `python -m tuning.jobs.slurm_batch FOLDER`.

SIGUSR1 is `hone jobs stop`: the step leaves with a checkpoint, and that is the end. SIGTERM is Slurm, for a
preemption, a requeue or a cancellation: the step leaves with a checkpoint, and what becomes of the job is Slurm's word,
so no end is recorded here. SIGUSR2 comes before the time limit: with the checkpoint the job asks to be queued again.
Started again, it goes on from the checkpoint.
"""

import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from tuning.jobs import identity, slurm, state
from tuning.jobs.identity import Identity
from tuning.jobs.job import Job, changing
from tuning.jobs.record import Record
from tuning.jobs.supervisor import Supervisor

_CHECK_SECONDS = 2.0
_OTHER_SECONDS = 20.0
"""What the supervisor of the start before may take to see that it was replaced."""
_TOLD_SECONDS = 2.0
_LEFT = 143


def run(job: Job) -> int:
    """One start of a job by Slurm; returns the exit code of the batch script."""
    spec = job.spec()
    supervisor = Supervisor(job, spec)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, supervisor.tell)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    taken, own = int(os.environ["SLURM_JOB_ID"]), identity.own()
    with changing(job.folder.parent):
        if job.ended() is not None:
            sys.stderr.write(f"hone: job {job.id} has ended already; `hone jobs resume {job.id}` submits it anew\n")
            return 1
        slurm.keep_number(job, taken)
        before = job.identity("supervisor")
        if before is not None:
            job.note("resumed", by="Slurm")
        job.put_identity("supervisor", own)
    _end_when_replaced(job, own)
    _wait_for(before, job)
    kept = _steps_kept(job)
    try:
        ended = supervisor.run_steps()
    except Exception as error:
        traceback.print_exc()
        ended = supervisor.ended("died", f"its supervisor failed: {error!r}; see the log", "")
    if _was_told_to_end(ended) and supervisor.told is None:
        # Slurm signals a job's processes one after the other.
        time.sleep(_TOLD_SECONDS)
    if supervisor.told == signal.SIGTERM and (ended.ending == "stopped" or _was_told_to_end(ended)):
        job.note("left", reason=ended.reason)
        return _LEFT
    comes_back = spec.slurm is not None and spec.slurm.requeue and ended.ending == "stopped"
    # Without progress it would come back for ever.
    if supervisor.told == signal.SIGUSR2 and comes_back and _steps_kept(job) > kept and _requeued(job, taken, ended):
        return _LEFT
    with changing(job.folder.parent):
        state.write_record(job, ended)
    return 0 if ended.ending == "done" else 1


def _end_when_replaced(job: Job, own: Identity) -> None:
    """Leaves at once when Slurm has started the job elsewhere, thinking that this node was down.

    Two of them would write into one run. A timer, not a thread: the supervisor forks.
    """

    def check(*_: Any) -> None:
        if job.identity("supervisor") in (own, None):
            return
        step = job.identity("step")
        if step is not None and not step.is_elsewhere() and step.alive():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(step.pid, signal.SIGKILL)
        os._exit(_LEFT)

    signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, _CHECK_SECONDS, _CHECK_SECONDS)


def _wait_for(before: Identity | None, job: Job) -> None:
    """Until the supervisor of the start before cannot be at work any more."""
    end = time.monotonic() + _OTHER_SECONDS
    while before is not None and time.monotonic() < end:
        pulse = state.read_pulse(job)
        if not before.alive() or (before.is_elsewhere() and (pulse is None or time.time() - pulse.at > _OTHER_SECONDS)):
            return
        time.sleep(0.1)


def _steps_kept(job: Job) -> tuple[int, int]:
    """How far it is: steps that are done, and the last checkpoint of its tuning runs."""
    spec = job.spec()
    kept = [found.step for step in spec.steps if (found := state.checkpoint_of(job, spec, step.name)) is not None]
    return len(state.steps_done(job)), max(kept, default=0)


def _was_told_to_end(ended: Record) -> bool:
    return ended.signal == "SIGTERM" or ended.exit_code == _LEFT


def _requeued(job: Job, taken: int, ended: Record) -> bool:
    """Whether Slurm has it in its queue again."""
    job.note("left", reason=ended.reason)
    try:
        slurm.requeue(taken)
    except HoneError as error:
        sys.stderr.write(f"hone: job {job.id} could not be queued again: {error}\n")
        return False
    return True


def main() -> int:
    return run(Job(Path(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
