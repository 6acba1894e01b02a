"""What a process holds of memory, and what the system says about the lack of it."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tuning import control_groups

_KILLED = re.compile(r"(?:Killed process (\d+) |oom-kill:.*[,\s]pid=(\d+)(?:,|$))")
_DRIFT = 1e-3
"""How far the clock of the kernel's log may be off: nobody sets it right."""


def held(pid: int) -> int:
    """Bytes held by a process and its descendants now (resident; what they share counts for each); 0 when it ended."""
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def available() -> int:
    """Bytes that could be had now without swapping, by this process's cgroup too."""
    free = int(psutil.virtual_memory().available)
    return min([free, *(limit.free for limit in control_groups.limits())])


def total() -> int:
    return min([int(psutil.virtual_memory().total), *(limit.most for limit in control_groups.limits())])


@dataclass(frozen=True)
class Watch:
    """Counters of out-of-memory kills, as they stood when a step began."""

    counts: dict[Path, int]
    since: float
    """Of the clock of the kernel's log, in seconds: it stands still while the machine sleeps."""

    @staticmethod
    def begin(pid: int | str = "self") -> "Watch":
        """
        Args:
            pid: whose cgroup counts.
        """
        counts = {file: count for file in _counters(pid) if (count := _oom_kills(file)) is not None}
        return Watch(counts, time.monotonic())

    @staticmethod
    def of_process(started: float) -> "Watch":
        """For the end of a process that was not watched: the kernel's log alone.

        Args:
            started: as `Identity.started`.
        """
        # What is known of its start counts the machine's sleep.
        slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic() if hasattr(time, "CLOCK_BOOTTIME") else 0.0
        return Watch({}, started / os.sysconf("SC_CLK_TCK") - slept)

    def evidence(self, pid: int) -> tuple[str, ...]:
        """What says that `pid` was killed for want of memory since; the kernel's log where this user may read it.

        The counter of a cgroup counts kills of any of its processes, so it is evidence, not proof.
        """
        found = [
            f"the kernel's log: {line}"
            for at, line in kernel_log()
            if at >= self.since * (1 - _DRIFT) - 1
            and any(str(pid) == number for match in _KILLED.finditer(line) for number in match.groups())
        ]
        for file, before in self.counts.items():
            count = _oom_kills(file)
            if count is not None and count > before:
                found.append(f"{file}: oom_kill {before} -> {count}")
        return tuple(found[:4])


def kernel_log() -> list[tuple[float, str]]:
    """The kernel's messages with the seconds of its clock; none where they may not be read."""
    try:
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    lines = []
    try:
        while True:
            try:
                # One record a read, see Documentation/ABI/testing/dev-kmsg: `prefix;text`, the time in microseconds.
                record = os.read(descriptor, 8192).decode("utf-8", "replace")
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # Overwritten while being read; the next one follows.
            prefix, _, text = record.partition(";")
            lines.append((int(prefix.split(",")[2]) / 1e6, text.split("\n")[0]))
    except (OSError, ValueError, IndexError):
        pass
    finally:
        os.close(descriptor)
    return lines


def _oom_kills(file: Path) -> int | None:
    try:
        for line in file.read_text("ascii").splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
    except (OSError, ValueError):
        pass
    return None


def _counters(pid: int | str) -> list[Path]:
    """The files that count kills for want of memory: of the second version of cgroups and of the first."""
    return [folder / name for folder in control_groups.folders(pid) for name in ("memory.events", "memory.oom_control")]
