"""The hashes of what a folder holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assistant.models.transfer import sha256_of


def file_hashes(folder: Path, leave_out: Sequence[str] = ("manifest.json",)) -> dict[str, dict[str, Any]]:
    """`{"sha256": hex, "bytes": size}` of every file below `folder`, by its path in it, `/` separated.

    Args:
        leave_out: names at the top of the folder that are not hashed: a manifest cannot hold its own hash.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for name, path in names.items()
        if name not in leave_out
    }
