"""How much the gateway takes on at once, and for how long."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from assistant.gateway.failures import BusyError
from assistant.gateway.fields import BadFieldError, number

DEADLINE_HEADER = b"x-hone-deadline"
LONGEST_DEADLINE = 86_400.0
_WEIGHT = 0.2
"""Of the newest request in the running mean of how long requests take."""


@dataclass(frozen=True)
class Limits:
    queue: int = 256
    """Answers that are made or wait to be made; more are turned away."""
    deadline: float = 600.0
    """Seconds that a request may take in all when it does not say itself."""


class Admission:
    """Counts the answers that are made or wait; of the event loop alone."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._mean_seconds = 1.0
        self.taken = 0

    @contextmanager
    def place(self, count: int) -> Iterator[None]:
        """Room for so many answers.

        Raises:
            BadFieldError: there never is.
            BusyError: there is none now.
        """
        if count > self._places:
            raise BadFieldError(
                "n", f"n = {count} answers are more than the {self._places} that this gateway's queue takes"
            )
        if self.taken + count > self._places:
            # By then about half of what waits now has been answered.
            retry_after = min(max(self._mean_seconds / 2, 1.0), 30.0)
            message = f"{self.taken} answers of at most {self._places} are running or waiting; try again later"
            raise BusyError(message, retry_after)
        self.taken += count
        began = time.monotonic()
        try:
            yield
        finally:
            self.taken -= count
            self._mean_seconds += _WEIGHT * (time.monotonic() - began - self._mean_seconds)


def seconds_allowed(body: Mapping[str, Any], headers: Mapping[bytes, bytes], default: float) -> float:
    """The time that a request may take: its field `deadline`, else its header `X-Hone-Deadline`, else the default.

    Raises:
        BadFieldError: it is no number of seconds from 0.001 to a day.
    """
    given = headers.get(DEADLINE_HEADER)
    if given is not None and body.get("deadline") is None:
        try:
            body = {"deadline": float(given)}
        except ValueError as error:
            raise BadFieldError("deadline", "the header X-Hone-Deadline must be a number of seconds") from error
    return number(body, "deadline", default, 0.001, LONGEST_DEADLINE)
