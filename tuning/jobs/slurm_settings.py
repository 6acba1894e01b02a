"""What jobs ask Slurm for: the table `[slurm]` of the user's configuration file."""

import difflib
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from assistant.errors import HoneError

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
        HoneError: a key is unknown or has an impossible value, or a repository's file has such a table.
    """
    # Supervisors read specs, which hold these settings; what parses files would take megabytes of each of them.
    from assistant import config

    given: dict[str, Any] = {}
    types = get_type_hints(SlurmSettings)
    for file, table in config.tables("slurm"):
        # A cloned repository must not start programs or spend somebody's hours.
        if file.name == config.REPOSITORY_FILE:
            raise HoneError(f"{file}: [slurm] cannot be set by a repository; set it in {config.user_file()}")
        known = [each.name for each in fields(SlurmSettings)]
        for key, value in table.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0)
                raise HoneError(f"{file}: unknown key slurm.{key}; the nearest known one is {near[0]!r}")
            given[key] = _checked(file, key, value, types[key])
    return SlurmSettings(**given)


def _checked(file: Path, key: str, value: Any, kind: Any) -> Any:
    if kind is bool and not isinstance(value, bool):
        raise HoneError(f"{file}: slurm.{key} = {value!r} must be true or false")
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            raise HoneError(f"{file}: slurm.{key} = {value!r} must be a {'whole ' if kind is int else ''}number")
        if not _LEAST[key] <= value <= _MOST[key]:
            bounds = f"{_LEAST[key]:g} to {_MOST[key]:g}"
            raise HoneError(f"{file}: slurm.{key} = {value!r} is not possible; allowed: {bounds}")
        return kind(value)
    if kind is str and not _is_line(value):
        raise HoneError(f"{file}: slurm.{key} = {value!r} must be a text of one line")
    if get_origin(kind) is tuple:
        if not isinstance(value, list) or not all(_is_line(one) and one for one in value):
            raise HoneError(f"{file}: slurm.{key} = {value!r} must be a list of texts of one line, one word each")
        value = tuple(value)
    if key == "options":
        for option in value:
            flag = _FLAG.match(option)
            if flag is None or flag.group().removeprefix("--") in _OURS:
                raise HoneError(f"{file}: slurm.options has {option!r}; {_refusal(flag)}")
    return value


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _refusal(flag: "re.Match[str] | None") -> str:
    return "each must be a long one, such as --constraint=a100" if flag is None else "this one is set by Hone"
