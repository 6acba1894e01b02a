"""A step of a stream of documents in several processes, with the same result as in one, in the same order."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from assistant.children import end_with_parent

BATCH_BYTES = 1 << 19
"""Text that is sent to a process at a time."""
Item = TypeVar("Item")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Pending(Protocol[Result_co]):
    """What a process was asked for."""

    def result(self) -> Result_co:
        """Waits for it."""
        ...


class Executor(Protocol):
    """What sends work to processes; those of `concurrent.futures` do."""

    def submit(self, work: Callable[..., Result], /, *arguments: Any) -> Pending[Result]: ...


@dataclass(frozen=True)
class Workers:
    """Processes that work beside the caller; whoever asks for them ends them."""

    executor: Executor | None = None
    """None: the caller works itself."""
    ahead: int = 0
    """Batches that are held at a time: memory grows with the processes, not with the corpus."""


ALONE = Workers()


@contextmanager
def on_this_machine(processes: int) -> Iterator[Workers]:
    """Processes that are started when there is work for them; one is the caller alone."""
    if processes < 2:
        yield ALONE
        return
    # A forked child would inherit the locks of torch's threads.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin)
    try:
        yield Workers(executor, 2 * processes)
    finally:
        executor.shutdown(cancel_futures=True)


def _begin() -> None:
    # Ctrl-C in a terminal reaches children too, and it is the caller that decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(signal.SIGTERM)


def mapped(
    items: Iterable[Item],
    work: Callable[[list[Item]], list[Result]],
    size: Callable[[Item], int],
    workers: Workers,
) -> Iterator[Result]:
    """What `work` makes of the items, batch by batch; less than one batch is not worth a process.

    Args:
        work: of a batch, a result for each item; it can be pickled, since it goes to another process.
        size: bytes of an item.
    """
    pending: deque[Pending[list[Result]]] = deque()
    batch: list[Item] = []
    held = 0
    for item in items:
        batch.append(item)
        held += size(item)
        if held < BATCH_BYTES:
            continue
        if workers.executor is None:
            yield from work(batch)
        else:
            pending.append(workers.executor.submit(work, batch))
            if len(pending) > workers.ahead:
                yield from pending.popleft().result()
        batch, held = [], 0
    while pending:
        yield from pending.popleft().result()
    yield from work(batch)
