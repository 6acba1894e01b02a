"""Unsaved text on disk: what was typed and not saved comes back after a crash.

Each app has a folder of its own, locked while it runs; folders that nobody locks are of apps that ended without being
asked what to keep.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from assistant import atomic, paths
from assistant.errors import HoneError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Unsaved:
    path: str
    """Absolute."""
    text: str
    digest: str | None
    """Of the file that the text was made from."""


class Recovery:
    """Keeps unsaved texts of this process; the folder appears with the first."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._lock: IO[bytes] | None = None

    def keep(self, unsaved: Unsaved) -> None:
        """Raises HoneError when the disk refuses."""
        try:
            folder = self._own()
            content = {"schema_version": SCHEMA_VERSION, **asdict(unsaved)}
            atomic.write_json(folder / _name(unsaved.path), content, mode=0o600)
        except OSError as error:
            raise HoneError(f"cannot keep unsaved text: {error.strerror}; save soon") from error

    def forget(self, path: str) -> None:
        """The file was saved, or its changes were given up."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / _name(path)).unlink()

    def take_over(self, below: Path) -> list[Unsaved]:
        """What apps that died left of files in a folder; from now on it is this app's."""
        found: list[Unsaved] = []
        for folder in _folders():
            with _locked(folder) as free:
                if not free:
                    continue
                for file in sorted(folder.glob("*.json")):
                    unsaved = _read(file)
                    if unsaved is not None and Path(unsaved.path).is_relative_to(below):
                        self.keep(unsaved)
                        file.unlink()
                        found.append(unsaved)
                if not any(folder.glob("*.json")):
                    shutil.rmtree(folder, ignore_errors=True)
        return found

    def close(self) -> None:
        """Unsaved texts stay for the next start; an empty folder goes."""
        if self._lock is not None and self._folder is not None:
            if not any(self._folder.glob("*.json")):
                shutil.rmtree(self._folder, ignore_errors=True)
            self._lock.close()
            self._lock = self._folder = None

    def _own(self) -> Path:
        if self._folder is None:
            folder = paths.home() / "unsaved" / secrets.token_hex(8)
            folder.mkdir(mode=0o700, parents=True)
            lock = (folder / "lock").open("wb")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._folder, self._lock = folder, lock
        return self._folder


def _folders() -> list[Path]:
    # A folder without a lock is being made.
    return sorted(lock.parent for lock in (paths.home() / "unsaved").glob("*/lock"))


def left_behind(below: Path) -> list[str]:
    """Paths of files in a folder whose unsaved text an app left that died."""
    found: list[str] = []
    for folder in _folders():
        with _locked(folder) as free:
            kept = [_read(file) for file in folder.glob("*.json")] if free else []
        found += [one.path for one in kept if one is not None and Path(one.path).is_relative_to(below)]
    return sorted(found)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Holds the folder's lock for a while; False when another app has it."""
    with (folder / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _read(file: Path) -> Unsaved | None:
    try:
        content = json.loads(file.read_text("utf-8"))
        return Unsaved(str(content["path"]), str(content["text"]), content["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _name(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32] + ".json"
