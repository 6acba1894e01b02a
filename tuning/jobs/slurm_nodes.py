"""A tuning run on all nodes of a job of Slurm: `srun` starts this on each, and this `accelerate launch` there.

srun ends its tasks at once when it is told to end (SIGTERM), and the launcher gives its processes thirty seconds; a
checkpoint may take longer. So srun is sent SIGUSR1, which it passes on, and the first process of the run, which decides
for all of them, is told directly.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

_FIRST_PORT = 20_000
_PORTS = 10_000
_OTHERS_SECONDS = 60.0
"""When a node fails, what the other ones have left for a checkpoint before srun ends them."""


def across(nodes: int, command: Sequence[str]) -> int:
    """Runs a command on each node, and tells it by SIGUSR1 when this process is told to end; returns its exit code."""
    options = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    # Since 22.05 srun does not take this from the batch script's options.
    cores = os.environ.get("SLURM_CPUS_PER_TASK")
    words = ["srun", *options, *([f"--cpus-per-task={cores}"] if cores else []), *command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, errors="replace")
    _pass_on((signal.SIGTERM,), lambda: process.send_signal(signal.SIGUSR1))
    assert process.stdout is not None
    report = ""
    for line in process.stdout:
        # The report must be alone there and once, whatever else processes and libraries print.
        if is_report(line):
            report = line
        else:
            sys.stderr.write(line)
    code = _code(process.wait())
    sys.stdout.write(report)
    return code


def is_report(line: str) -> bool:
    """Whether a line is what a command of Hone prints for --json: one object with its version."""
    try:
        found = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and "schema_version" in found


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
            _end_first(process)

    _pass_on((signal.SIGUSR1, signal.SIGTERM), tell)
    code = _code(process.wait())
    if code and rank and told:
        # The first one's code says how it went; this one's would end it.
        return 0
    if code and rank:
        time.sleep(_OTHERS_SECONDS)
    return code


def launcher(
    processes: int, options: Sequence[str], command: Sequence[str], environment: "os._Environ[str] | dict[str, str]"
) -> list[str]:
    """The command line of `accelerate launch` on this node, see srun(1) for the variables."""
    nodes = int(environment["SLURM_NNODES"])
    port = _FIRST_PORT + int(environment["SLURM_JOB_ID"]) % _PORTS
    return [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *(() if "--use_fsdp" in options else ("--multi_gpu",)),
        *("--num_machines", str(nodes), "--machine_rank", environment["SLURM_NODEID"]),
        *("--num_processes", str(nodes * processes)),
        # Of where srun was started: the batch script's node, which is the first.
        *("--main_process_ip", environment["SLURM_LAUNCH_NODE_IPADDR"], "--main_process_port", str(port)),
        *("--mixed_precision", "no", "--dynamo_backend", "no", *options, *command),
    ]


def _pass_on(numbers: Sequence[signal.Signals], tell: Any) -> None:
    for number in numbers:
        signal.signal(number, lambda *_: tell())


def _end_first(launched: "subprocess.Popen[bytes]") -> None:
    """Tells the first process of the run to leave, or its launcher when it is not there yet."""
    import psutil

    try:
        for child in psutil.Process(launched.pid).children():
            if child.environ().get("RANK") == "0":
                child.terminate()
                return
    except psutil.Error:
        pass
    launched.terminate()


def _code(returned: int) -> int:
    """As a shell gives it: 128 and more for a signal."""
    return returned if returned >= 0 else 128 - returned


def main() -> int:
    split = sys.argv.index("--")
    (what, count, *options), command = sys.argv[1:split], sys.argv[split + 1 :]
    if what == "srun":
        return across(int(count), command)
    return on_node(int(count), options, command)


if __name__ == "__main__":
    sys.exit(main())
