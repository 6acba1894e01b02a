"""A tuning run on several nodes of Ray: the job's own is the first, the others are reserved as tasks of Ray; on each
runs `accelerate launch`. As `python -m tuning.jobs.ray_nodes NODES PROCESSES NAME=AMOUNT.. -- OPTION.. -- COMMAND..`.

Ray is imported here and in `ray_workers.py` alone, by the nodes' interpreter. What is told to leave is the first
process of the run, which decides for all of them.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuning.jobs import launching, ray_workers
from tuning.jobs.launching import Place, end_first, exit_code, pass_on
from tuning.jobs.metrics import VARIABLE

_CHECK_SECONDS = 1.0
_PASSED_ON = ("HONE_", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Of the environment, for the other nodes; the rest is theirs."""


def across(
    nodes: int, processes: int, reserved: dict[str, float], options: Sequence[str], command: Sequence[str]
) -> int:
    """Runs a command on this node and the others; returns its exit code here.

    Args:
        processes: of each node.
        reserved: what each of the other nodes has to have free.
        options: more of `accelerate launch`.
        command: of Hone, beginning with -m and its module.
    """
    place = Place(nodes, 0, "127.0.0.1", _free_port())
    others: list[Any] = []
    held: dict[str, int] = {}
    if nodes > 1:
        place, others, held = _begin_others(place, processes, reserved, options, command)
    process = subprocess.Popen(
        launching.launcher(processes, options, command, place),
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        env=_environment(held),
    )
    # The launcher, which Ray tells too, gives its processes thirty seconds.
    pass_on((signal.SIGTERM,), lambda: end_first(process))
    if others:
        threading.Thread(target=_watch, args=(others, process), daemon=True).start()
    launching.pass_report(process)
    return exit_code(process.returncode)


def _begin_others(
    place: Place, processes: int, reserved: dict[str, float], options: Sequence[str], command: Sequence[str]
) -> tuple[Place, list[Any], dict[str, int]]:
    """Waits until Ray has found all nodes, and starts the run on those besides this one; also gives how many cores are
    reserved on each node, by Ray's names of them."""
    import ray
    from ray.util.placement_group import placement_group, placement_group_table
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    ray.init(log_to_driver=False, logging_level="warning")
    sys.stderr.write(f"waiting for {place.nodes - 1} more of {place.nodes} nodes\n")
    group = placement_group([reserved] * (place.nodes - 1), strategy="SPREAD")
    ray.get(group.ready())
    place = Place(place.nodes, 0, ray.util.get_node_ip_address(), place.port)
    started = []
    for rank in range(1, place.nodes):
        strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank - 1)
        task = ray.remote(_node).options(
            num_cpus=reserved.get("CPU", 0),
            num_gpus=reserved.get("GPU", 0),
            memory=reserved.get("memory") or None,
            resources={name: value for name, value in reserved.items() if name not in ("CPU", "GPU", "memory")},
            scheduling_strategy=strategy,
            max_retries=0,
        )
        there = Place(place.nodes, rank, place.address, place.port)
        started.append(task.remote(launching.launcher(processes, options, command, there), _told(), os.getcwd()))
    # Two parts of a run may lie on one node.
    nodes = Counter(
        [ray.get_runtime_context().get_node_id(), *placement_group_table(group)["bundles_to_node_id"].values()]
    )
    cores = max(1, round(reserved.get("CPU", 1)))
    return place, started, {node: count * cores for node, count in nodes.items()}


def _node(command: list[str], environment: dict[str, str], folder: str) -> int:
    """What a task of Ray runs on another node: the launcher there, whose words go into the job's log."""
    from assistant.children import end_with_parent

    log = Path(environment[VARIABLE]) / "log"
    found = os.pathsep.join(filter(None, sys.path))
    with log.open("ab") as told:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment, "PYTHONPATH": found, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            # It must not outlive the task, which Ray ends with the job.
            preexec_fn=lambda: end_with_parent(signal.SIGTERM),  # noqa: PLW1509
        )
    return process.wait()


def _watch(others: list[Any], process: "subprocess.Popen[str]") -> None:
    """Ends the run here when it cannot go on elsewhere, after the time that a checkpoint may take."""
    import ray

    waiting = list(others)
    while waiting and process.poll() is None:
        done, waiting = ray.wait(waiting, timeout=_CHECK_SECONDS)
        for one in done:
            try:
                code = ray.get(one)
            except Exception as error:
                # Of the node, or of Ray: whatever it is, the run cannot go on without it.
                sys.stderr.write(f"a node was lost: {str(error).splitlines()[0]}\n")
                code = 1
            if code and process.poll() is None:
                end = time.monotonic() + launching.OTHERS_SECONDS
                while process.poll() is None and time.monotonic() < end:
                    time.sleep(_CHECK_SECONDS)
                process.terminate()
                return


def _environment(held: dict[str, int]) -> dict[str, str]:
    # A folder of the user's named like a module of ours is none.
    return {**os.environ, "PYTHONSAFEPATH": "1", **({ray_workers.VARIABLE: json.dumps(held)} if held else {})}


def _told() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def main() -> int:
    first = sys.argv.index("--")
    second = sys.argv.index("--", first + 1)
    nodes, processes, *reserved = sys.argv[1:first]
    amounts = {name: float(value) for name, _, value in (one.rpartition("=") for one in reserved)}
    return across(int(nodes), int(processes), amounts, sys.argv[first + 1 : second], sys.argv[second + 1 :])


if __name__ == "__main__":
    sys.exit(main())
