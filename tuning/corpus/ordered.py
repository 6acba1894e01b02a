"""A step of a stream of documents in several processes, with the same result as in one, in the same order."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import TypeVar

BATCH_BYTES = 1 << 19
"""Text that is sent to a process at a time."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def pool(processes: int) -> ProcessPoolExecutor:
    """Processes for `mapped`; whoever asks for them shuts them down."""
    # A forked child would inherit the locks of torch's threads.
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))


def mapped(
    items: Iterable[Item],
    work: Callable[[list[Item]], list[Result]],
    size: Callable[[Item], int],
    workers: Executor | None,
    ahead: int,
) -> Iterator[Result]:
    """What `work` makes of the items, batch by batch; less than one batch is not worth a process.

    Args:
        work: of a batch, a result for each item; a function of a module, since it goes to another process.
        size: bytes of an item.
        workers: None: the caller works itself.
        ahead: batches that are held at a time.
    """
    pending: deque[Future[list[Result]]] = deque()
    batch: list[Item] = []
    held = 0
    for item in items:
        batch.append(item)
        held += size(item)
        if held < BATCH_BYTES:
            continue
        if workers is None:
            yield from work(batch)
        else:
            pending.append(workers.submit(work, batch))
            if len(pending) > ahead:
                yield from pending.popleft().result()
        batch, held = [], 0
    while pending:
        yield from pending.popleft().result()
    yield from work(batch)
