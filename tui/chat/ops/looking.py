"""One look at a job that is followed: where it is, or what came of it."""

from dataclasses import dataclass

from assistant.errors import HoneError
from tui.chat.ops.outcome import Outcome, read
from tui.jobs.described import progress
from tuning.jobs import job as jobs_of
from tuning.jobs import record, state
from tuning.jobs.job import Job
from tuning.jobs.metrics import Point
from tuning.jobs.spec import BadSpec
from tuning.jobs.state import Status


@dataclass(frozen=True)
class Looked:
    status: Status | None
    """None: the job's folder is gone, or cannot be read now."""
    point: Point | None = None
    """Where its training is, while it trains."""
    said: str = ""
    """The last line of its log; without a status why it cannot be read, empty when it is gone for good."""
    outcome: Outcome | None = None
    """Once it has ended."""


def look(identifier: str) -> Looked:
    """Reads files and, of a job that has ended, its reports: for a thread."""
    try:
        job = Job(jobs_of.folder() / identifier)
        status = state.settled(job)
        said = (record.last_lines(job.log, 1) or [""])[0]
        return Looked(status, progress(status), said, None if status.is_active else read(status))
    except BadSpec:
        return Looked(None)
    except HoneError as error:
        # The state folder may be back the next time.
        return Looked(None, said=str(error))
    except Exception as error:
        # What a report of another version holds must not end the app.
        return Looked(None, said=f"the job cannot be read: unexpected {type(error).__name__}: {error}")
