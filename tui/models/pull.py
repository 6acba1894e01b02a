"""A download in the background: its progress arrives as messages, and it can be stopped."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from textual.message import Message

from assistant.errors import HoneError
from tui import faults

_TELL_SECONDS = 0.1
_SPEED_SECONDS = 5.0
"""The speed told is that of so many last seconds."""


@dataclass
class Progress(Message):
    name: str
    what: str
    """What is being done: `downloading model.gguf`."""
    done: int
    total: int | None
    """Bytes."""
    speed: float
    """Bytes a second; 0 while it is not known."""

    @property
    def share(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0


@dataclass
class Ended(Message):
    """`error` says why there is no model; `stopped` that the user wanted it so."""

    name: str
    error: str = ""
    stopped: bool = False


class _StopError(KeyboardInterrupt):
    """Ctrl-C by other means: a download keeps what came for the next time, as it does on the command line."""


class Pull:
    """Fetches a model in a thread of its own, which ends with the process. `post` must be safe to call from it."""

    def __init__(self, name: str, post: Callable[[Message], object]) -> None:
        self.name = name
        self._post = post
        self._stop = threading.Event()
        self._seen: list[tuple[float, int]] = []
        self._what = ""
        self._told = 0.0
        self._thread = threading.Thread(target=self._run, name=f"pull {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Until it has ended, or so long."""
        self._thread.join(seconds)

    def _run(self) -> None:
        from assistant.models.resolve import resolve

        try:
            resolve(self.name, progress=self._progress)
        except _StopError:
            self._post(Ended(self.name, stopped=True))
        except HoneError as error:
            self._post(Ended(self.name, str(error)))
        except Exception as error:
            faults.record("the download", error)
            self._post(Ended(self.name, f"unexpected {faults.line(error)}"))
        else:
            self._post(Ended(self.name))

    def _progress(self, what: str, done: int, total: int | None) -> None:
        if self._stop.is_set():
            raise _StopError
        now = time.monotonic()
        if what != self._what:
            self._what, self._seen, self._told = what, [], 0.0
        self._seen = [seen for seen in self._seen if now - seen[0] < _SPEED_SECONDS] + [(now, done)]
        if now - self._told >= _TELL_SECONDS or done == total:
            self._told = now
            began, first = self._seen[0]
            speed = (done - first) / (now - began) if now - began >= 0.5 else 0.0
            self._post(Progress(self.name, what, done, total, max(speed, 0.0)))
