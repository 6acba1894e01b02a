"""What a figure was measured on."""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path


def describe() -> str:
    """Processor, cores and load average, one line."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, load average {load}"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """`median (minimum to maximum)`."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return []
