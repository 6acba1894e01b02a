from collections.abc import Iterator
from dataclasses import replace

import pytest

from assistant import prompts
from evals.errors import HarnessError
from evals.sandbox.outcome import Limits
from evals.sandbox.sandbox import Sandbox, open_sandbox
from evals.tasks.base import MAX_STOP_STRINGS, Ask, Item, Message
from evals.tasks.humaneval import HumanEval
from tests.evals.task_data import answer, misjudged


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


def problem(number: int) -> Item:
    return HumanEval().items()[number]


def test_the_164_problems_are_those_of_the_package() -> None:
    items = HumanEval().items()
    assert [item.id for item in items] == [f"HumanEval/{number}" for number in range(164)]
    assert all(item.group == item.id for item in items)


def test_known_good_answers_pass_and_known_bad_ones_fail(sandbox: Sandbox) -> None:
    task = HumanEval()
    assert misjudged(task, task.references(), sandbox) == []


def test_known_answers_in_the_chat_style(sandbox: Sandbox) -> None:
    task = HumanEval(style="chat")
    some = [known for number, known in enumerate(task.references()) if number % 16 < 2]
    assert misjudged(task, some, sandbox) == []


@pytest.mark.parametrize(
    ("text", "finish_reason", "error"),
    [
        ("", "stop", "no code"),
        (" \n", "length", "truncated"),
        ("    return numbers[", "stop", "syntax"),
        ("    return numbers[", "length", "truncated"),
        ("    import no_such_module_anywhere\n    return True\n", "stop", "import"),
        ("    return False\n", "stop", "wrong answer"),
        ("    return False\n", "length", "truncated"),
        ("    return False\n\nprint(", "length", "wrong answer"),
        ("    raise KeyError('x')\n", "stop", "exception"),
        ("    while True:\n        pass\n", "stop", "timeout"),
        ("    return bytearray(1 << 33)\n", "stop", "memory"),
        ("    import os\n    os._exit(0)\n", "stop", "forged"),
        ("    class Any:\n        def __eq__(self, other): return True\n    return Any()\n", "stop", "wrong answer"),
    ],
)
def test_each_failure_has_its_class(sandbox: Sandbox, text: str, finish_reason: str, error: str) -> None:
    task = HumanEval(limits=Limits(cpu_seconds=1.0, wall_seconds=5.0))
    verdict = task.judge(problem(0), answer(text, finish_reason), sandbox)
    assert (verdict.value, verdict.error) == (0.0, error), verdict.detail
    assert "\n" not in verdict.detail


def test_a_wrong_answer_says_what_was_wanted(sandbox: Sandbox) -> None:
    detail = HumanEval().judge(problem(0), answer("    return 'maybe'\n"), sandbox).detail
    assert "True" in detail
    assert "'maybe'" in detail


def test_the_right_answer_at_the_token_limit_is_right(sandbox: Sandbox) -> None:
    item = problem(0)
    good = item.data["canonical_solution"]
    assert HumanEval().judge(item, answer(good, "length"), sandbox).value == 1.0


def test_an_answer_passes_whatever_the_server_sent_after_it(sandbox: Sandbox) -> None:
    item = problem(0)
    good = item.data["canonical_solution"]
    for after in ("<|endoftext|>", "\ndef main():\n    x = (", "\n```\n\nThis works", "\nprint(1", "</s>"):
        assert HumanEval().judge(item, answer(good + after), sandbox).value == 1.0, after


@pytest.mark.parametrize("number", [32, 38, 50])
def test_a_helper_that_the_tests_use_is_the_problems_own(sandbox: Sandbox, number: int) -> None:
    """An answer that defines the helper again does not judge itself by it."""
    item = problem(number)
    helper = {
        32: "poly(xs, x):\n    return 0.0",
        38: "encode_cyclic(s):\n    return s",
        50: "encode_shift(s):\n    return s",
    }
    value = {32: "0.0", 38: "s", 50: "s"}[number]
    text = f"```python\ndef {helper[number]}\n\ndef {item.data['entry_point']}(s):\n    return {value}\n```"
    assert HumanEval(style="chat").judge(item, answer(text), sandbox).error == "wrong answer"


def test_a_chat_answer_may_leave_the_imports_to_the_prompt(sandbox: Sandbox) -> None:
    item = problem(0)
    function = (item.data["prompt"] + item.data["canonical_solution"]).replace("from typing import List\n", "")
    assert HumanEval(style="chat").judge(item, answer(f"```python\n{function}```"), sandbox).value == 1.0


def test_a_program_is_not_judged_without_a_sandbox() -> None:
    with pytest.raises(HarnessError):
        HumanEval().judge(problem(0), answer("    return True\n"), None)


def test_a_completion_is_asked_for_with_the_prompt_as_it_is() -> None:
    ask = HumanEval().ask(problem(0), prompts.FIM_FAMILIES[0])
    assert ask.prompt == problem(0).data["prompt"]
    assert ask.prompt.endswith('"""\n')
    assert ask.messages == ()
    assert 0 < len(ask.stop) <= MAX_STOP_STRINGS


def test_a_chat_question_shows_the_function_once_and_has_no_stop_strings() -> None:
    ask = HumanEval(style="chat").ask(problem(0), None)
    assert ask.prompt is None
    (message,) = ask.messages
    assert message.role == "user"
    assert message.content.count(problem(0).data["prompt"].strip()) == 1
    assert ask.stop == ()


def test_an_answer_to_a_prompt_without_its_newline_is_judged_the_same(sandbox: Sandbox) -> None:
    task, item = HumanEval(strip_newline=True), problem(0)
    ask = task.ask(item, None)
    assert ask.prompt is not None
    assert not ask.prompt.endswith("\n")
    good = item.data["canonical_solution"]
    for text in (good, "\n" + good):
        assert task.judge(item, answer(text), sandbox).value == 1.0


def test_an_ask_is_a_prompt_or_a_conversation() -> None:
    said = (Message("user", "Hello"),)
    for prompt, messages, stop in ((None, (), ()), ("a", said, ()), ("a", (), ("1", "2", "3", "4", "5"))):
        with pytest.raises(ValueError, match="an ask has"):
            Ask(prompt, messages, stop, 8)
    assert Ask("", (), (), 8).prompt == ""


def test_the_variants_ask_in_other_ways() -> None:
    for task in (HumanEval(samples_per_item=4, temperature=0.8), HumanEval(style="chat")):
        asks = {name: variant.ask(problem(0), None) for name, variant in task.variants().items()}
        assert len({*asks.values(), task.ask(problem(0), None)}) == len(asks) + 1
        for variant in task.variants().values():
            assert (variant.samples_per_item, variant.temperature) == (task.samples_per_item, task.temperature)
    assert HumanEval().version != HumanEval(style="chat").version
    assert replace(HumanEval(), samples_per_item=8).version == HumanEval().version
