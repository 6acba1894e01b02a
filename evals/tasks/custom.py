"""Tasks of your own: a Python file that defines `task()`, or JSON lines of questions.

A line asks for a program (`tests` and `entry_point`), for a text (`reference`), or for a text that says something
(`expect`):

    {"prompt": "def add(a, b):\\n", "entry_point": "add", "tests": "assert add(1, 2) == 3"}
    {"messages": [{"role": "user", "content": "..."}], "entry_point": "f", "tests": "...", "reference": "def f(): ..."}
    {"prompt": "The capital of France is", "reference": "Paris", "stop": ["\\n"], "max_tokens": 8}
    {"messages": [...], "expect": ["(?i)binary search"], "reference": "It is a binary search."}

Further fields, none of them needed: `id`, `group` (questions that belong together), `setup` (imports for the tests),
`stop`, `max_tokens`; for a program `expect`, regular expressions that the code has to match as well; and with `tests`
or `expect` a `reference`, an answer known to be right, which is judged before any model is asked.
"""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant import prompts
from assistant.errors import HoneError
from evals.metrics import edit_similarity, exact_match
from evals.sandbox.outcome import Limits, Program
from evals.tasks import code, judge, records
from evals.tasks.base import MAX_STOP_STRINGS, Answer, Ask, Item, Message, Task, Verdict
from evals.tasks.mbpp import ENDS

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

MAX_TOKENS = 512
_FIELDS = frozenset(
    ("prompt", "messages", "tests", "entry_point", "reference", "expect", "id", "group", "setup", "stop", "max_tokens")
)


@dataclass(frozen=True)
class Custom:
    """Questions from JSON lines; made by `load`."""

    name: str
    version: str
    questions: tuple[Item, ...]
    samples_per_item: int = 1
    temperature: float = 0.0
    limits: Limits = judge.LIMITS

    @property
    def needs_sandbox(self) -> bool:
        return any("tests" in item.data for item in self.questions)

    def items(self) -> Sequence[Item]:
        return self.questions

    def ask(self, item: Item, fim: prompts.FimTokens | None) -> Ask:
        data = item.data
        messages = tuple(Message(message["role"], message["content"]) for message in data.get("messages", ()))
        stop, max_tokens = tuple(data.get("stop", ())), data.get("max_tokens", MAX_TOKENS)
        return Ask(data.get("prompt"), messages, stop, max_tokens)

    def judge(self, item: Item, answer: Answer, sandbox: "Sandbox | None") -> Verdict:
        """A program runs against its tests. A text is compared but for blanks around it (`extra` has its
        `edit_similarity`, 0 to 1), or has to match all that is expected."""
        data = item.data
        expected = data.get("expect", ())
        if "tests" not in data:
            text = _stopped(code.clean(answer.text), data.get("stop", ()))
            return _match(expected, text) if expected else _compare(data["reference"], text)
        extracted = _extract(data, answer.text)
        program = Program(extracted.code, data["entry_point"], data["tests"], data.get("setup", ""))
        verdict = judge.run(extracted, answer, program, sandbox, self.limits)
        return _match(expected, extracted.code, verdict) if verdict.error is None and expected else verdict

    def references(self) -> Iterator[tuple[Item, str, bool]]:
        """The references, for each program one that gives up, and nothing where something is expected."""
        for item in self.questions:
            data = item.data
            if "reference" in data:
                yield item, data["reference"], True
            if "tests" in data:
                yield item, f"def {data['entry_point']}(*args, **kwargs):\n    raise NotImplementedError\n", False
            elif "expect" in data:
                yield item, "", False
            else:
                # Wrong from its first character, so that no stop string of the question makes it right.
                yield item, "?" + data["reference"], False


def load(path: Path, samples_per_item: int = 1, temperature: float = 0.0) -> Task:
    """The task of a file. A Python file is run, with your rights: it is a program of yours.

    Raises:
        HoneError: there is no such task, or it is not complete; names the place.
    """
    if path.suffix == ".py":
        return _from_python(path)
    if not path.name.endswith(records.ENDINGS):
        raise HoneError(f"{path}: a task of your own is a .py or a .jsonl file")
    items = tuple(
        _item(record, number, f"{path}, line {number}") for number, record in enumerate(records.read(path), 1)
    )
    if len({item.id for item in items}) < len(items):
        raise HoneError(f"{path} has several questions with one id")
    name = path.name.partition(".")[0]
    # Other content is another version: nothing of it comes from the cache.
    version = f"{name}@{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    return Custom(name, version, items, samples_per_item, temperature)


