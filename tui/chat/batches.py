"""An answer's deltas in batches that are worth drawing, stopped at once."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assistant.client import Delta
    from assistant.engines.base import TokenLogprob

_FLUSH_SECONDS = 0.125
"""Eight frames a second are enough for text that is read; each costs a layout of the screen."""


@dataclass(frozen=True)
class Batch:
    text: str
    finish: str | None = None
    details: dict[str, Any] | None = None
    tokens: tuple["TokenLogprob", ...] = ()
    """With their probabilities, where those were asked for."""


def batches(deltas: Iterator["Delta"], stop: threading.Event, cancel: Callable[[], object]) -> Generator[Batch]:
    """The deltas of about an eighth of a second at a time, until they end or `stop` is set.

    They are read in a thread of their own, so that `stop` is obeyed at once: while the model still reads a long prompt
    there is nothing to wait for.

    Args:
        cancel: ends the request from another thread.
    """
    inbox: queue.SimpleQueue[Delta | Exception | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(deltas, stop, inbox), name="answer", daemon=True).start()
    pending: list[str] = []
    tokens: list[TokenLogprob] = []
    finish: str | None = None
    details: dict[str, Any] | None = None
    due = 0.0
    try:
        while not stop.is_set():
            try:
                item = inbox.get(timeout=_FLUSH_SECONDS)
            except queue.Empty:
                due = 0.0
            else:
                if item is None:
                    yield Batch("".join(pending), finish, details, tuple(tokens))
                    return
                if isinstance(item, Exception):
                    yield Batch("".join(pending))
                    raise item
                pending.append(item.text)
                tokens += item.logprobs
                finish, details = item.finish_reason or finish, item.details or details
            if any(pending) and time.monotonic() >= due:
                yield Batch("".join(pending), tokens=tuple(tokens))
                pending.clear()
                tokens.clear()
                due = time.monotonic() + _FLUSH_SECONDS
    finally:
        cancel()
    yield Batch("".join(pending), "cancelled", tokens=tuple(tokens))


def _read(
    deltas: Iterator["Delta"], stop: threading.Event, inbox: "queue.SimpleQueue[Delta | Exception | None]"
) -> None:
    try:
        for delta in deltas:
            inbox.put(delta)
            if stop.is_set():
                break
        inbox.put(None)
    except Exception as error:
        inbox.put(error)
    finally:
        close = getattr(deltas, "close", None)
        if close is not None:
            close()
