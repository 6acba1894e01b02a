"""What the screen lists, read from disk in a thread of its own."""

from dataclasses import dataclass
from pathlib import Path

from evals.report import runs
from evals.report.json import NAME
from evals.report.runs import Run
from tuning.jobs import job as jobs_of
from tuning.jobs import state
from tuning.jobs.job import Job
from tuning.jobs.state import Status

MEASURES = ("eval", "gate")
"""Steps of jobs that end with a report."""


@dataclass(frozen=True)
class Listed:
    jobs: tuple[Status, ...]
    """That measure now, wait for their turn, or did not end well while the app looked on."""
    runs: tuple[Run, ...]
    """The newest first."""


class Gatherer:
    """Remembers the jobs that it saw; used by one thread at a time."""

    def __init__(self) -> None:
        self._seen: dict[str, Job] = {}
        self._opened: dict[Path, Run] = {}

    def gather(self) -> Listed:
        """
        Raises:
            HoneError: the state folder cannot be used.
        """
        for job in jobs_of.active(jobs_of.folder()):
            self._seen.setdefault(job.id, job)
        statuses = [one for one in state.statuses(list(self._seen.values())) if _measures(one)]
        shown = [one for one in statuses if one.is_active or one.state not in ("done", "stopped")]
        self._seen = {one.job.id: one.job for one in statuses if one in shown or one.is_active}
        listed = runs.all_runs()
        known = {run.folder for run in listed}
        extra = [run for folder, run in self._opened.items() if folder not in known]
        return Listed(tuple(shown), (*extra, *listed))

    def add(self, run: Run) -> None:
        """Lists a report that was opened by its path, as long as the app runs."""
        self._opened[run.folder] = run

    def forget(self, run: Run) -> None:
        self._opened.pop(run.folder, None)


def report_of(argument: str) -> Path:
    """The file that a user means: a report, or the folder that holds one."""
    path = Path(argument).expanduser().absolute()
    return path / NAME if path.is_dir() else path


def _measures(status: Status) -> bool:
    return status.spec.command[:1] == ("eval",) or (status.step in MEASURES and status.is_active)
