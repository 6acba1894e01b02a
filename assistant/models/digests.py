"""Digests of files, remembered by path, size and modification time: a large file is read once, not at each start."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from assistant import atomic, paths
from assistant.models.transfer import sha256_of

_SETTLED_NS = 2_000_000_000
"""A file changed within this time could change again without its time stamp moving, so it is not remembered."""


def file_digest(path: Path) -> str:
    """sha256 (hex) of the file's bytes."""
    return remembered(path, "sha256", lambda: {"sha256": sha256_of(path)})["sha256"]


def remembered(path: Path, kind: str, compute: Callable[[], dict[str, str]]) -> dict[str, str]:
    """`compute()`, or what it gave when the file had this size and modification time before.

    Losing the memory costs time, never correctness: it is written atomically, last writer wins, and entries of files
    that are gone are dropped.
    """
    status = path.stat()
    key = f"{kind}:{path.resolve()}"
    stamp = [status.st_size, status.st_mtime_ns]
    known = _load().get(key)
    if known and known.get("stamp") == stamp:
        return dict(known["value"])
    value = compute()
    if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
        entries = {name: entry for name, entry in _load().items() if Path(name.partition(":")[2]).exists()}
        # A full disk must not fail a command that only reads.
        with suppress(OSError):
            atomic.write_json(_file(), {**entries, key: {"stamp": stamp, "value": value}})
    return value


def _file() -> Path:
    return paths.home() / "digests.json"


def _load() -> dict[str, dict[str, Any]]:
    try:
        loaded = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
