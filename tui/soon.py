"""Something that is done a moment after the last of many changes, yet not put off for ever."""

import time
from collections.abc import Callable

from textual.message_pump import MessagePump
from textual.timer import Timer


class Soon:
    """
    Args:
        host: its timers are used.
        quiet: seconds from the last change.
        latest: seconds from the first change that is not seen to yet.
    """

    def __init__(self, host: MessagePump, run: Callable[[], object], quiet: float, latest: float) -> None:
        self._host = host
        self._run = run
        self._quiet, self._latest = quiet, latest
        self._timer: Timer | None = None
        self._first = 0.0

    def changed(self) -> None:
        now = time.monotonic()
        if self._timer is None:
            self._first = now
        elif now + self._quiet > self._first + self._latest:
            return  # what is set runs in time
        else:
            self._timer.stop()
        self._timer = self._host.set_timer(self._quiet, self._now)

    def drop(self) -> None:
        """There is nothing to be seen to any more."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _now(self) -> None:
        self._timer = None
        self._run()
