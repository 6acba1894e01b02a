import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import HoneError
from evals.sandbox.sandbox import Sandbox, open_sandbox
from evals.tasks import mbpp, mbpp_plus
from evals.tasks.mbpp import Mbpp, load
from tests.evals.task_data import answer, misjudged, published
from tests.tuning.dataset_hub import dataset_hub


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


def google(number: int, name: str, body: str, tests: list[str], **more: Any) -> dict[str, Any]:
    """A row as Google's sanitized set has it."""
    source = f"import math\ndef helper(x):\n  return x\ndef {name}{body}\n"
    return {"task_id": number, "prompt": f"Write {name}.", "code": source, "test_list": tests, **more}


ROWS = [
    google(
        2, "shared", "(a, b):\n  return tuple(set(a) & set(b))", ["assert set(shared((3, 4), (4, 5))) == set((4,))"]
    ),
    google(3, "twice", "(x):\n  return 2 * x", ["assert twice(2) == 4", "assert twice([1]) == [1, 1]"]),
    google(4, "root", "(x):\n  return math.sqrt(x)", ["assert math.isclose(root(2), 1.414, rel_tol=0.001)"])
    | {"test_imports": ["import math"]},
    google(5, "is_even", "(x):\n  return x % 2 == 0", ["assert is_even(2)", "assert not is_even(3)"]),
    google(6, "pairs", "(x):\n  return [(a, a) for a in x]", ["assert pairs([1, 2]) == [(1, 1), (2, 2)]"]),
]
PLUS = {
    2: [[[1, 2], [2, 3]], [[], []]],
    3: [[7], ["ab"], [None], [1.5]],
    4: [[2], [10.0], [-1]],
    5: [[0], [1], [-2]],
    6: [[[]], [[3]]],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sanitized-mbpp.json"
    path.write_text(json.dumps(ROWS))
    return path


@pytest.fixture
def plus_file(tmp_path: Path) -> Path:
    """As EvalPlus writes it."""
    path = tmp_path / "MbppPlus.jsonl.gz"
    rows = [
        {
            "task_id": f"Mbpp/{row['task_id']}",
            "prompt": f'"""\n{row["prompt"]}\n{row["test_list"][0]}\n"""\n',
            "canonical_solution": "\n" + row["code"],
            "assertion": "\n" + "\n".join(row["test_list"]) + "\n",
            "test_imports": row.get("test_imports", []),
            "plus_input": PLUS[row["task_id"]],
            "atol": 0,
        }
        for row in ROWS
    ]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return path


def judged(
    task: Mbpp, number: int, text: str, sandbox: Sandbox, finish_reason: str = "stop"
) -> tuple[float, str | None]:
    item = next(item for item in task.problems if item.id == f"Mbpp/{number}")
    verdict = task.judge(item, answer(text, finish_reason), sandbox)
    return verdict.value, verdict.error


@pytest.mark.parametrize("style", ["docstring", "fewshot", "chat"])
@pytest.mark.parametrize("plus", [False, True])
def test_known_answers_in_every_form(plus_file: Path, sandbox: Sandbox, style: mbpp.Style, plus: bool) -> None:
    task = load(str(plus_file), style, plus)
    assert misjudged(task, task.references(), sandbox) == []
    assert len(list(task.references())) == 2 * len(task.items())


def test_the_forms_of_the_publishers_give_the_same_problems(file: Path, plus_file: Path, tmp_path: Path) -> None:
    lines = tmp_path / "mbpp.jsonl"
    lines.write_text("\n".join(json.dumps({**row, "text": row["prompt"], "prompt": None}) for row in ROWS))
    first, second, third = (load(str(path)).problems for path in (file, plus_file, lines))
    for ours, other, full in zip(first, second, third, strict=True):
        for name in ("text", "assertions", "entry_point", "reference", "setup"):
            assert ours.data[name] == other.data[name] == full.data[name], name


def test_a_folder_joins_both_sets_and_leaves_out_what_is_not_verified(plus_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    (folder / plus_file.name).write_bytes(plus_file.read_bytes())
    base = [
        {**row, "task_id": f"Mbpp/{row['task_id']}", "test_list": [*row["test_list"], "assert True"]} for row in ROWS
    ]
    (folder / "MbppBase.jsonl").write_text("\n".join(map(json.dumps, base)))
    (folder / "verified_4.json").write_text(json.dumps([f"Mbpp/{number}" for number in (2, 3, 5, 6)]))
    task = load(str(folder), plus=True)
    assert [item.id for item in task.items()] == ["Mbpp/2", "Mbpp/3", "Mbpp/5", "Mbpp/6"]
    assert all(item.data["assertions"][-1] == "assert True" and item.data["plus_inputs"] for item in task.items())


def test_the_docstring_prompt_has_the_sentence_and_one_assertion(file: Path) -> None:
    task = load(str(file))
    assert task.ask(task.items()[1], None).prompt == '"""\nWrite twice.\nassert twice(2) == 4\n"""\n'


def test_the_three_shots_are_not_asked(file: Path) -> None:
    task = load(str(file), "fewshot")
    assert [item.id for item in task.items()] == ["Mbpp/5", "Mbpp/6"]
    prompt = task.ask(task.items()[0], None).prompt
    assert prompt is not None
    assert prompt.count("[BEGIN]") == 4
    assert prompt.count("[DONE]") == 3
    assert prompt.endswith("assert is_even(2)\nassert not is_even(3)\n[BEGIN]\n")


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("docstring", "\nimport os\ndef twice(x):\n    return add(x)\n\ndef add(x):\n    return x + x\n\nprint(twice("),
        ("docstring", 'def twice(x):\n    return x + x\n"""\nWrite another function'),
        ("docstring", "```python\ndef twice(x):\n    return x + x\n```"),
        ("fewshot", "def twice(x):\n    return x + x[DONE]\nYou are an expert"),
        ("fewshot", "def twice(x):\n    return x + x\n[DONE]\n\nYou are (an"),
        ("chat", "Here:\n```python\ndef twice(x):\n    return x + x\n\nassert twice(1) == 3\n```\nIt adds."),
    ],
)
def test_the_program_is_found_in_an_answer(file: Path, sandbox: Sandbox, style: mbpp.Style, text: str) -> None:
    assert judged(load(str(file), style), 3, text, sandbox) == (1.0, None)


