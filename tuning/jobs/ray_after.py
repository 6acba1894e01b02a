"""Holds a job back from Ray, which knows no order of jobs, until those it comes after are done, and hands it over.

Run as `python -m tuning.jobs.ray_after FOLDER`, on the machine that the job was submitted from, like the supervisor of
a job of that machine. What it hands over is as it was at the submission.
"""

import itertools
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from assistant.errors import HoneError
from tuning.jobs import job as jobs_of
from tuning.jobs import ray_api, ray_package, ray_verbs
from tuning.jobs.identity import Identity
from tuning.jobs.job import Job, changing
from tuning.jobs.ray_settings import RaySettings
from tuning.jobs.record import Record
from tuning.jobs.spec import Spec
from tuning.jobs.supervisor import Supervisor, begin


def holder(job: Job) -> Identity | None:
    """The process that holds a job of Ray back; None when it was handed over. The caller holds `changing`."""
    return job.identity("supervisor") if ray_api.submission(job) is None else None


def hold(supervisor: Supervisor, job: Job, spec: Spec) -> Record | None:
    """Returns the record of a job that was not handed over."""
    ours = spec.ray
    assert ours is not None

    names = itertools.count()

    def turn() -> str:
        try:
            ray_api.check(ours)
        except ray_api.NoAnswer as error:
            return str(error)
        try:
            return _handed_over(supervisor, job, spec, ours, names)
        except ray_api.Unreachable as error:
            return str(error)

    try:
        return supervisor.wait(turn)
    except (HoneError, OSError) as error:
        words = f"it could not be handed to Ray: {error}"
        return supervisor.ended("failed", words, f"`hone jobs resume {job.id}` tries again")
    finally:
        ray_package.forget(job.folder)


def _handed_over(supervisor: Supervisor, job: Job, spec: Spec, ours: RaySettings, names: Iterator[int]) -> str:
    """Why it was not; empty when it was.

    Args:
        names: another number each time: Ray may have taken what it did not answer to, which leaves by itself.

    Raises:
        HoneError: Ray refuses, or is not reached.
        OSError: the disk does.
    """
    address = ray_verbs.deliver(ours, ray_package.kept(job.folder))
    with changing(job.folder.parent):
        # Told between two looks: `hone jobs stop` holds the lock while it tells.
        if supervisor.told:
            return "it is told to stop"
        ray_verbs.launch(job, spec, address, next(names))
        # A full disk leaves both empty, which says the same.
        with suppress(OSError):
            jobs_of.forget_supervisor(job)
    return ""


def main() -> int:
    job = Job(Path(sys.argv[1]))
    return begin(job, lambda supervisor: hold(supervisor, job, job.spec()))


if __name__ == "__main__":
    sys.exit(main())
