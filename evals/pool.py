"""The threads of a run: some ask the model, others judge what it wrote meanwhile."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from assistant import cores
from assistant.errors import EngineError, HoneError, UnknownModel
from evals.errors import HarnessError
from evals.sampled import Job
from evals.server import RETRY_SECONDS, TransientError
from evals.subjects import Connected, StoppedError, respond
from evals.tasks.base import Answer, Item

MAX_LOST_IN_A_ROW = 8
"""Then the server is taken for gone."""
_BACKLOG = 4
"""Answers that wait for each judging thread at most, so that a fast model does not fill the memory with them."""

Finished = Callable[[Item, str], bool]
"""Whether a text decides the verdict on an item already, whatever follows it."""
Keep = Callable[[Job, Answer], None]
"""Puts an answer or the sample made of it on disk; called from several threads."""


def work(
    jobs: Sequence[Job],
    answered: Mapping[str, Answer],
    connected: Connected | None,
    concurrency: int,
    hold: Keep,
    keep: Keep,
    finished: Finished = lambda item, text: False,
    retry_seconds: Sequence[float] = RETRY_SECONDS,
) -> list[tuple[Job, str]]:
    """Has every job answered and kept; returns the lost ones with the reason.

    Args:
        answered: by key, answers that are on disk and only need to be judged.
        connected: None when all of them are answered.
        concurrency: requests at a time.
        hold: puts an answer on disk as soon as it is there, before it waits for its verdict.
        keep: judges an answer and puts the sample on disk.
        retry_seconds: waits before a request is sent again; after the last one the sample is lost.

    Raises:
        HarnessError: too many were lost in a row, or this program failed.
        HoneError: what `hold` or `keep` raised, or the server does not know the model.
    """
    state = _State(retry_seconds, finished)
    feed = _Feed(jobs)
    judges = ThreadPoolExecutor(cores.usable())
    room = threading.Semaphore(cores.usable() * _BACKLOG)

    def judge(job: Job, answer: Answer) -> None:
        try:
            if not state.stopped.is_set():
                keep(job, answer)
        except HoneError as error:
            state.fail(error)
        except Exception as error:
            state.fail(HarnessError(f"the harness failed at {job.item.id}: {error!r}; no score is given"))
        finally:
            room.release()

    def generate() -> None:
        own: deque[Job] = deque()
        while not state.stopped.is_set() and (job := feed.take(own)) is not None:
            try:
                answer = answered.get(job.key)
                if answer is None and (answer := _asked(job, connected, state)) is not None:
                    hold(job, answer)
            except StoppedError:
                return
            except HoneError as error:
                state.fail(error)
                return
            except Exception as error:
                state.fail(HarnessError(f"the harness failed at {job.item.id}: {error!r}; no score is given"))
                return
            if answer is not None:
                room.acquire()
                judges.submit(judge, job, answer)

    # Daemons: a server that does not answer must not keep a stopped run from ending.
    workers = [threading.Thread(target=generate, daemon=True) for _ in range(min(concurrency, len(jobs)))]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        judges.shutdown()
    except BaseException:
        state.stopped.set()
        judges.shutdown(wait=False, cancel_futures=True)
        raise
    if state.failure is not None:
        raise state.failure
    return state.lost


@dataclass
class _State:
    """What the threads of one run share."""

    retry_seconds: Sequence[float]
    finished: Finished
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)
    lost: list[tuple[Job, str]] = field(default_factory=list)
    lost_in_a_row: int = 0
    failure: HoneError | None = None

    def fail(self, error: HoneError) -> None:
        with self.lock:
            self.failure = self.failure or error
        self.stopped.set()

    def lose(self, job: Job, why: str) -> None:
        with self.lock:
            self.lost.append((job, why))
            self.lost_in_a_row += 1
            gone = self.lost_in_a_row >= MAX_LOST_IN_A_ROW
        if gone:
            self.fail(HarnessError(f"{MAX_LOST_IN_A_ROW} samples in a row were lost, so the run was ended: {why}"))


class _Feed:
    """Hands out jobs so that all of one item go to one worker, one after the other: an engine then computes the item's
    prompt once for them. A worker that finds no new item takes jobs of another worker's."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        items: dict[str, list[Job]] = {}
        for job in jobs:
            items.setdefault(job.item.id, []).append(job)
        self._new = deque(items.values())
        self._workers: list[deque[Job]] = []
        self._lock = threading.Lock()

    def take(self, own: deque[Job]) -> Job | None:
        """The next job.

        Args:
            own: the jobs left of the item that this worker is at; always the same object for one worker.
        """
        with self._lock:
            if not own and self._new:
                own.extend(self._new.popleft())
                if not any(known is own for known in self._workers):
                    self._workers.append(own)
            if own:
                return own.popleft()
            longest = max(self._workers, key=len, default=own)
            return longest.pop() if longest else None


def _asked(job: Job, connected: Connected | None, state: _State) -> Answer | None:
    """The model's answer; None when it is lost, which is noted.

    Raises:
        StoppedError: the run ends.
    """
    assert connected is not None
    for retries, wait in enumerate((*state.retry_seconds, None)):
        try:
            answer = respond(
                connected,
                job.ask,
                temperature=job.temperature,
                seed=job.seed,
                stopped=state.stopped,
                finished=lambda text: state.finished(job.item, text),
            )
        except UnknownModel as error:
            # No other sample of it can be had either.
            state.fail(error)
            raise StoppedError from error
        except EngineError as error:
            if wait is None:
                state.lose(job, str(error))
                return None
            asked_for = error.wait if isinstance(error, TransientError) else None
            if state.stopped.wait(max(wait, asked_for or 0.0)):
                raise StoppedError from error
        except HoneError as error:
            state.lose(job, str(error))
            return None
        else:
            with state.lock:
                state.lost_in_a_row = 0
            return replace(answer, retries=retries)
    raise AssertionError("the last wait is None")
