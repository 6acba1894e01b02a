"""What was typed into the input box, over all sessions, newest last."""

import json
import os
from contextlib import suppress
from pathlib import Path

from assistant import atomic, paths
from assistant.errors import HoneError

_KEPT = 1_000


class InputHistory:
    """Walks back and forth through earlier inputs; the text being typed is kept at the end of the walk."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or paths.home() / "input_history.jsonl"
        self._entries = _read(self._file)
        self._position = len(self._entries)
        self._typed = ""

    @property
    def entries(self) -> tuple[str, ...]:
        """All of them, the newest last."""
        return tuple(self._entries)

    def add(self, text: str) -> None:
        """Appends an input and ends the walk.

        Raises:
            HoneError: the file cannot be written; the input is then kept for this run only.
        """
        if not self._entries or self._entries[-1] != text:
            self._entries.append(text)
            _append(self._file, text)
        self._position = len(self._entries)
        self._typed = ""

    def older(self, current: str) -> str | None:
        """The input before; None at the oldest."""
        if self._position == 0:
            return None
        if self._position == len(self._entries):
            self._typed = current
        self._position -= 1
        return self._entries[self._position]

    def newer(self) -> str | None:
        """The input after, at last what was being typed; None when already there."""
        if self._position == len(self._entries):
            return None
        self._position += 1
        return self._typed if self._position == len(self._entries) else self._entries[self._position]


def _read(file: Path) -> list[str]:
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    entries: list[str] = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, str):
            entries.append(entry)
    if len(entries) > 2 * _KEPT:
        entries = entries[-_KEPT:]
        # A disk that refuses keeps the long file, which is shortened at a later start.
        with suppress(OSError):
            atomic.write_text(file, "".join(json.dumps(entry) + "\n" for entry in entries), 0o600)
    return entries


def _append(file: Path, text: str) -> None:
    line = (json.dumps(text) + "\n").encode("ascii")
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise HoneError(f"cannot save the input history to {file}: {error.strerror}") from error
