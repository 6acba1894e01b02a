import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from evals.sandbox.sandbox import Sandbox, open_sandbox
from evals.tasks.base import Task
from evals.tasks.custom import load
from tests.conftest import ROOT
from tests.evals.task_data import answer

ADD = {"prompt": "def add(a, b):\n", "entry_point": "add", "tests": "assert add(1, 2) == 3"}
ASKED = {
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Write area(r)."}],
    "entry_point": "area",
    "setup": "import math",
    "tests": "def check(candidate):\n    assert math.isclose(candidate(1), math.pi)\n",
    "reference": "import math\n\ndef area(r):\n    return math.pi * r * r\n",
    "id": "area",
    "group": "circles",
}
CAPITAL = {"prompt": "The capital of France is", "reference": "Paris", "stop": ["\n", "."], "max_tokens": 8}


def written(tmp_path: Path, *rows: dict[str, Any], name: str = "own.jsonl") -> Task:
    path = tmp_path / name
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return load(path)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


def test_known_answers(tmp_path: Path, sandbox: Sandbox) -> None:
    task = written(tmp_path, ADD, ASKED, CAPITAL)
    known = list(task.references())
    assert [passes for _, _, passes in known] == [False, True, False, True, False]
    for item, text, passes in known:
        assert (task.judge(item, answer(text), sandbox).value == 1.0) == passes, item.id


@pytest.mark.parametrize(
    "text",
    [
        "    return a + b\n\nprint(add(1,",
        "```python\ndef add(a, b):\n    return a + b\n```",
        "    return a + b<|endoftext|>",
    ],
)
def test_a_program_is_found_in_an_answer_to_a_prompt(tmp_path: Path, sandbox: Sandbox, text: str) -> None:
    task = written(tmp_path, ADD)
    assert task.judge(task.items()[0], answer(text), sandbox).value == 1.0


def test_a_prompt_in_words_is_answered_with_code(tmp_path: Path, sandbox: Sandbox) -> None:
    task = written(tmp_path, {**ADD, "prompt": "Write add(a, b)."})
    text = "Sure:\n```python\ndef add(a, b):\n    return a + b\n```"
    assert task.judge(task.items()[0], answer(text), sandbox).value == 1.0


def test_questions_are_asked_as_they_are_written(tmp_path: Path) -> None:
    task = written(tmp_path, ADD, ASKED, CAPITAL)
    first, second, third = (task.ask(item, None) for item in task.items())
    assert (first.prompt, first.messages) == (ADD["prompt"], ())
    assert second.prompt is None
    assert [(message.role, message.content) for message in second.messages] == [
        ("system", "Be short."),
        ("user", "Write area(r)."),
    ]
    assert (third.stop, third.max_tokens) == (("\n", "."), 8)
    assert [(item.id, item.group) for item in task.items()] == [("1", "1"), ("area", "circles"), ("3", "3")]


def test_a_text_is_compared_after_its_stop_strings(tmp_path: Path) -> None:
    task = written(tmp_path, CAPITAL)
    assert not task.needs_sandbox
    item = task.items()[0]
    verdict = task.judge(item, answer(" Paris.\nThe capital"), None)
    assert (verdict.value, verdict.error, verdict.extracted) == (1.0, None, "Paris")
    wrong = task.judge(item, answer(" Parys"), None)
    assert (wrong.value, wrong.error, wrong.detail) == (0.0, "wrong answer", "want 'Paris', got 'Parys'")
    assert wrong.extra["edit_similarity"] == pytest.approx(0.8)


def test_the_known_wrong_text_is_wrong_whatever_the_stop_strings_are(tmp_path: Path) -> None:
    task = written(tmp_path, {**CAPITAL, "stop": [" "]}, {**CAPITAL, "stop": ["a", "i"], "reference": "P"})
    for item, text, passes in task.references():
        assert (task.judge(item, answer(text), None).value == 1.0) == passes, text


def test_a_mark_of_the_encoding_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({**CAPITAL, "reference": "\u2028Pari\u00e9"}, ensure_ascii=False) + "\n", "utf-8-sig")
    (item,) = load(path).items()
    assert item.data["reference"] == "\u2028Pari\u00e9"


def test_other_content_is_another_version(tmp_path: Path) -> None:
    first = written(tmp_path, ADD)
    assert written(tmp_path, ADD).version == first.version
    assert written(tmp_path, {**ADD, "tests": "assert add(1, 1) == 2"}).version != first.version
    assert first.name == "own"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tests": "", "entry_point": "f"}, "a prompt or messages"),
        ({**ADD, "messages": []}, "a prompt or messages"),
        ({"prompt": "a"}, "tests with an entry_point, or a reference"),
        ({"prompt": "a", "tests": "assert f()"}, "'entry_point' is missing"),
        ({"prompt": 1, "reference": "a"}, "'prompt' is missing or no text"),
        ({**ADD, "test": "x"}, "unknown field test"),
        ({**CAPITAL, "stop": ["a", "b", "c", "d", "e"]}, "at most 4"),
        ({**CAPITAL, "stop": [""]}, "at most 4"),
        ({**CAPITAL, "max_tokens": 0}, "max_tokens"),
        ({**CAPITAL, "max_tokens": True}, "max_tokens"),
        ({"messages": [{"role": "user"}], "reference": "a"}, "role and content"),
        ({"messages": [], "reference": "a"}, "role and content"),
        ({**ADD, "id": 3}, "'id' is missing or no text"),
    ],
)
def test_a_question_with_a_mistake_is_refused_with_its_line(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(HoneError, match=message) as refused:
        written(tmp_path, CAPITAL, row)
    assert "line 2" in str(refused.value)


def test_one_id_for_two_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HoneError, match="one id"):
        written(tmp_path, ASKED, ASKED)


