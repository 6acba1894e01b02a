"""How long to wait after a key before asking: as long as the next key is likely to come before the answer would."""

_SHORTEST, _LONGEST = 0.02, 0.3
"""Seconds."""
_PAUSE = 1.0
"""Seconds between two keys that are no longer typing."""
_FIRST_INTERVAL, _FIRST_LATENCY = 0.2, 0.2
_WEIGHT = 0.2
"""Of the latest key or answer in the running means."""


class Pace:
    """Running means of the time between keys and of the time an answer takes. Not thread-safe."""

    def __init__(self) -> None:
        self._interval = _FIRST_INTERVAL
        self._latency = _FIRST_LATENCY
        self._last_key: float | None = None

    def key(self, now: float) -> None:
        """A key was typed at `now`, in seconds of a steady clock."""
        if self._last_key is not None and 0 <= now - self._last_key < _PAUSE:
            self._interval += _WEIGHT * (now - self._last_key - self._interval)
        self._last_key = now

    def answered(self, seconds: float) -> None:
        """An answer took that long."""
        self._latency += _WEIGHT * (seconds - self._latency)

    def debounce(self) -> float:
        """Seconds to wait after a key.

        An answer that comes within the usual time between two keys is asked for at once. One that would come later is
        worth asking for only when typing pauses: when no key came in one and a half times the usual interval.
        """
        if self._latency <= self._interval:
            return _SHORTEST
        return min(_LONGEST, max(_SHORTEST, 1.5 * self._interval))
