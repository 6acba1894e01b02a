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
from contextlib import suppress
from pathlib import Path

from assistant.errors import HoneError
from tuning.jobs import slurm, state, takeover
from tuning.jobs.job import Job, changing
from tuning.jobs.record import Record
from tuning.jobs.supervisor import Supervisor
from tuning.jobs.takeover import LEFT

_TOLD_SECONDS = 2.0


def run(job: Job) -> int:
    """One start of a job by Slurm; returns the exit code of the batch script."""
    spec = job.spec()
    supervisor = Supervisor(job, spec)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, supervisor.tell)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    taken = int(os.environ["SLURM_JOB_ID"])

    def admitted() -> bool:
        # Queued again by Slurm it has the number that it had, and the disk may be full.
        if slurm.number(job) != taken:
            slurm.keep_number(job, taken)
        return True

    if not takeover.take(job, "Slurm", admitted):
        return 1
    kept = _steps_kept(job)
    ended = takeover.run_steps(supervisor)
    if _was_told_to_end(ended) and supervisor.told is None:
        # Slurm signals a job's processes one after the other.
        time.sleep(_TOLD_SECONDS)
    if supervisor.told == signal.SIGTERM and (ended.ending == "stopped" or _was_told_to_end(ended)):
        with suppress(OSError):
            job.note("left", reason=ended.reason)
        return LEFT
    comes_back = spec.slurm is not None and spec.slurm.requeue and ended.ending == "stopped"
    # Without progress it would come back for ever.
    if supervisor.told == signal.SIGUSR2 and comes_back and _steps_kept(job) > kept and _requeued(job, taken, ended):
        return LEFT
    with changing(job.folder.parent):
        state.write_record(job, ended)
    return 0 if ended.ending == "done" else 1


def _steps_kept(job: Job) -> tuple[int, int]:
    """How far it is: steps that are done, and the last checkpoint of its tuning runs."""
    spec = job.spec()
    kept = [found.step for step in spec.steps if (found := state.checkpoint_of(job, spec, step.name)) is not None]
    return len(state.steps_done(job)), max(kept, default=0)


def _was_told_to_end(ended: Record) -> bool:
    return ended.signal == "SIGTERM" or ended.exit_code == LEFT


def _requeued(job: Job, taken: int, ended: Record) -> bool:
    """Whether Slurm has it in its queue again."""
    with suppress(OSError):
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
