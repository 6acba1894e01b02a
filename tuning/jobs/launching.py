"""One node's part of a tuning run of several processes: `accelerate launch`, and what its launcher has to be spared."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FIRST_PORT = 20_000
PORTS = 10_000
OTHERS_SECONDS = 60.0
"""When a node fails, what the other ones have left for a checkpoint before they are ended."""


@dataclass(frozen=True)
class Place:
    """Where a node stands among those of the run."""

    nodes: int
    rank: int
    """From 0."""
    address: str
    """Of the first node."""
    port: int


def launcher(processes: int, options: Sequence[str], command: Sequence[str], place: Place) -> list[str]:
    """The command line of `accelerate launch` on a node.

    Args:
        processes: of each node.
        options: more of `accelerate launch`.
        command: of Hone, beginning with -m and its module.
    """
    return [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *(() if "--use_fsdp" in options else ("--multi_gpu",)),
        *("--num_machines", str(place.nodes), "--machine_rank", str(place.rank)),
        *("--num_processes", str(place.nodes * processes)),
        *("--main_process_ip", place.address, "--main_process_port", str(place.port)),
        *("--mixed_precision", "no", "--dynamo_backend", "no", *options, *command),
    ]


def is_report(line: str) -> bool:
    """Whether a line is what a command of Hone prints for --json: one object with its version."""
    try:
        found = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and "schema_version" in found


def pass_report(process: "subprocess.Popen[str]") -> None:
    """Of what a run prints, the report to standard output when it has ended, once; all else to standard error.

    The report must be alone there, whatever else processes and libraries print.
    """
    assert process.stdout is not None
    report = ""
    for line in process.stdout:
        if is_report(line):
            report = line
        else:
            sys.stderr.write(line)
    process.wait()
    sys.stdout.write(report)


def pass_on(numbers: Sequence[signal.Signals], tell: Callable[[], object]) -> None:
    for number in numbers:
        signal.signal(number, lambda *_: tell())


def end_first(launched: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    """Tells the first process of the run to leave, or its launcher when it is not there yet.

    The first process decides for all of them, and the launcher would give them thirty seconds: a checkpoint may take
    longer.
    """
    import psutil

    try:
        for child in psutil.Process(launched.pid).children():
            if child.environ().get("RANK") == "0":
                child.terminate()
                return
    except psutil.Error:
        pass
    launched.terminate()


def exit_code(returned: int) -> int:
    """As a shell gives it: 128 and more for a signal."""
    return returned if returned >= 0 else 128 - returned
