import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant import prompts
from assistant.errors import HoneError
from evals.sandbox.sandbox import Sandbox, open_sandbox
from evals.tasks.infill import Infill, load, middle
from tests.evals.task_data import answer, misjudged, published

HEAD = 'import math\n\n\ndef helper(x):\n    return x + 1\n\n\ndef total(values):\n    """The sum of the roots."""\n'
LINES = [
    "    result = 0\n",
    "    for value in values:\n",
    "        result += math.sqrt(value)\n",
    "    return round(result, 6)\n",
]
TEST = """

def check(candidate):
    assert candidate([4, 9]) == 5
    assert helper(1) == 2
    assert candidate([]) == 0
"""


def row(kind: str, first: int, last: int, number: int = 0) -> dict[str, Any]:
    return {
        "task_id": f"{kind}/Own/{number}/L{first}_L{last}",
        "entry_point": "total",
        "prompt": HEAD + "".join(LINES[:first]),
        "suffix": "".join(LINES[last + 1 :]),
        "canonical_solution": "".join(LINES[first : last + 1]),
        "test": TEST,
    }


def span(start: int, end: int) -> dict[str, Any]:
    body = "".join(LINES)
    return row("RandomSpanInfilling", 0, 3) | {
        "task_id": f"RandomSpanInfilling/Own/0/{start}",
        "prompt": HEAD + body[:start],
        "canonical_solution": body[start:end],
        "suffix": body[end:],
    }


def made(tmp_path: Path, rows: list[dict[str, Any]]) -> Infill:
    path = tmp_path / "own.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(each) + "\n" for each in rows).encode()))
    return load(path)


@pytest.fixture
def single(tmp_path: Path) -> Infill:
    return made(tmp_path, [row("SingleLineInfilling", line, line) for line in range(4)])


@pytest.fixture
def multi(tmp_path: Path) -> Infill:
    return made(tmp_path, [row("MultiLineInfilling", 1, 2), row("MultiLineInfilling", 0, 3, number=1)])


@pytest.fixture
def spans(tmp_path: Path) -> Infill:
    return made(tmp_path, [span(5, 23), span(40, 70)])


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


@pytest.mark.parametrize("form", ["single", "multi", "spans"])
def test_known_answers(form: str, sandbox: Sandbox, request: pytest.FixtureRequest) -> None:
    task = request.getfixturevalue(form)
    for item, text, passes in task.references():
        verdict = task.judge(item, answer(text), sandbox)
        assert (verdict.value == 1.0) == passes, (item.id, verdict.detail)
        assert verdict.extra["exact_match"] == float(passes)
    for item in task.items():
        assert task.judge(item, answer(item.data["canonical_solution"]), sandbox).value == 1.0


def test_each_problem_is_one_group_with_one_good_and_one_bad_reference(single: Infill, multi: Infill) -> None:
    assert {item.group for item in single.items()} == {"Own/0"}
    assert len(list(single.references())) == 2
    assert [item.group for item in multi.items()] == ["Own/0", "Own/1"]
    assert (single.name, multi.name) == ("infill-single-line", "infill-multi-line")


def test_a_right_middle_need_not_be_the_original(single: Infill, sandbox: Sandbox) -> None:
    verdict = single.judge(single.items()[2], answer("        result = result + value ** 0.5\nmore"), sandbox)
    assert (verdict.value, verdict.extra["exact_match"]) == (1.0, 0.0)
    assert verdict.extracted == "        result = result + value ** 0.5\n"


@pytest.mark.parametrize("tokens", prompts.FIM_FAMILIES)
def test_a_model_with_infilling_tokens_is_asked_with_them(multi: Infill, tokens: prompts.FimTokens) -> None:
    item = multi.items()[0]
    ask = multi.ask(item, tokens)
    assert ask.prompt == prompts.infill(item.data["prompt"], item.data["suffix"], tokens)
    assert ask.parse_special


def test_any_other_model_goes_on_with_the_prefix(multi: Infill, single: Infill) -> None:
    item = multi.items()[0]
    ask = multi.ask(item, None)
    assert (ask.prompt, ask.parse_special) == (item.data["prompt"], False)
    assert single.ask(single.items()[0], None).stop == ("\n",)


