"""Which jobs have ended since the last look, whoever started them and whatever is on the screen."""

import time
from pathlib import Path

from assistant import paths
from assistant.errors import HoneError
from tuning.jobs import job as jobs_of
from tuning.jobs import state
from tuning.jobs.job import Job
from tuning.jobs.spec import BadSpec
from tuning.jobs.state import Status

_TICK = 100_000_000
"""Nanoseconds in which a file system may give two changes the same time."""


class Watch:
    """Used by one thread at a time, and `is_idle` by another between its looks."""

    def __init__(self) -> None:
        self._began = time.time_ns() - _TICK
        self._active: set[str] = set()
        self._marks: int | None = None
        """When a job was last marked as active or not, as far as it has been looked at."""
        self._records: dict[str, int] = {}
        """By job: when its record was last written."""
        self._told: dict[str, str] = {}
        """By job: the time of the end that was told."""

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to look at; cheap, for a timer."""
        if self._active:
            return False
        try:
            return _changed(paths.home() / "jobs" / ".active") == self._marks
        except HoneError:
            return True

    def look(self) -> list[Status]:
        """The jobs that have ended since the last look, or since this watch began; also those that were submitted and
        ended between two looks. A death that nobody recorded is recorded.

        Raises:
            HoneError: the state folder cannot be used.
        """
        jobs = jobs_of.folder()
        marks, now = _changed(jobs / ".active"), time.time_ns()
        # A mark that was left behind by a job that ended long ago is no news.
        news = self._active | (self._newly_recorded(jobs) if marks != self._marks else set())
        self._marks = marks if marks is not None and now - marks > _TICK else None
        ended = []
        for name in sorted(news | {job.id for job in jobs_of.active(jobs)}):
            status = self._ended(Job(jobs / name))
            when = "" if status is None else status.ended.ended if status.ended is not None else "not recorded"
            if status is not None and name in news and self._told.get(name) != when:
                self._told[name] = when
                ended.append(status)
        return ended

    def _newly_recorded(self, jobs: Path) -> set[str]:
        found = set()
        for job in jobs_of.all_jobs(jobs):
            written = _changed(job.exit)
            if written is not None and written > self._records.get(job.id, self._began):
                found.add(job.id)
            if written is not None:
                self._records[job.id] = written
        return found

    def _ended(self, job: Job) -> Status | None:
        """None of a job that goes on or is gone."""
        try:
            status = state.settled(job)
        except BadSpec:
            self._active.discard(job.id)
            return None
        if status.is_active:
            self._active.add(job.id)
            return None
        self._active.discard(job.id)
        return status


def _changed(path: Path) -> int | None:
    """Nanoseconds since 1970; None of what is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
