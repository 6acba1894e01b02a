"""What the screen shows, read from disk in a thread of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from tui.jobs.described import progress
from tuning.jobs import job as jobs_of
from tuning.jobs import state
from tuning.jobs.metrics import Metrics, Point
from tuning.jobs.state import Status
from tuning.jobs.tail import Tail

TAIL_LINES = 500


@dataclass(frozen=True)
class Gathered:
    """All jobs, in the order of `in_order`; and one of them in full."""

    jobs: tuple[tuple[Status, Point | None], ...]
    chosen: Status | None
    steps: tuple[Point, ...]
    """Of the chosen job's training run."""
    log: tuple[str, ...]
    """What its log says more than the last time; all of its end for another job."""
    afresh: bool
    """`log` replaces what was shown."""


class Gatherer:
    """Reads on where it stopped the last time; used by one thread at a time."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._metrics: Metrics | None = None
        self._tail: Tail | None = None

    def gather(self, wanted: str | None) -> Gathered:
        """
        Args:
            wanted: the id of the job to read in full; one that is gone is replaced by the first.

        Raises:
            HoneError: the state folder cannot be used.
        """
        found = in_order(state.statuses(jobs_of.all_jobs(jobs_of.folder())))
        chosen = next((one for one in found if one.job.id == wanted), found[0] if found else None)
        afresh = (chosen.job.id if chosen else None) != self._id
        if afresh:
            self._id = chosen.job.id if chosen else None
            self._metrics = Metrics(chosen.job.metrics) if chosen else None
            self._tail = Tail(chosen.job.log, TAIL_LINES) if chosen else None
        if self._metrics is not None:
            self._metrics.read_on()
        log = self._tail.read_on() if self._tail is not None else []
        return Gathered(
            tuple((one, progress(one)) for one in found),
            chosen,
            tuple(self._metrics.points) if self._metrics is not None else (),
            tuple(log[-TAIL_LINES:]),
            afresh,
        )


def in_order(found: Sequence[Status]) -> list[Status]:
    """What runs, then what waits as it will have its turn, then what ended, the newest first."""
    newest = sorted(found, key=lambda one: one.job.id, reverse=True)
    waiting = [one for one in reversed(newest) if one.state == "waiting"]
    return [
        *(one for one in newest if one.is_active and one.state != "waiting"),
        *sorted(waiting, key=lambda one: -one.spec.priority),
        *(one for one in newest if not one.is_active),
    ]
