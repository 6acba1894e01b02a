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
from contextlib import ExitStack, contextmanager, suppress
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
    root: str = ""
    """Of the app in which it was typed; brings files from outside of it back there."""

    def belongs(self, root: Path) -> bool:
        """Whether an app with this root brings it back."""
        return self.root == str(root) or Path(self.path).is_relative_to(root)


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

    def take_over(self, root: Path) -> list[Unsaved]:
        """What apps that died left of files of a root; from now on it is this app's.

        Of several texts of one file the latest: the others stay where they are, for later starts.
        """
        found: dict[str, tuple[int, Path, Unsaved]] = {}
        with ExitStack() as stack:
            free = [folder for folder in _folders() if stack.enter_context(_locked(folder))]
            for file in (file for folder in free for file in folder.glob("*.json")):
                unsaved = _read(file)
                if unsaved is not None and unsaved.belongs(root):
                    written = file.stat().st_mtime_ns
                    if unsaved.path not in found or found[unsaved.path][0] < written:
                        found[unsaved.path] = written, file, unsaved
            for _, file, unsaved in found.values():
                self.keep(unsaved)
                file.unlink()
            for folder in free:
                if not any(folder.glob("*.json")):
                    shutil.rmtree(folder, ignore_errors=True)
        return [found[path][2] for path in sorted(found)]

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


def left_behind(root: Path) -> list[str]:
    """Paths of files of a root whose unsaved text an app left that died."""
    found: set[str] = set()
    for folder in _folders():
        with _locked(folder) as free:
            kept = [_read(file) for file in folder.glob("*.json")] if free else []
        found |= {one.path for one in kept if one is not None and one.belongs(root)}
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
        return Unsaved(str(content["path"]), str(content["text"]), content["digest"], str(content.get("root", "")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _name(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32] + ".json"
