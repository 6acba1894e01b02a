"""MBPP (Austin et al., 2021, arXiv:2108.07732): small functions to write from a sentence and an assertion.

Read by path in every form it is published in: Google's `sanitized-mbpp.json` and `mbpp.jsonl`, EvalPlus's
`MbppPlus.jsonl` with the extended inputs, or a folder that holds `MbppBase.jsonl` (Google's assertions) and
`MbppPlus.jsonl`, and, where some references fail their own tests or take too long, a list of the task ids to use as
`verified*.json` (`verified_plus*.json` for the extended inputs); or from the hub by the name of a dataset with the same
fields.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assistant import prompts
from assistant.errors import HoneError
from evals.sandbox.outcome import Limits, Program
from evals.tasks import code, judge, mbpp_plus, records
from evals.tasks.base import Answer, Ask, Item, Message, Verdict
from evals.tasks.humaneval import INSTRUCTION, OTHER_INSTRUCTION

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

Style = Literal["docstring", "fewshot", "chat"]

ENDS = ("class", "assert", '"""', "'''", "print", "if ", "```", "<|", "[DONE]")
"""Beginnings of the lines that end a program of the docstring style, those of the BigCode harness; helper functions
may follow the function under test."""
STOP = {"docstring": ("\nassert", '\n"""', "\nprint", "\nif"), "fewshot": ("[DONE]",)}
SHOTS = 3


@dataclass(frozen=True)
class Mbpp:
    """The task over one set's problems; made by `load`.

    Args:
        style: `docstring`: the sentence and the first assertion as a docstring, as InCoder and the BigCode harness ask;
            `fewshot`: the prompt of the MBPP paper after the first three problems of the set, which are not asked then;
            `chat`: the docstring in EvalPlus's words for instructed models.
        plus: judge by the extended inputs too; problems without any are left out.
        strip_newline: leave out the newline that ends a prompt.
        stops: give the server stop strings.
    """

    problems: tuple[Item, ...]
    style: Style = "docstring"
    plus: bool = False
    samples_per_item: int = 1
    temperature: float = 0.0
    max_tokens: int = 512
    strip_newline: bool = False
    stops: bool = True
    instruction: str = INSTRUCTION
    limits: Limits = judge.LIMITS
    needs_sandbox: bool = field(default=True, init=False)

    @property
    def name(self) -> str:
        return "mbpp" + ("-plus" if self.plus else "") + ("" if self.style == "docstring" else f"-{self.style}")

    @property
    def version(self) -> str:
        return f"{self.name}@1"

    def items(self) -> Sequence[Item]:
        asked = self.problems[SHOTS:] if self.style == "fewshot" else self.problems
        return [item for item in asked if item.data["plus_inputs"]] if self.plus else asked

    def ask(self, item: Item, fim: prompts.FimTokens | None) -> Ask:
        if self.style == "fewshot":
            shots = "".join(_shot(shot.data, shot.data["reference"]) for shot in self.problems[:SHOTS])
            return self._raw(shots + _shot(item.data))
        statement = f'"""\n{item.data["text"]}\n{item.data["assertions"][0]}\n"""\n'
        if self.style == "docstring":
            return self._raw(statement)
        question = f"{self.instruction}\n```python\n{statement}```"
        return Ask(None, (Message("user", question),), (), self.max_tokens)

    def judge(self, item: Item, answer: Answer, sandbox: "Sandbox | None") -> Verdict:
        problem = item.data
        extracted = self._extract(problem, answer.text)
        tests = "\n".join(problem["assertions"])
        if self.plus:
            tests = mbpp_plus.tests(
                problem["assertions"],
                problem["entry_point"],
                problem["setup"] + problem["reference"],
                problem["plus_inputs"],
                problem["tolerance"],
            )
        candidate = extracted.code
        if mbpp_plus.asks_truth(problem["assertions"], problem["entry_point"]):
            candidate = _with_truth(candidate, problem["entry_point"])
        program = Program(candidate, problem["entry_point"], tests, problem["setup"])
        return judge.run(extracted, answer, program, sandbox, self.limits)

    def references(self) -> Iterator[tuple[Item, str, bool]]:
        """The reference solution of each problem, and a function that gives nothing back."""
        for item in self.items():
            wrong = f"def {item.data['entry_point']}(*args, **kwargs):\n    return None\n"
            for solution, passes in ((item.data["reference"], True), (wrong, False)):
                yield item, f"```python\n{solution}```\n" if self.style == "chat" else solution, passes

    def variants(self) -> dict[str, "Mbpp"]:
        """The same questions asked in other ways, by name."""
        if self.style == "chat":
            return {
                "other instruction": replace(self, instruction=OTHER_INSTRUCTION),
                "docstring": replace(self, style="docstring"),
            }
        other: Style = "fewshot" if self.style == "docstring" else "docstring"
        return {
            "stripped newline": replace(self, strip_newline=not self.strip_newline),
            "no stop strings": replace(self, stops=False),
            other: replace(self, style=other),
            "chat template": replace(self, style="chat"),
        }

    def _raw(self, prompt: str) -> Ask:
        prompt = prompt.removesuffix("\n") if self.strip_newline else prompt
        return Ask(prompt, (), STOP[self.style] if self.stops else (), self.max_tokens)

    def _extract(self, problem: Mapping[str, Any], text: str) -> code.Extracted:
        if self.style == "chat":
            return code.conversation("", text, problem["entry_point"])
        done = False
        if self.style == "fewshot":
            text, mark, _ = text.partition("[DONE]")
            done = bool(mark)
        extracted = code.continuation("", text, problem["entry_point"], ENDS)
        return replace(extracted, ended=extracted.ended or done)


def load(
    source: str, style: Style = "docstring", plus: bool = False, samples_per_item: int = 1, temperature: float = 0.0
) -> Mbpp:
    """Reads the problems.

    Args:
        source: a file, a folder, or the name of a dataset on the hub (`NAME`, `NAME:CONFIG`).

    Raises:
        HoneError: they cannot be read, or a problem is of no known form; names it.
    """
    path = Path(source)
    wanted: set[str] | None = None
    if path.is_dir():
        rows, wanted = _folder(path, plus)
    elif path.exists():
        rows = records.read(path)
    else:
        rows = _hub(source)
    problems = [_item(row, f"{source}, problem {number}") for number, row in enumerate(rows, 1)]
    if len({item.id for item in problems}) < len(problems):
        raise HoneError(f"{source} has several problems with one task_id")
    kept = tuple(item for item in problems if wanted is None or item.id in wanted)
    if plus and not any(item.data["plus_inputs"] for item in kept):
        raise HoneError(
            f"{source} has no extended inputs (plus_input); give EvalPlus's MbppPlus.jsonl, or leave plus out"
        )
    if len(kept) <= SHOTS:
        raise HoneError(f"{source} has {len(kept)} problems, which is too few for MBPP")
    return Mbpp(kept, style, plus, samples_per_item, temperature)


def _with_truth(candidate: str, entry_point: str) -> str:
    """The program with a function whose result is a plain truth value.

    Right answers give back a match of a regular expression where the assertions ask for truth, and no such object
    leaves the sandbox. The candidate could as well call bool itself, so this gives it no power.
    """
    if not code.is_complete(candidate, entry_point):
        return candidate
    name = f"_{entry_point}_result"
    return (
        f"{candidate}\n\n{name} = {entry_point}\n\n"
        f"def {entry_point}(*args, **kwargs):\n    return bool({name}(*args, **kwargs))\n"
    )


def _folder(path: Path, plus: bool) -> tuple[list[dict[str, Any]], set[str] | None]:
    files = {name: file for name in ("MbppBase", "MbppPlus") for file in sorted(path.glob(f"{name}*.jsonl*"))}
    if not files:
        raise HoneError(f"{path} has no MbppBase.jsonl and no MbppPlus.jsonl; name the file with --data")
    merged: dict[str, dict[str, Any]] = {}
    for name in ("MbppPlus", "MbppBase"):
        for row in records.read(files[name]) if name in files else []:
            key = str(row.get("task_id"))
            merged[key] = {**merged.get(key, {}), **row}
    lists = (sorted(path.glob("verified_plus*.json")) if plus else []) or sorted(path.glob("verified*.json"))
    wanted = None
    if lists:
        import json

        try:
            wanted = {_name(each) for each in json.loads(lists[0].read_text("utf-8"))}
        except (OSError, ValueError, TypeError) as error:
            raise HoneError(f"{lists[0]} holds no list of task ids: {error}") from error
    return list(merged.values()), wanted


def _hub(source: str) -> list[dict[str, Any]]:
    name, _, config = source.partition(":")
    if not re.fullmatch(r"[\w.\-]+(?:/[\w.\-]+)?", name):
        raise HoneError(f"{source} does not exist")
    try:
        import datasets

        # The library reports each use of a dataset to its maker otherwise.
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
        return [dict(row) for row in datasets.load_dataset(name, config or None, split="test")]
    except Exception as error:
        # Loading raises whatever the file system, the file format and the hub's client raise.
        reason = judge.one_line(str(error)) or type(error).__name__
        raise HoneError(f"{source} is no file, and not found as a dataset on the hub either: {reason}") from error


def _item(row: dict[str, Any], place: str) -> Item:
    reference = row.get("canonical_solution") or row.get("code")
    text = row.get("prompt") or row.get("text")
    if not isinstance(reference, str) or not isinstance(text, str) or "task_id" not in row:
        raise HoneError(
            f"{place}: a problem of MBPP has a task_id, a prompt (or text) and a canonical_solution (or code)"
        )
    given = row.get("test_list") or row.get("assertion")
    sources = [given] if isinstance(given, str) else given
    try:
        assertions = [part for source in sources or [] for part in _statements(source)]
        entry_point = row.get("entry_point") or _entry_point(reference, assertions)
    except (SyntaxError, ValueError, TypeError) as error:
        raise HoneError(f"{place}: its tests or its solution are no Python ({error})") from error
    if not assertions or not entry_point:
        raise HoneError(f"{place}: it has no assertions (test_list or assertion) that call a function of its solution")
    name = _name(row["task_id"])
    data = {
        "text": _sentence(text),
        "assertions": assertions,
        "entry_point": entry_point,
        "reference": reference.strip("\n") + "\n",
        "setup": "".join(f"{line}\n" for line in [*(row.get("test_imports") or []), row.get("test_setup_code") or ""]),
        "plus_inputs": row.get("plus_input") or [],
        "tolerance": row.get("atol") or 0,
    }
    return Item(name, name, data)


def _statements(source: str) -> list[str]:
    """As they are written: a model is shown the first one."""
    parts = [ast.get_source_segment(source, node) for node in ast.parse(source).body]
    return [part for part in parts if part]


def _entry_point(reference: str, assertions: Sequence[str]) -> str | None:
    defined = {node.name for node in ast.parse(reference).body if isinstance(node, ast.FunctionDef)}
    called = (node.id for source in assertions for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))
    return next((name for name in called if name in defined), None)


def _sentence(text: str) -> str:
    """The task in words: without the quotes and the assertions that EvalPlus puts around it."""
    inner = text.strip().strip("'\"").strip()
    return "\n".join(line for line in inner.split("\n") if not line.startswith("assert ")).strip()


def _name(task_id: Any) -> str:
    return f"Mbpp/{str(task_id).rpartition('/')[2]}"


def _shot(problem: Mapping[str, Any], solution: str = "") -> str:
    tests = "\n".join(problem["assertions"])
    head = f"You are an expert Python programmer, and here is your task: {problem['text']}"
    return f"{head} Your code should pass these tests:\n\n{tests}\n[BEGIN]\n" + (
        f"{solution}[DONE]\n\n" if solution else ""
    )
