"""Which jobs have ended since the last look, whoever started them and whatever is on the screen."""

import os

from assistant import paths
from assistant.errors import HoneError
from tuning.jobs import job as jobs_of
from tuning.jobs import state
from tuning.jobs.job import Job
from tuning.jobs.spec import BadSpec
from tuning.jobs.state import Status


class Watch:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self._active: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to look at; cheap, for a timer."""
        if self._active:
            return False
        try:
            return not os.listdir(paths.home() / "jobs" / ".active")
        except (OSError, HoneError):
            return True

    def look(self) -> list[Status]:
        """The jobs that were active at the last look and have ended; a death that nobody recorded is recorded.

        Raises:
            HoneError: the state folder cannot be used.
        """
        jobs = jobs_of.folder()
        found = [Job(jobs / name) for name in sorted(self._active | {job.id for job in jobs_of.active(jobs)})]
        ended: list[Status] = []
        for job in found:
            try:
                status = state.settled(job)
            except BadSpec:
                self._active.discard(job.id)
                continue
            if status.is_active:
                self._active.add(job.id)
            elif job.id in self._active:
                self._active.discard(job.id)
                ended.append(status)
        return ended
