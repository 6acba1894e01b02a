"""What is done with jobs of Slurm: hand over, stop."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from assistant import atomic
from assistant.errors import HoneError, UsageError
from tuning.jobs import slurm, standing, state
from tuning.jobs import slurm_script as scripts
from tuning.jobs.job import Job
from tuning.jobs.slurm_reasons import WAITING
from tuning.jobs.spec import Spec


def before(jobs: Path, wanted: Spec) -> tuple[int, ...]:
    """The numbers in Slurm of the jobs that this one comes after and that are not done; none for a job of this machine.

    Raises:
        UsageError: one of them ended otherwise than well, or does not run on Slurm.
    """
    if wanted.slurm is None:
        return ()
    numbers = []
    for identifier in wanted.after:
        other = state.look(Job(jobs / identifier))
        if other.state == "done":
            continue
        taken = slurm.number(other.job)
        if not other.is_active:
            raise UsageError(f"job {identifier}, which it shall come after, {other.state}: {other.why}")
        if taken is None:
            raise UsageError(f"job {identifier} does not run on Slurm, which cannot wait for it")
        numbers.append(taken)
    return tuple(numbers)


def launch(job: Job, wanted: Spec, after: Sequence[int]) -> None:
    """Writes the batch script and hands it to Slurm; the caller holds `changing`.

    Args:
        after: as `before` gives them.

    Raises:
        HoneError: Slurm refuses, or the disk does.
    """
    file = job.folder / scripts.FILE_NAME
    try:
        atomic.write_text(file, scripts.script(job.folder, wanted, after), mode=0o700)
        slurm.keep_number(job, slurm.submit(file))
    except OSError as error:
        raise HoneError(f"cannot write {file}: {error.strerror or error}") from error


def stop(job: Job) -> None:
    """A job that waits is cancelled; one that runs leaves with a checkpoint. Asked again, it is cancelled at once.

    Raises:
        HoneError: Slurm does not do it.
    """
    asked = standing.asked_to_stop(job)
    found = slurm.seen(scripts.name_of(job.id), slurm.number(job), at_once=True)
    if found is None:
        raise HoneError(f"Slurm knows no job {scripts.name_of(job.id)}; ask again in a moment")
    with suppress(OSError):
        job.note("stop asked")
    if asked or found.state in WAITING:
        slurm.cancel(found.number)
    else:
        slurm.tell(found.number, "USR1")
