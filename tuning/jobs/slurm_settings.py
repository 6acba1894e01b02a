"""What jobs ask Slurm for: the table `[slurm]` of the user's configuration file."""

import re
from dataclasses import dataclass
from typing import Any

from tuning.jobs import own_table

_OURS = (
    "array",
    "begin",
    "clusters",
    "error",
    "export-file",
    "job-name",
    "kill-on-invalid-dep",
    "open-mode",
    "output",
    "parsable",
    "signal",
    "test-only",
    "wait",
    "wrap",
)
"""Options of sbatch that would hide a job, its output or its end from Hone."""
_FLAG = re.compile(r"--[a-z][a-z-]*")
_LEAST = {"nodes": 1, "cores": 1, "memory_gb": 0.0, "gpus": 0}
_MOST = {"nodes": 1024, "cores": 4096, "memory_gb": 1e5, "gpus": 64}


@dataclass(frozen=True)
class SlurmSettings:
    partition: str = ""
    account: str = ""
    qos: str = ""
    time: str = ""
    """The limit as sbatch takes it, such as 4:00:00 or 1-12; empty: the partition's."""
    nodes: int = 1
    """Of the tuning step; the steps after it run on the first one."""
    cores: int = 4
    memory_gb: float = 8.0
    """Of each node; 0: the partition's default."""
    gpus: int = 0
    """Of each node, a process for each of them; 0: one process a node."""
    modules: tuple[str, ...] = ()
    """For `module load` before anything else."""
    container: tuple[str, ...] = ()
    """What a step's command is put behind, such as apptainer exec --nv IMAGE."""
    container_python: str = "python3"
    """The interpreter in the container that has Hone."""
    launch: tuple[str, ...] = ()
    """More options of `accelerate launch`, where there are several processes."""
    options: tuple[str, ...] = ()
    """More options of sbatch."""
    requeue: bool = True
    """Go on by itself, from the checkpoint, after a preemption, a node that went down, or the time limit."""


def load() -> SlurmSettings:
    """
    Raises:
        HoneError: as `own_table.load`.
    """
    return own_table.load("slurm", SlurmSettings, _LEAST, _MOST, _complaint)


def _complaint(key: str, value: Any) -> str | None:
    for option in value if key == "options" else ():
        flag = _FLAG.match(option)
        if flag is None:
            return f"has {option!r}; each must be a long one, such as --constraint=a100"
        if flag.group().removeprefix("--") in _OURS:
            return f"has {option!r}; this one is set by Hone"
    return None
