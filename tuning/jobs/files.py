"""The three kinds of files a job is kept in: lines that are added, places that are reserved, and a lock."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assistant.errors import HoneError


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Adds one line of JSON, whole or not at all; several processes may do so at once.

    Raises:
        OSError: not writable or full.
    """
    data = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        # What a machine that lost power left of a line must not swallow this one.
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        written = os.write(descriptor, data)
        if written < len(data):
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole JSON objects, in order; none without a file."""
    try:
        data = path.read_bytes()
    except OSError:
        return []
    return [entry for line in data.splitlines() if (entry := _object(line)) is not None]


def reserve(path: Path, size: int) -> None:
    """Makes a file of blanks, so that what is written in it later needs no room on a disk that is full by then.

    Raises:
        OSError: not writable or full.
    """
    with path.open("wb") as file:
        file.write(b" " * size)
        file.flush()
        os.fsync(file.fileno())


def fill(path: Path, entry: Mapping[str, Any], *, final: bool) -> None:
    """Writes a JSON object into a reserved file.

    Args:
        final: it is kept for good: synced, and the rest of the room given back. Else it is written over again.

    Raises:
        OSError: not writable, or larger than what was reserved on a disk that is full.
    """
    data = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        padding = max(0, os.fstat(descriptor).st_size - len(data))
        # One write call: who reads meanwhile sees the entry before or after.
        if os.pwrite(descriptor, data + b" " * padding, 0) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if final:
            os.fsync(descriptor)
            os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def read_filled(path: Path) -> dict[str, Any] | None:
    """What was written into a reserved file; None when it is blank, damaged or missing."""
    try:
        return _object(path.read_bytes())
    except OSError:
        return None


class NoLocks(HoneError):
    """The disk has no file locks."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits for the lock of this file; the system lifts it when its holder ends, however that ends.

    Raises:
        NoLocks: there are none on this disk.
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise NoLocks(
                f"{path.parent} is on a disk without file locks ({error.strerror}), which jobs need; set HONE_HOME to "
                "a folder on another disk, or have it mounted with locks"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