def test_a_chat_answer_with_the_tests_mark_in_it_is_not_cut_there(file: Path, sandbox: Sandbox) -> None:
    text = "```python\ndef twice(x):\n    '''[DONE]'''\n    return x + x\n```"
    assert judged(load(str(file), "chat"), 3, text, sandbox) == (1.0, None)


def test_the_limit_cuts_an_answer(file: Path, sandbox: Sandbox) -> None:
    task = load(str(file))
    assert judged(task, 3, "def twice(x):\n    y = (x", sandbox, "length") == (0.0, "truncated")
    assert judged(task, 3, "def twice(x):\n    return x\n\nprint(", sandbox, "length") == (0.0, "wrong answer")


@pytest.mark.parametrize(
    ("number", "program", "passes"),
    [
        # Another order and another type are the same set.
        (2, "def shared(a, b):\n    return sorted(set(b) & set(a))[::-1]\n", True),
        (2, "def shared(a, b):\n    return {4}\n", False),
        (3, "def twice(x):\n    return x + x if x is not None else None\n", True),
        (
            3,
            "def twice(x):\n    return 14 if x == 7 else 4 if x == 2 else x + x if isinstance(x, list) else None\n",
            False,
        ),
        (4, "def root(x):\n    return x ** 0.5 * 1.0001\n", True),
        (4, "def root(x):\n    return 1.414\n", False),
        # Truth is compared where the assertions ask for truth only.
        (5, "def is_even(x):\n    return 'yes' if x % 2 == 0 else ''\n", True),
        (5, "def is_even(x):\n    return x == 2\n", False),
        (6, "def pairs(x):\n    return [(a, a) for a in x]\n", True),
        (6, "def pairs(x):\n    return [(1, 1), (2, 2)]\n", False),
        (6, "def pairs(x):\n    return [[a, a] for a in x] if len(x) < 2 else [(1, 1), (2, 2)]\n", False),
    ],
)
def test_extended_inputs_compare_as_the_assertions_do(
    plus_file: Path, sandbox: Sandbox, number: int, program: str, passes: bool
) -> None:
    value, error = judged(load(str(plus_file), plus=True), number, program, sandbox)
    assert (value == 1.0) == passes, error


@pytest.mark.parametrize("plus", [False, True])
def test_a_match_is_true_where_truth_is_asked_for(plus_file: Path, sandbox: Sandbox, plus: bool) -> None:
    task = load(str(plus_file), plus=plus)
    match = "import re\ndef is_even(x):\n    return re.search('[02468]$', str(x))\n"
    assert judged(task, 5, match, sandbox) == (1.0, None)
    assert judged(task, 5, match.replace("02468", "13579"), sandbox) == (0.0, "wrong answer")
    assert judged(task, 5, "def odd(x):\n    return True\n", sandbox) == (0.0, "missing entry point")


def test_a_wrong_extended_input_is_shown(plus_file: Path, sandbox: Sandbox) -> None:
    task = load(str(plus_file), plus=True)
    verdict = task.judge(task.items()[3], answer("def is_even(x):\n    return x == 2\n"), sandbox)
    assert "is_even(0): want True, got False" in verdict.detail


@pytest.mark.parametrize("style", ["docstring", "fewshot", "chat"])
def test_the_variants_ask_in_other_ways(file: Path, style: mbpp.Style) -> None:
    task = replace(load(str(file), style), samples_per_item=4, temperature=0.8)
    asked = task.items()[-1]
    asks = {name: variant.ask(asked, None) for name, variant in task.variants().items()}
    assert len({*asks.values(), task.ask(asked, None)}) == len(asks) + 1
    for variant in task.variants().values():
        assert (variant.samples_per_item, variant.temperature) == (4, 0.8)


