"""What can be made again from sources and configuration, kept under a key of both: corpora that were read, rows, and
what was measured of them."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from assistant import atomic, paths
from assistant.errors import HoneError

KEPT_DAYS = 30
"""Folders that were not used for so long are removed when another is made."""


def key_of(*parts: Any) -> str:
    """sha256 (hex, 32 digits) of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def folder_for(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of `kind` under `key`; `make` fills it when it is not there. It appears whole or not at all.

    Raises:
        HoneError: the disk is full or not writable.
    """
    target = found(kind, key)
    if target is None:
        target = paths.cache_dir() / kind / key
        _remove_old(target.parent)
        try:
            with atomic.new_folder(target) as staging:
                make(staging)
        except FileExistsError:
            # Another run made the same meanwhile.
            pass
        except OSError as error:
            raise HoneError(f"cannot write to {target.parent}: {error.strerror or error}") from error
    return target


def found(kind: str, key: str) -> Path | None:
    """The folder of `kind` under `key`, where an earlier run made it."""
    target = paths.cache_dir() / kind / key
    if not target.is_dir():
        return None
    with suppress(OSError):
        target.touch()
    return target


def _remove_old(folder: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 86_400
    for one in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):
            if one.stat().st_mtime < oldest:
                shutil.rmtree(one, ignore_errors=True)
