"""An answer that is ended early is judged as the whole one would be."""

import random

import pytest

from evals.tasks import code
from evals.tasks.humaneval import HumanEval

AFTER = (
    "assert f(1) == 2\n",
    "# a test\nprint(f(2))\n",
    "# a comment\n    return 5\nx = 1\n",
    "```\nDone.\n",
    '"""text"""\nreturn_value = 3\n',
    "<|endoftext|>import os\n",
    "def other():\n    return 1\n",
    "",
)


@pytest.mark.parametrize("after", AFTER)
def test_the_program_is_the_same_wherever_the_task_has_seen_enough(after: str) -> None:
    task = HumanEval()
    ended = 0
    for item in random.Random(0).sample(list(task.items()), 12):
        prompt, name = item.data["prompt"], item.data["entry_point"]
        whole = item.data["canonical_solution"] + "\n" + after
        judged = code.continuation(prompt, whole, name).code
        for size in range(len(whole) + 1):
            if task.finished(item, whole[:size]):
                ended += 1
                assert code.continuation(prompt, whole[:size], name).code == judged
    if after.startswith(("assert", "def", '"""')):
        assert ended >= 12


def test_a_chat_answer_is_never_ended_early() -> None:
    task = HumanEval(style="chat")
    item = task.items()[0]
    assert not task.finished(item, "```python\n" + item.data["prompt"] + item.data["canonical_solution"] + "```\nDone")
