"""The batch script of a job on Slurm, and its steps' commands as they are run there. Nothing here starts anything."""

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tuning.jobs.command import HONE
from tuning.jobs.slurm_settings import SlurmSettings
from tuning.jobs.spec import Spec, Step

FILE_NAME = "batch.sh"
_NODES = ("-P", "-m", "tuning.jobs.slurm_nodes")
_MARGIN_SECONDS = 60
"""Slurm may send the signal before the time limit this much earlier or later, see --signal of sbatch(1)."""


def name_of(identifier: str) -> str:
    """What the job with this id is called in Slurm."""
    return f"hone-{identifier}"


def script(job: Path, wanted: Spec, after: Sequence[int] = ()) -> str:
    """A script for sbatch that runs the job in this folder.

    Args:
        after: numbers in Slurm of the jobs that must end well first.
    """
    ours = wanted.slurm
    assert ours is not None
    options = [
        f"--job-name={name_of(job.name)}",
        # Slurm takes % for the beginning of a placeholder.
        f"--output={str(job / 'log').replace('%', '%%')}",
        "--open-mode=append",
        f"--chdir={job}",
        f"--nodes={ours.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={ours.cores}",
        # Before the time limit, to the supervisor alone.
        f"--signal=B:USR2@{math.ceil(wanted.stop_seconds) + _MARGIN_SECONDS}",
        "--requeue" if ours.requeue else "--no-requeue",
        *(f"--{key}={value}" for key in ("partition", "account", "qos", "time") if (value := getattr(ours, key))),
        *([f"--mem={math.ceil(ours.memory_gb * 1e9 / (1 << 20))}M"] if ours.memory_gb else []),
        *([f"--gpus-per-node={ours.gpus}"] if ours.gpus else []),
        *([f"--dependency=afterok:{':'.join(map(str, after))}"] if after else []),
        *ours.options,
    ]
    # Where modules are, a login shell knows them.
    lines = ["#!/bin/bash -l" if ours.modules else "#!/bin/sh", *(f"#SBATCH {shlex.quote(one)}" for one in options)]
    if ours.modules:
        lines.append(f"module load {shlex.join(ours.modules)} || exit 1")
    lines.append("exec " + shlex.join([sys.executable, "-P", "-m", "tuning.jobs.slurm_batch", str(job)]))
    return "\n".join(lines) + "\n"


def placed(step: Step, ours: SlurmSettings) -> Step:
    """The step with its commands as they are run on the nodes: in the container, and a tuning run on all of them."""
    return replace(step, argv=_placed(step.argv, step, ours), resume=_placed(step.resume, step, ours))


def _placed(argv: tuple[str, ...], step: Step, ours: SlurmSettings) -> tuple[str, ...]:
    if not argv:
        return ()
    inside = ours.container_python if ours.container else sys.executable
    words = (inside, *argv[1:]) if argv[0] == sys.executable else argv
    if not step.run or ours.nodes * max(ours.gpus, 1) == 1:
        return (*ours.container, *words)
    # `-m tui tune ...`, which the launcher starts as it stands.
    module = words[len(HONE) - 2 :]
    command = (inside, *_NODES, "node", str(max(ours.gpus, 1)), *ours.launch, "--", *module)
    return (sys.executable, *_NODES, "srun", str(ours.nodes), "--", *ours.container, *command)
