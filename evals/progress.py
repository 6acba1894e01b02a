"""A line on standard error that says how far a long measurement is, how fast it goes and when it ends."""

import sys
import time
from typing import TextIO


class Progress:
    """Counts one stage. On a terminal the line is rewritten; in a log a new one appears every `interval` seconds."""

    def __init__(self, what: str, total: int, unit: str, stream: TextIO | None = None, interval: float = 10.0) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._interval = 0.2 if self._terminal else interval
        self._started = self._shown = time.monotonic()
        self._done = self._worked = self._told = 0

    def add(self, amount: int = 1, worked: bool = True) -> None:
        """`worked` False: the result was there already, which says nothing about the rate."""
        self._done += amount
        self._worked += amount if worked else 0
        now = time.monotonic()
        if now - self._shown >= self._interval:
            self._shown, self._told = now, self._done
            self._write(self._line(now))

    def finish(self) -> None:
        # A log has the last line already where it came just now.
        if self._terminal or self._told < max(self._done, 1):
            self._write(self._line(time.monotonic()), last=True)

    def _line(self, now: float) -> str:
        rate = self._worked / max(now - self._started, 1e-9)
        line = f"{self._what}: {self._done}/{self._total} {self._unit}"
        if self._worked:
            # A slow one is no zero.
            line += f", {rate:,.1f} {self._unit}/s" if rate >= 1 else f", {60 * rate:,.1f} {self._unit}/min"
            left = (self._total - self._done) / rate
            line += f", {left // 60:.0f} min {left % 60:.0f} s left" if self._done < self._total else ""
        return line

    def _write(self, line: str, last: bool = False) -> None:
        if self._terminal:
            self._stream.write(f"\r\x1b[K{line}" + ("\n" if last else ""))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