def _from_python(path: Path) -> Task:
    name = f"hone_task_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None or not path.is_file():
        raise HoneError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(specification)
    # As an import does: dataclasses look their module up.
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
        made = module.task()
    except Exception as error:
        raise HoneError(
            f"the task in {path} cannot be made: {type(error).__name__}: {judge.one_line(str(error))}"
        ) from error
    wanted = (
        "name",
        "version",
        "needs_sandbox",
        "samples_per_item",
        "temperature",
        "items",
        "ask",
        "judge",
        "references",
    )
    missing = [each for each in wanted if not hasattr(made, each)]
    if missing:
        raise HoneError(f"what task() of {path} gives back has no {', '.join(missing)}; see evals.tasks.base.Task")
    task: Task = made
    return task


def _item(record: dict[str, Any], number: int, place: str) -> Item:
    unknown = sorted(record.keys() - _FIELDS)
    if unknown:
        raise HoneError(f"{place}: unknown field {', '.join(unknown)}; known are {', '.join(sorted(_FIELDS))}")
    if ("prompt" in record) == ("messages" in record):
        raise HoneError(f"{place}: a question has a prompt or messages, and not both")
    texts = [
        field for field in ("prompt", "tests", "entry_point", "reference", "id", "group", "setup") if field in record
    ]
    if "messages" in record:
        _check_messages(record["messages"], place)
    if "tests" in record:
        texts += ["tests", "entry_point"]
    elif "reference" not in record and "expect" not in record:
        raise HoneError(f"{place}: a question has tests with an entry_point, or a reference to compare with, or expect")
    if "expect" in record:
        _check_expected(record["expect"], place)
    for field in texts:
        records.text_of(record, field, place)
    stop, max_tokens = record.get("stop", []), record.get("max_tokens", MAX_TOKENS)
    if not isinstance(stop, list) or len(stop) > MAX_STOP_STRINGS or not all(isinstance(s, str) and s for s in stop):
        raise HoneError(f"{place}: stop is a list of at most {MAX_STOP_STRINGS} strings")
    if type(max_tokens) is not int or max_tokens < 1:
        raise HoneError(f"{place}: max_tokens is a number from 1")
    name = record.get("id", str(number))
    return Item(name, record.get("group", name), record)


def _check_messages(messages: Any, place: str) -> None:
    whole = isinstance(messages, list) and messages
    if not whole or not all(
        isinstance(message, dict)
        and message.keys() == {"role", "content"}
        and all(isinstance(value, str) for value in message.values())
        for message in messages
    ):
        raise HoneError(f"{place}: messages is a list of objects with role and content, both text")


def _check_expected(expected: Any, place: str) -> None:
    if not isinstance(expected, list) or not expected or not all(isinstance(one, str) for one in expected):
        raise HoneError(f"{place}: expect is a list of regular expressions")
    for one in expected:
        try:
            matches_empty = re.search(one, "") is not None
        except re.error as error:
            raise HoneError(f"{place}: {one!r} in expect is no regular expression: {error}") from error
        if matches_empty:
            raise HoneError(f"{place}: {one!r} in expect matches the empty text, so it checks nothing")


def _extract(data: Any, text: str) -> code.Extracted:
    """By the prompt: source that goes on, or words that ask for code."""
    if "prompt" in data:
        extracted = code.continuation(data["prompt"], _stopped(text, data.get("stop", ())), data["entry_point"], ENDS)
        if code.is_complete(extracted.code, data["entry_point"]):
            return extracted
        shown = code.conversation(data["prompt"], text, data["entry_point"])
        return shown if code.is_complete(shown.code, data["entry_point"]) else extracted
    return code.conversation("", text, data["entry_point"])


def _compare(reference: str, text: str) -> Verdict:
    got, want = text.strip(), reference.strip()
    similarity = {"edit_similarity": edit_similarity(got, want)}
    if exact_match(got, want):
        return Verdict(1.0, None, "", got, similarity)
    return Verdict(0.0, "wrong answer", judge.one_line(f"want {want!r}, got {got!r}"), got, similarity)


def _match(expected: Sequence[str], text: str, verdict: Verdict | None = None) -> Verdict:
    missing = next((one for one in expected if re.search(one, text) is None), None)
    if missing is None:
        return verdict or Verdict(1.0, None, "", text)
    return Verdict(0.0, "wrong answer", judge.one_line(f"nothing matches {missing}"), text)


def _stopped(text: str, stop: Sequence[str]) -> str:
    return min((text.partition(each)[0] for each in stop), key=len, default=text)
