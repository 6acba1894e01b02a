"""Jobs that are followed: looked at every second in a thread of their own."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tui.chat.ops.looking import Looked, look

_SECONDS = 1.0


@dataclass(frozen=True)
class Seen:
    """A job at one moment."""

    identifier: str
    looked: Looked


class Following:
    """`post` is called in another thread."""

    def __init__(self, post: Callable[[Seen], object]) -> None:
        self._post = post
        self._changed = threading.Condition()
        self._jobs: tuple[str, ...] = ()
        self._thread: threading.Thread | None = None

    @property
    def jobs(self) -> tuple[str, ...]:
        """Their ids, in the order in which they came."""
        return self._jobs

    def add(self, identifier: str) -> None:
        with self._changed:
            if identifier not in self._jobs:
                self._jobs = (*self._jobs, identifier)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, identifier: str) -> None:
        with self._changed:
            self._jobs = tuple(one for one in self._jobs if one != identifier)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs)
                jobs = self._jobs
            for identifier in jobs:
                self._post(Seen(identifier, look(identifier)))
            with self._changed:
                # A job that is new is looked at soon; the others not before their time.
                self._changed.wait(_SECONDS)
