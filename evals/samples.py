"""Measurements, one JSON object a line: written as they come, so that a stopped run goes on where it was."""

import hashlib
import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock

from assistant import atomic
from assistant.errors import HoneError


def key(**identity: Any) -> str:
    """The sha256 of everything that decides a measurement: model digest, prompt hash, decoding, seed, task version."""
    canonical = json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Samples:
    """An append-only `samples.jsonl`; in memory only when there is no folder.

    A last line that a kill cut short is dropped on opening. One process writes at a time, from any of its threads. Of
    two lines with one key the later one counts: the sample after its answer, a new verdict after an old one.

    Raises:
        HoneError: the folder cannot be written, the file is not ours, or another evaluation writes to it.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = folder / "samples.jsonl" if folder else None
        self._known: dict[str, dict[str, Any]] = {}
        self._earlier: frozenset[str] = frozenset()
        self._reused: set[str] = set()
        self._file = None
        self._lock = None
        self._adding = threading.Lock()
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(f"{self.path}.lock", timeout=0)
            self._lock.acquire()
        except filelock.Timeout as error:
            raise HoneError(
                f"another evaluation is writing to {self.path.parent}; wait for it or choose another --out"
            ) from error
        except OSError as error:
            raise HoneError(f"cannot write to {self.path.parent}: {error.strerror}") from error
        try:
            self._load(self.path)
            self._file = self.path.open("ab")
            # A new file's name must outlive a power cut as its lines do.
            atomic.sync_folder(self.path.parent)
        except OSError as error:
            self._lock.release()
            raise HoneError(f"cannot write to {self.path}: {error.strerror}") from error
        except HoneError:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            self._lock.release()

    def get(self, wanted: str) -> dict[str, Any] | None:
        """The measurement with this key from an earlier run or this one."""
        if wanted in self._earlier:
            self._reused.add(wanted)
        return self._known.get(wanted)

    @property
    def resumed(self) -> int:
        """How many measurements of earlier runs `get` gave back."""
        return len(self._reused)

    def add(self, sample: dict[str, Any]) -> None:
        """Keeps a measurement (it has a `key`) and puts it on disk before returning."""
        line = _line(sample)
        with self._adding:
            self._known[sample["key"]] = sample
            if self._file is None:
                return
            try:
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise HoneError(f"cannot write {self.path}: {error.strerror}") from error

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        try:
            loaded = [json.loads(line) for line in whole.splitlines()]
            self._known = {sample["key"]: sample for sample in loaded}
        except (ValueError, TypeError, KeyError) as error:
            raise HoneError(f"{path} does not hold evaluation samples; choose another --out") from error
        self._earlier = frozenset(self._known)
        if len(whole) < len(data):
            with path.open("r+b") as file:
                file.truncate(len(whole))


def _line(sample: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(sample, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, which a server may send and only an escape can hold.
        return (json.dumps(sample) + "\n").encode()
