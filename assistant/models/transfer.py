"""What every way of getting a model shares: progress, one fetch at a time per model, disk space, checksums."""

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assistant import atomic
from assistant.errors import HoneError

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, the bytes done and the bytes in all (None when not known)."""


@contextmanager
def locked(lock: Path, what: str, progress: Progress | None) -> Iterator[None]:
    """Holds the lock file `lock` between processes; whoever comes second waits and is told so through `progress`.

    Raises:
        HoneError: the lock file cannot be made.
    """
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        try:
            held.acquire(timeout=0)
        except Timeout:
            if progress:
                progress(f"waiting for another process that is preparing {what}", 0, None)
            held.acquire()
    except OSError as error:
        raise HoneError(f"cannot lock {lock}: {error.strerror}") from error
    try:
        yield
    finally:
        held.release()


def made_once(
    target: Path, what: str, size: int, make: Callable[[Path], None], progress: Progress | None = None
) -> Path:
    """The cached folder `target`, filled by `make` when it is missing; one process makes it and others wait for it.

    Args:
        what: the thing made, for messages.
        size: bytes that it will take.

    Raises:
        HoneError: not enough disk, or what `make` raises; nothing is left behind.
    """
    if target.exists():
        return target
    target.parent.mkdir(exist_ok=True)
    with locked(target.parent / f".{target.name}.lock", what, progress):
        if target.exists():
            return target
        for leftover in target.parent.glob(f".{target.name}.*.part"):
            shutil.rmtree(leftover, ignore_errors=True)
        require_space(target.parent, size, what)
        with disk_errors(what, target.parent), atomic.new_folder(target) as staging:
            make(staging)
    return target


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raises HoneError when the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise HoneError(
            f"not enough disk space for {what}: {megabytes(needed)} needed, {megabytes(free)} free in {folder}; "
            "free some or set HONE_HOME to a larger disk"
        )


@contextmanager
def disk_errors(what: str, folder: Path) -> Iterator[None]:
    """Turns an operating system error (a full or read-only disk) into one line."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, what, folder) from error


def disk_error(error: OSError, what: str, folder: Path) -> HoneError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HoneError(
            f"the disk of {folder} is full, so {what} could not be stored; free some space or set HONE_HOME"
        )
    return HoneError(f"cannot store {what} in {folder}: {error.strerror or error}")


def sha256_of(path: Path, what: str = "", progress: Progress | None = None) -> str:
    """sha256 (hex) of a file's bytes."""
    total = path.stat().st_size
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(4 << 20):
            digest.update(piece)
            done += len(piece)
            if progress:
                progress(what, done, total)
    return digest.hexdigest()


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count < 10e9 else f"{count / 1e9:,.1f} GB"
