"""What the sandbox needs to know of this machine: identity, interpreter, system folders."""

import os
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21

_ETC = (
    "alternatives",
    "group",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "passwd",
    "protocols",
    "services",
)
SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
FACTS = tuple(f"/proc/{name}" for name in ("cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "uptime", "version"))
"""Files that tell of the machine and of no process."""

_FIRST_UID = 60_100
_UIDS = 800
"""A range that Debian hands out on demand only (policy 9.2.2: 60000 to 64999)."""


def configuration_files() -> list[str]:
    """Files of /etc that programs need and that hold no secret."""
    return [path for name in _ETC if os.path.exists(path := f"/etc/{name}")]


def interpreter() -> str:
    """The interpreter below any virtual environment."""
    return str(Path(getattr(sys, "_base_executable", None) or sys.executable).resolve())


def interpreter_trees() -> list[str]:
    """Folders that the interpreter reads, but for system folders."""
    found = {Path(sys.base_prefix).resolve(), Path(sys.base_exec_prefix).resolve(), Path(interpreter()).parent}
    outside = sorted(str(path) for path in found if path.parts[1:2] not in {("usr",), ("bin",)} and path != Path("/"))
    return [path for path in outside if not any(path != other and under(path, other) for other in outside)]


def package_folders() -> list[str]:
    """Where the installed packages are, which candidates may import as they may with other harnesses."""
    found = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return list(dict.fromkeys(str(Path(path).resolve()) for path in found if os.path.isdir(path)))


def under(path: str, folder: str) -> bool:
    """Whether a path is the folder or lies in it."""
    return Path(path).is_relative_to(folder)


@cache
def capabilities() -> int:
    """The effective set of this process, as bits."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), 0)


def is_root(*needed: int) -> bool:
    """Whether this is uid 0 with these capabilities."""
    return os.geteuid() == 0 and all(capabilities() >> bit & 1 for bit in needed)


def uid_for(index: int) -> int:
    """A user that owns nothing, for programs that root runs; another one for each worker of this process, so that
    limits per user count one program alone."""
    return _FIRST_UID + (os.getpid() * 16 + index) % _UIDS


def closed_to_others(paths: Iterable[Path]) -> bool:
    """Whether some of these folders may be entered by their owner or group alone."""
    return any(path.is_dir() and not path.stat().st_mode & 0o001 for path in set(paths))


def processes_of_user() -> int:
    """Threads of this user on the machine, which RLIMIT_NPROC counts (setrlimit(2))."""
    count = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.geteuid():
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return count


def environment(home: str) -> dict[str, str]:
    """All that programs see of an environment. Strings hash alike in every run, so verdicts repeat."""
    return {
        "PATH": f"{Path(interpreter()).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