@given(
    record=st.dictionaries(
        st.sampled_from(["prompt", "messages", "tests", "reference", "stop", "id"]),
        st.none()
        | st.text(max_size=3)
        | st.lists(st.none() | st.dictionaries(st.text(max_size=4), st.text(max_size=2)), max_size=2),
    )
)
def test_any_record_is_a_question_or_refused(tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("custom") / "a.jsonl"
    path.write_text(json.dumps(record))
    try:
        task = load(path)
    except HoneError:
        return
    for item in task.items():
        task.ask(item, None)


PYTHON = """
from dataclasses import dataclass
from evals.tasks.base import Ask, Item, Verdict


@dataclass(frozen=True)
class Length:
    name = "length"
    version = "length@1"
    needs_sandbox = False
    samples_per_item: int = 1
    temperature: float = 0.0

    def items(self):
        return [Item("1", "1", {"wanted": 3})]

    def ask(self, item, fim):
        return Ask("Say three letters:", (), (), 5)

    def judge(self, item, answer, sandbox):
        value = float(len(answer.text) == item.data["wanted"])
        return Verdict(value, None if value else "wrong answer", "", answer.text)

    def references(self):
        return [(self.items()[0], "abc", True), (self.items()[0], "ab", False)]


def task():
    return Length()
"""


def test_a_python_file_gives_its_own_task(tmp_path: Path) -> None:
    path = tmp_path / "length.py"
    path.write_text(PYTHON)
    task = load(path)
    for item, text, passes in task.references():
        assert (task.judge(item, answer(text), None).value == 1.0) == passes


@pytest.mark.parametrize(("language", "ending", "count"), [("json", "jsonl", 4), ("python", "py", 2)])
def test_the_examples_of_the_page_are_tasks(
    tmp_path: Path, sandbox: Sandbox, language: str, ending: str, count: int
) -> None:
    page = (ROOT / "docs" / "evals.md").read_text("utf-8")
    (block,) = re.findall(rf"```{language}\n(.*?)```", page, re.S)
    path = tmp_path / f"own.{ending}"
    path.write_text(block, "utf-8")
    task = load(path)
    assert len(task.items()) == count
    known = list(task.references())
    assert {passes for _, _, passes in known} == {True, False}
    for item, text, passes in known:
        assert (task.judge(item, answer(text), sandbox).value == 1.0) == passes, item.id


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "no attribute 'task'"),
        ("def task(:", "SyntaxError"),
        ("def task():\n    raise KeyError('a')", "KeyError"),
        ("def task():\n    return 3", "has no name"),
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
    ],
)
def test_a_python_file_with_a_mistake_is_refused(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(HoneError, match=message) as refused:
        load(path)
    assert "\n" not in str(refused.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HoneError, match=r"\.py or a \.jsonl"):
        load(tmp_path / "a.yaml")
    with pytest.raises(HoneError, match="no Python file"):
        load(tmp_path / "a.py")
    with pytest.raises(HoneError, match="cannot read"):
        load(tmp_path / "a.jsonl")


SAYS = {"prompt": "What is it?", "expect": ["(?i)binary search", "sorted"], "reference": "A binary search, sorted."}


def test_an_answer_has_to_match_all_that_is_expected(tmp_path: Path) -> None:
    task = written(tmp_path, SAYS)
    [item] = task.items()
    assert not task.needs_sandbox
    assert task.judge(item, answer("It is a Binary Search in a sorted list."), None).value == 1.0
    verdict = task.judge(item, answer("It is a binary search."), None)
    assert (verdict.value, verdict.detail) == (0.0, "nothing matches sorted")
    assert [(text, passes) for _, text, passes in task.references()] == [(SAYS["reference"], True), ("", False)]


def test_a_program_has_to_match_what_is_expected_and_pass(tmp_path: Path, sandbox: Sandbox) -> None:
    task = written(tmp_path, {**ADD, "expect": ["return"]})
    [item] = task.items()
    assert task.judge(item, answer("    return a + b\n"), sandbox).value == 1.0
    assert task.judge(item, answer("    return a - b\n"), sandbox).error == "wrong answer"
    lambda_form = "```python\nadd = lambda a, b: a + b\n```"
    assert task.judge(item, answer(lambda_form), sandbox).value == 0.0


@pytest.mark.parametrize(
    ("expect", "line"),
    [
        ("text", "expect is a list of regular expressions"),
        ([], "expect is a list of regular expressions"),
        (["("], "is no regular expression"),
        (["a*"], "matches the empty text, so it checks nothing"),
    ],
)
def test_a_bad_expectation_is_named(tmp_path: Path, expect: Any, line: str) -> None:
    with pytest.raises(HoneError, match=line):
        written(tmp_path, {**SAYS, "expect": expect})