@pytest.mark.parametrize(
    ("value", "examples", "typed"),
    [
        ([1, 2], [(3, 4)], (1, 2)),
        ([[1, "a"], [2, "b"]], [[(3, "c")]], [(1, "a"), (2, "b")]),
        ([1, [2, 3], 4], [(5, 7, 9, (4, 6))], (1, (2, 3), 4)),
        ([[1], []], [[{1, 2}, {3}]], [{1}, set()]),
        ({"a": [1, 2]}, [{"b": (3, 4)}], {"a": (1, 2)}),
        ({"1": 2}, [{3: 4}], {1: 2}),
        ({"a": {"1": 2}}, [{"b": {3: 4}}, {5: {}}], {"a": {1: 2}}),
        ("1j", [2j], 1j),
        ("0", [0, 1], 0.0),
        ("(1+2j)", [1], 1 + 2j),
        ([1, [2, [3]]], [(1, (2,))], (1, (2, (3,)))),
        ("word", [1], "word"),
        ("1", ["2"], "1"),
        ([1, 2], [], [1, 2]),
        (None, [(1,)], None),
        ([[], [1]], [[], (2,), (3,)], ((), (1,))),
        ([[1], []], [[{2}, {}]], [{1}, {}]),
    ],
)
def test_json_takes_the_types_of_the_examples(value: Any, examples: list[Any], typed: Any) -> None:
    made = mbpp_plus.like(value, examples)
    assert made == typed
    assert repr(made) == repr(typed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no problems"),
        ("{}", "no JSON list"),
        ("[1]", "record 1"),
        ('[{"task_id": 1}]', "problem 1"),
        ('[{"task_id": 1, "prompt": "a", "code": "def f(): pass"}]', "no assertions"),
        ('[{"task_id": 1, "prompt": "a", "code": "def f(", "test_list": ["assert f()"]}]', "no Python"),
        (json.dumps(ROWS[:3]), "too few"),
        (json.dumps(ROWS[:3] + ROWS[:3]), "one task_id"),
    ],
)
def test_a_broken_set_is_refused_with_a_reason(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mbpp.json"
    path.write_text(content)
    with pytest.raises(HoneError, match=message):
        load(str(path))


def test_plus_needs_extended_inputs(file: Path) -> None:
    with pytest.raises(HoneError, match="plus"):
        load(str(file), plus=True)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HoneError, match="does not exist"):
        load(str(tmp_path / "none.jsonl"))
    with pytest.raises(HoneError, match=r"no MbppBase.jsonl"):
        load(str(tmp_path))


def test_a_dataset_of_the_hub_is_read_by_name(tmp_path: Path) -> None:
    script = "from evals.tasks.mbpp import load; print([item.id for item in load('someone/mbpp').problems])"
    rows = "".join(json.dumps(row | {"test_imports": []}) + "\n" for row in ROWS)
    with dataset_hub({"someone/mbpp": {"test.jsonl": rows.encode()}}, tmp_path) as ask:
        done = subprocess.run(
            [sys.executable, "-c", script], env=ask._environment, capture_output=True, text=True, check=True
        )
    assert done.stdout.strip() == str([f"Mbpp/{number}" for number in range(2, 7)])


TOO_SLOW = frozenset(f"Mbpp/{number}" for number in (84, 123, 255, 271, 300, 389, 392, 583, 589, 592, 599, 603, 630))
"""Their references take more than ten seconds for some of the extended inputs of the set's first version."""


@pytest.mark.slow
@pytest.mark.parametrize("style", ["docstring", "chat"])
@pytest.mark.timeout(1800)
def test_the_published_references_pass(sandbox: Sandbox, style: mbpp.Style) -> None:
    task = load(str(published("mbpp")), style)
    assert len(task.items()) == 390
    assert misjudged(task, task.references(), sandbox) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_published_references_pass_with_the_extended_inputs(sandbox: Sandbox) -> None:
    task = load(str(published("mbpp")), plus=True)
    problems = tuple(item for item in task.problems if item.id not in TOO_SLOW)
    quick = replace(task, problems=problems)
    assert misjudged(quick, quick.references(), sandbox) == []


@pytest.mark.slow
def test_the_base_inputs_typed_by_the_assertions_are_the_arguments_of_the_assertions() -> None:
    """EvalPlus has the same calls as JSON and as source: the types must come back."""
    import ast

    folder = published("mbpp")
    rows = [json.loads(line) for line in (folder / "MbppBase.jsonl").read_text().splitlines()]
    compared = 0
    for row in rows:
        calls = [
            [mbpp_plus.literal(argument) for argument in call.args]
            for call in mbpp_plus.calls_of(ast.parse(row["assertion"]), row["entry_point"])
        ]
        if len(calls) != len(row["base_input"]) or any(None in call for call in calls):
            continue
        compared += 1
        assert [mbpp_plus.arguments_like(given, calls) for given in row["base_input"]] == calls, row["task_id"]
    assert compared > 300