@pytest.mark.parametrize(
    ("kind", "text", "kept"),
    [
        ("single-line", "    for v in values:\n        pass", "    for v in values:\n"),
        ("single-line", "    for v in values:", "    for v in values:\n"),
        ("single-line", "    for v in values:<|endoftext|>", "    for v in values:\n"),
        ("multi-line", "    x = 1\n<|fim_pad|>junk", "    x = 1\n"),
        # The suffix again, whole or as far as the token limit let it.
        ("multi-line", "    x = 1\n    return round(result, 6)\n", "    x = 1\n"),
        ("multi-line", "    x = 1\n    return round(result, 6)\n\n\ndef other():\n", "    x = 1\n"),
        ("multi-line", "    x = 1\n    return round(resul", "    x = 1\n"),
        # Something else that begins like it.
        ("multi-line", "    x = 1\n    return round(result)\n", "    x = 1\n    return round(result)\n"),
        ("multi-line", "    x = 1\nprint(total([]))\n", "    x = 1\n"),
    ],
)
def test_what_an_answer_puts_between_prefix_and_suffix(multi: Infill, kind: str, text: str, kept: str) -> None:
    assert middle(kind, multi.items()[0].data, text)[0] == kept


def test_a_span_in_the_middle_of_a_line_is_asked_for_and_put_back_there(tmp_path: Path, sandbox: Sandbox) -> None:
    spans = made(tmp_path, [span(52, 70)])
    (item,) = spans.items()
    prefix, suffix = item.data["prompt"], item.data["suffix"]
    assert not prefix.endswith("\n")
    assert suffix[0] not in "\n "
    tokens = prompts.FIM_FAMILIES[0]
    ask = spans.ask(item, tokens)
    assert (ask.prompt, ask.stop) == (prompts.infill(prefix, suffix, tokens), ())
    right = item.data["canonical_solution"]
    for text in (right, right + suffix, right + suffix[:20]):
        verdict = spans.judge(item, answer(text), sandbox)
        assert (verdict.value, verdict.extra["exact_match"], verdict.extracted) == (1.0, 1.0, right)
    wrong = spans.judge(item, answer(right.replace("sqrt", "floor")), sandbox)
    assert wrong.value == wrong.extra["exact_match"] == 0.0


def test_an_original_that_repeats_its_suffix_is_not_cut(tmp_path: Path, sandbox: Sandbox) -> None:
    line = "    the_number_of_values += 1\n"
    twice = row("MultiLineInfilling", 0, 0) | {
        "prompt": "def total(values):\n    the_number_of_values = len(values)\n",
        "canonical_solution": line,
        "suffix": line + "    return the_number_of_values\n",
        "test": "def check(candidate):\n    assert candidate([]) == 2\n",
    }
    task = made(tmp_path, [twice])
    assert middle("multi-line", task.items()[0].data, line) == (line, False)
    assert task.judge(task.items()[0], answer(line), sandbox).value == 1.0


def test_an_answer_that_the_limit_cut_is_truncated(multi: Infill, single: Infill, sandbox: Sandbox) -> None:
    assert multi.judge(multi.items()[0], answer("    for value in", "length"), sandbox).error == "truncated"
    assert single.judge(single.items()[1], answer("    for value in\n", "length"), sandbox).error == "syntax"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"task_id": "HumanEval/0"}', "no problem of HumanEval-Infilling"),
        ('{"task_id": "SingleLineInfilling/A/0/L1"}', "'prompt' is missing"),
        ("nonsense", "line 1: no JSON"),
        (json.dumps(row("SingleLineInfilling", 1, 1) | {"prompt": "def ("}), "does not parse"),
        (json.dumps(row("SingleLineInfilling", 1, 1)) + "\n" + json.dumps(row("MultiLineInfilling", 1, 1)), "mixes"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(HoneError, match=message):
        load(path)


def test_a_folder_is_answered_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "HumanEval-SingleLineInfilling.jsonl.gz").write_bytes(b"")
    with pytest.raises(HoneError, match=r"HumanEval-SingleLineInfilling\.jsonl\.gz"):
        load(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "count"),
    [("SingleLine", 1033), ("MultiLine", 5815), ("RandomSpan", 1640), ("RandomSpanInfillingLight", 164)],
)
def test_the_published_originals_pass_and_references_that_give_up_fail(sandbox: Sandbox, name: str, count: int) -> None:
    name = name if name.endswith("Light") else f"{name}Infilling"
    task = load(published(f"humaneval-infilling/HumanEval-{name}.jsonl.gz"))
    items = task.items()
    assert len(items) == count
    known = [(item, item.data["canonical_solution"], True) for item in items]
    known += [each for each in task.references() if not each[2]]
    assert misjudged(task, known, sandbox) == []
