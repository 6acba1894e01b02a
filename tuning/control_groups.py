"""How much memory the control groups leave a process, of the second version and of the first, see cgroups(7)."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_FIRST = "memory"
"""Where the first version keeps its groups of memory, below the root."""
_UNLIMITED = 1 << 60
"""The first version says "no limit" by a number near 2**63."""


@dataclass(frozen=True)
class Limit:
    """Bytes."""

    most: int
    used: int
    """Without the file cache, which is given back where it is needed, as in the system's own MemAvailable."""

    @property
    def free(self) -> int:
        return max(0, self.most - self.used)


def folders(pid: int | str = "self", root: Path = ROOT) -> list[Path]:
    """Of the groups of memory that a process is in itself."""
    return [folder for folder in _named(pid, root) if folder.is_dir()]


def limits(pid: int | str = "self", root: Path = ROOT) -> list[Limit]:
    """Of the groups that a process is in and of those above them, as far as they can be seen.

    In a container the process is often in a group of another name than is mounted, so the root's counts too.
    """
    found: dict[Path, Limit] = {}
    for top, named in ((root, root), (root / _FIRST, root / _FIRST), *((root, named) for named in _named(pid, root))):
        inside = named.is_relative_to(top) and ".." not in named.parts
        for folder in (named, *named.parents) if inside else ():
            limit = None if folder in found else _limit(folder)
            if limit is not None:
                found[folder] = limit
            if folder == top:
                break
    return list(found.values())


def _named(pid: int | str, root: Path) -> list[Path]:
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    named = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            named.append(root / path.lstrip("/"))
        elif _FIRST in controllers.split(","):
            named.append(root / _FIRST / path.lstrip("/"))
    return named


def _limit(folder: Path) -> Limit | None:
    for limit, used, caches in (
        ("memory.max", "memory.current", ("inactive_file", "active_file")),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    ):
        try:
            most, taken = (int((folder / name).read_text("ascii")) for name in (limit, used))
            lines = (line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
            cached = sum(int(value) for name, value in lines if name in caches)
        except (OSError, ValueError):  # No such version, no limit ("max"), or not ours to read.
            continue
        return Limit(most, max(0, taken - cached)) if most < _UNLIMITED else None
    return None
