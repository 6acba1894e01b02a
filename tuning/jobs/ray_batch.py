"""The supervisor of a job on Ray: what its entry point runs, as `python -m tuning.jobs.ray_batch FOLDER SUBMISSION`.

SIGTERM is Ray's way to stop a job, whoever asks for it: the step leaves with a checkpoint, and that is the end. When
the head or the node ends without a word, the system tells the step (SIGTERM, as on one machine), and whoever looks next
writes the record.
"""

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from tuning.jobs import ray_api, ray_package, standing, state, takeover
from tuning.jobs.job import Job, changing
from tuning.jobs.record import Record
from tuning.jobs.supervisor import Supervisor


def run(job: Job, taken: str, below: str | None, sent: Path) -> int:
    """One start of a job by Ray; returns the exit code of the entry point.

    Args:
        taken: what the job is called in Ray.
        below: the folder its commands run in, from the root of the repository that was sent; None when none was.
        sent: where Ray has unpacked the package.
    """
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if not takeover.take(job, "Ray", lambda: ray_api.submission(job) == taken):
        return 1
    ended = _run(job, below, sent)
    with changing(job.folder.parent):
        state.write_record(job, ended)
    return 0 if ended.ending == "done" else 1


def _run(job: Job, below: str | None, sent: Path) -> Record:
    spec = job.spec()
    refused = ""
    if below is not None:
        try:
            spec = replace(spec, folder=str(ray_package.place(sent, job.folder) / below))
        except (HoneError, OSError) as error:
            refused = f"the repository could not be unpacked: {error}"
    supervisor = Supervisor(job, spec)

    def tell(number: int, frame: Any) -> None:
        # As the record shall have it: by the user, or by somebody in Ray.
        supervisor.tell(signal.SIGUSR1 if standing.asked_to_stop(job) else number, frame)

    signal.signal(signal.SIGTERM, tell)
    if refused:
        return supervisor.ended("failed", refused, f"`hone jobs resume {job.id}` tries again")
    return takeover.run_steps(supervisor)


def main() -> int:
    folder, taken, *below = sys.argv[1:]
    return run(Job(Path(folder)), taken, below[0] if below else None, Path.cwd())


if __name__ == "__main__":
    sys.exit(main())
