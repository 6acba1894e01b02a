"""The samples of the ready-made skills: they ask what the skills ask, and they can be failed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.skills import tasks
from assistant.skills.material import Material
from evals.sandbox.sandbox import Sandbox, open_sandbox
from evals.tasks.custom import load
from tests.evals.task_data import answer

FOLDER = Path(__file__).parents[2] / "evals" / "tasks" / "skills"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


def test_every_skill_has_samples():
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == set(tasks.NAMES)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_samples_ask_what_the_skill_asks(name: str):
    told = tasks.request(tasks.named(name), [Material("file", "code.py", "", "code.py", 1)])
    for line in (FOLDER / f"{name}.jsonl").read_text().splitlines():
        [message] = json.loads(line)["messages"]
        assert message["content"].startswith(told)
        assert "\n\ncode.py:\n```python\n" in message["content"]
        assert ("The error:\n```" in message["content"]) == (name == "fix")


@pytest.mark.parametrize("name", tasks.NAMES)
def test_references_pass_and_known_wrong_answers_fail(name: str, sandbox: Sandbox):
    task = load(FOLDER / f"{name}.jsonl")
    known = list(task.references())
    assert sum(passes for _, _, passes in known) == len(task.items()) >= 3
    for item, text, passes in known:
        shown = f"```python\n{text}```" if task.needs_sandbox else text
        assert (task.judge(item, answer(shown), sandbox).value == 1.0) == passes, item.id


@pytest.mark.parametrize("name", ["docstring", "refactor", "fix"])
def test_the_code_as_it_was_fails(name: str, sandbox: Sandbox):
    task = load(FOLDER / f"{name}.jsonl")
    for item in task.items():
        shown = item.data["messages"][0]["content"].split("code.py:\n")[1].split("\n\nThe error")[0]
        assert task.judge(item, answer(shown), sandbox).value == 0.0, item.id


def test_words_that_say_nothing_fail(sandbox: Sandbox):
    task = load(FOLDER / "explain.jsonl")
    for item in task.items():
        assert task.judge(item, answer("This function takes arguments and returns a value."), None).value == 0.0
