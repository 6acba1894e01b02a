"""How many cores this process may use; `taskset`, a container or Slurm may leave it fewer than the machine has."""

import os


def usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical() -> int:
    """As many threads as matrix products gain from: two on one core only wait for each other."""
    import psutil

    return max(1, min(psutil.cpu_count(logical=False) or 1, usable()))
