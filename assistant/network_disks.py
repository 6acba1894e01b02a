"""Whether a folder is on a disk that other machines may use at the same time, as far as the kernel says (Linux)."""

import re
from functools import cache
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "dvs", "ceph", "glusterfs")
_CLUSTER = ("lustre", "gpfs", "beegfs", "panfs", "wekafs", "orangefs", "pvfs2", "gfs", "gfs2", "ocfs2", "acfs")
_FROM_A_HOST = ("9p", "virtiofs", "vboxsf", "prl_fs")
"""Folders of the machine that a virtual one runs on."""
_SHARED = frozenset((*_NETWORK, *_CLUSTER, *_FROM_A_HOST))
_OCTAL = re.compile(r"\\([0-7]{3})")


def is_shared(folder: Path) -> bool:
    """False also where nobody can tell."""
    return _is_shared(folder, MOUNTS)


def journal_mode(folder: Path) -> str:
    """Of an SQLite database in it: the write-ahead log wants all who use it on one machine."""
    return "DELETE" if is_shared(folder) else "WAL"


def file_system(folder: Path, mounts: str) -> str | None:
    """The type of the file system that `folder` is on, such as ext4 or nfs4; None when that is not told.

    Args:
        folder: absolute, without symbolic links.
        mounts: as the kernel writes /proc/self/mountinfo.
    """
    found: tuple[int, str] | None = None
    for line in mounts.split("\n"):
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        place = Path(_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        # Of two at one place the later covers the earlier.
        if folder.is_relative_to(place) and (found is None or len(place.parts) >= found[0]):
            found = len(place.parts), after.split(" ")[0]
    return found[1] if found else None


@cache
def _is_shared(folder: Path, mounts: Path) -> bool:
    try:
        kind = file_system(folder.resolve(), mounts.read_text("utf-8", "surrogateescape"))
    except OSError:
        return False
    # What a program serves (sshfs, gcsfuse, GlusterFS) mostly comes from elsewhere.
    return kind is not None and (kind in _SHARED or kind.startswith("fuse."))
