"""The writable folder of programs where there is no mount namespace to give each a fresh one."""

import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

_ENTRIES = 4096


def holds_more_than(folder: str, limit: int) -> bool:
    """Whether the files below hold more than `limit` bytes, or there are more than 4,096 of them."""
    total = count = 0
    queue = [folder]
    while queue:
        try:
            with os.scandir(queue.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        queue.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # It went away, or no path is long enough to name it; its parents count.
        if count > _ENTRIES or total > limit:
            return True
    return False


def clear(folder: str) -> None:
    """Removes all that is in it, whatever its depth and modes.

    Raises:
        OSError: something stays.
    """
    if not os.listdir(folder):
        return
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, onerror=_allow)
            else:
                os.unlink(path)
        except (OSError, RecursionError):
            subprocess.run(["chmod", "-R", "u+rwx", "--", path], check=False, capture_output=True)
            subprocess.run(["rm", "-rf", "--", path], check=False, capture_output=True)
    if left := os.listdir(folder):
        raise OSError(f"{folder} cannot be emptied: {left[0]!r} stays")


def _allow(function: Callable[..., Any], path: str, _: Any) -> None:
    os.chmod(os.path.dirname(path), 0o700)
    if not os.path.islink(path):
        os.chmod(path, 0o700)
    if function in {os.unlink, os.rmdir, os.remove}:
        function(path)
    else:
        shutil.rmtree(path)
