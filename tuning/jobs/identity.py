"""Which process is meant: a PID alone is given to another process sooner or later."""

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

_ENDED = ("Z", "X", "x")
"""States in /proc of processes that run no more, see proc_pid_stat(5)."""


@dataclass(frozen=True)
class Identity:
    """A process of one machine since its last start."""

    pid: int
    started: float
    """As the system counts: clock ticks since the machine started on Linux, else seconds since 1970."""
    boot: str
    """Another one after each start of the machine."""
    host: str
    space: str = ""
    """Which PIDs are meant, where a machine has several sets of them (containers); empty where it has one."""

    def alive(self) -> bool:
        """False for a process that ended and for a PID that now belongs to another one; True for one of another host,
        which cannot be asked."""
        if self.is_elsewhere():
            return True
        return self.boot == boot_id() and _started(self.pid) == self.started

    def is_elsewhere(self) -> bool:
        """A machine may be called otherwise from one moment to the next, and is known by its boot then."""
        return self.host != socket.gethostname() and (self.boot, self.space) != (boot_id(), _space())

    def is_of_earlier_boot(self) -> bool:
        return not self.is_elsewhere() and self.boot != boot_id()


def of(pid: int) -> Identity | None:
    """The process that has this PID now; None when it has ended."""
    started = _started(pid)
    return None if started is None else Identity(pid, started, boot_id(), socket.gethostname(), _space())


def own() -> Identity:
    identity = of(os.getpid())
    assert identity is not None
    return identity


def boot_id() -> str:
    if sys.platform == "linux":
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    import psutil

    return f"{psutil.boot_time():.0f}"


def _space() -> str:
    """The namespace of PIDs, see pid_namespaces(7)."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> float | None:
    """When the process with this PID started; None when it has ended, though its parent may not know yet."""
    if sys.platform == "linux":
        try:
            # The name in parentheses may itself hold blanks and parentheses.
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0].decode("ascii") in _ENDED else float(fields[19])
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None
