"""What is typed or piped in, line by line, read in a thread of its own."""

import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass

LONGEST = 4 * 1024 * 1024
"""Bytes of one line."""
_AT_ONCE_SECONDS = 0.03
"""Nobody types a whole line in so short a time: what comes so fast behind another line was pasted with it."""
_AHEAD = 1_000
"""Lines that are read before they are wanted."""


@dataclass(frozen=True)
class Line:
    """May have line breaks in it: of a paste, or after a backslash."""

    text: str


@dataclass(frozen=True)
class Pasted:
    """So many lines came at once; they wait for an empty line, which sends them."""

    count: int


@dataclass(frozen=True)
class Unreadable:
    why: str


@dataclass(frozen=True)
class End:
    """Nothing more will come."""


Read = Line | Pasted | Unreadable | End


class Lines:
    """A line that ends in a backslash goes on in the next one.

    Args:
        descriptor: of the file to read.
        post: takes what was read; called in another thread.
        terminal: a person types there: lines that come at once are a paste, which nothing but the person sends.
    """

    def __init__(self, descriptor: int, post: Callable[[Read], object], terminal: bool) -> None:
        self._descriptor = descriptor
        self._post = post
        self._terminal = terminal
        self._buffer = b""
        self._room = threading.Semaphore(_AHEAD)

    def start(self) -> None:
        threading.Thread(target=self._run, name="lines", daemon=True).start()

    def taken(self) -> None:
        """A line was taken: there is room for another one."""
        self._room.release()

    def _run(self) -> None:
        while (text := self._text()) is not None:
            self._room.acquire()
            try:
                self._post(Line(text.decode("utf-8").replace("\r\n", "\n").rstrip("\r")))
            except UnicodeDecodeError:
                self._post(Unreadable("this line is not UTF-8 text; it is passed over"))
                self._room.release()
        self._post(End())

    def _text(self) -> bytes | None:
        """The next line with those that belong to it; None at the end."""
        line = self._line()
        if line is None:
            return None
        parts = [line]
        pasted = follows = self._follows()
        while pasted or parts[-1].endswith(b"\\"):
            if not pasted:
                parts[-1] = parts[-1][:-1]
            line, came_along = self._line(), follows
            if line is None:
                break
            follows = self._follows()
            if pasted and not came_along and not line:
                break
            parts.append(line)
            if pasted and not follows:
                self._post(Pasted(len(parts)))
        return b"\n".join(parts)

    def _follows(self) -> bool:
        """Whether more has come at once."""
        if not self._terminal:
            return False
        return bool(self._buffer) or bool(select.select([self._descriptor], [], [], _AT_ONCE_SECONDS)[0])

    def _line(self) -> bytes | None:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LONGEST:
                self._post(Unreadable("a line of over 4 MiB is far more than the model can read; nothing more is read"))
                return None
            try:
                # Not through a buffered file: its lock would be held when the program ends.
                data = os.read(self._descriptor, 65_536)
            except OSError:
                data = b""  # the terminal is gone
            if not data:
                rest, self._buffer = self._buffer, b""
                return rest or None
            self._buffer += data
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line
