"""A tuning run on all nodes of a job of Slurm: `srun` starts this on each, and this `accelerate launch` there.

srun ends its tasks at once when it is told to end (SIGTERM), and the launcher gives its processes thirty seconds; a
checkpoint may take longer. So srun is sent SIGUSR1, which it passes on, and the first process of the run, which decides
for all of them, is told directly.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from tuning.jobs import launching
from tuning.jobs.launching import Place, end_first, exit_code, pass_on


def across(nodes: int, command: Sequence[str]) -> int:
    """Runs a command on each node, and tells it by SIGUSR1 when this process is told to end; returns its exit code."""
    options = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    # Since 22.05 srun does not take this from the batch script's options.
    cores = os.environ.get("SLURM_CPUS_PER_TASK")
    words = ["srun", *options, *([f"--cpus-per-task={cores}"] if cores else []), *command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, errors="replace")
    pass_on((signal.SIGTERM,), lambda: process.send_signal(signal.SIGUSR1))
    launching.pass_report(process)
    return exit_code(process.returncode)


def on_node(processes: int, options: Sequence[str], command: Sequence[str]) -> int:
    """Starts this node's processes of the run; returns the launcher's exit code.

    Args:
        processes: of each node.
        options: more of `accelerate launch`.
        command: of Hone, beginning with -m and its module.
    """
    rank = int(os.environ["SLURM_NODEID"])
    told = False
    process = subprocess.Popen(
        launcher(processes, options, command, os.environ),
        # A folder of the user's named like a module of ours is none.
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        # srun signals all processes of a task, and this one would end them.
        preexec_fn=lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),  # noqa: PLW1509
    )

    def tell() -> None:
        nonlocal told
        told = True
        if not rank:
            end_first(process)

    pass_on((signal.SIGUSR1, signal.SIGTERM), tell)
    code = exit_code(process.wait())
    if code and rank and told:
        # The first one's code says how it went; this one's would end it.
        return 0
    if code and rank:
        time.sleep(launching.OTHERS_SECONDS)
    return code


def launcher(
    processes: int, options: Sequence[str], command: Sequence[str], environment: "os._Environ[str] | dict[str, str]"
) -> list[str]:
    """The command line of `accelerate launch` on this node, see srun(1) for the variables."""
    # Of where srun was started: the batch script's node, which is the first.
    address = environment["SLURM_LAUNCH_NODE_IPADDR"]
    port = launching.FIRST_PORT + int(environment["SLURM_JOB_ID"]) % launching.PORTS
    place = Place(int(environment["SLURM_NNODES"]), int(environment["SLURM_NODEID"]), address, port)
    return launching.launcher(processes, options, command, place)


def main() -> int:
    split = sys.argv.index("--")
    (what, count, *options), command = sys.argv[1:split], sys.argv[split + 1 :]
    if what == "srun":
        return across(int(count), command)
    return on_node(int(count), options, command)


if __name__ == "__main__":
    sys.exit(main())
