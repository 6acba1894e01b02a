"""HumanEval-Infilling (Bavarian et al., 2022, arXiv:2207.14255): a piece of a HumanEval solution is to be filled in.

The four published files are read by path: single lines, runs of lines, and random spans in two sizes. A model with
fill-in-the-middle tokens is asked with them; any other one goes on with the prefix alone, and what it repeats of the
suffix is cut off.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant import prompts
from assistant.errors import HoneError
from evals.metrics import exact_match
from evals.sandbox.outcome import Limits, Program
from evals.tasks import code, judge, records
from evals.tasks.base import Answer, Ask, Item, Verdict
from evals.tasks.humaneval import STOP, problem_data

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

KINDS = {
    "SingleLineInfilling": "single-line",
    "MultiLineInfilling": "multi-line",
    "RandomSpanInfilling": "random-span",
    "RandomSpanInfillingLight": "random-span-light",
}
REPEATED_CHARACTERS = 16
"""So much of the suffix at least, and all of what follows, must agree before it is a repetition."""


@dataclass(frozen=True)
class Infill:
    """The task over one file's problems; made by `load`."""

    kind: str
    problems: tuple[Item, ...]
    samples_per_item: int = 1
    temperature: float = 0.0
    limits: Limits = judge.LIMITS
    needs_sandbox: bool = field(default=True, init=False)

    @property
    def name(self) -> str:
        return f"infill-{self.kind}"

    @property
    def version(self) -> str:
        return f"{self.name}@1"

    def items(self) -> Sequence[Item]:
        return self.problems

    def ask(self, item: Item, fim: prompts.FimTokens | None) -> Ask:
        prefix, suffix = item.data["prompt"], item.data["suffix"]
        one_line = self.kind == "single-line"
        max_tokens = 128 if one_line else 512
        if fim is not None:
            prompt = prompts.infill(prefix, suffix, fim)
            return Ask(prompt, (), ("\n",) if one_line else (), max_tokens, parse_special=True)
        return Ask(prefix, (), ("\n",) if one_line else STOP, max_tokens)

    def judge(self, item: Item, answer: Answer, sandbox: "Sandbox | None") -> Verdict:
        """`extra` has `exact_match`, 1 or 0: the middle is the original but for trailing blanks."""
        problem = item.data
        text, ended = middle(self.kind, problem, answer.text)
        whole = code.Extracted(problem["prompt"] + text + problem["suffix"], ended)
        program = Program(whole.code, problem["entry_point"], problem["test"], problem["setup"])
        verdict = judge.run(whole, answer, program, sandbox, self.limits)
        same = float(exact_match(text, problem["canonical_solution"]))
        return replace(verdict, extracted=text, extra={**verdict.extra, "exact_match": same})

    def references(self) -> Iterator[tuple[Item, str, bool]]:
        """The first piece of each HumanEval problem, and a middle that gives up."""
        seen: set[str] = set()
        for item in self.problems:
            if item.group in seen:
                continue
            seen.add(item.group)
            yield item, item.data["canonical_solution"], True
            yield item, _broken(self.kind, item.data), False


def load(path: Path, samples_per_item: int = 1, temperature: float = 0.0) -> Infill:
    """Reads one of the published files.

    Raises:
        HoneError: it cannot be read or holds something else.
    """
    if path.is_dir():
        found = ", ".join(sorted(file.name for file in path.glob("HumanEval-*.jsonl*"))) or "none is in it"
        raise HoneError(f"{path} is a folder; give one file of HumanEval-Infilling ({found})")
    items, kinds = [], set()
    for number, record in enumerate(records.read(path), 1):
        place = f"{path}, problem {number}"
        name = records.text_of(record, "task_id", place)
        kind, _, rest = name.partition("/")
        if kind not in KINDS:
            raise HoneError(f"{place}: {name!r} is no problem of HumanEval-Infilling")
        for wanted in ("prompt", "suffix", "canonical_solution", "entry_point", "test"):
            records.text_of(record, wanted, place)
        try:
            data = {**problem_data(record), "suffix": record["suffix"]}
        except ValueError as error:
            raise HoneError(f"{place}: {error}") from error
        kinds.add(KINDS[kind])
        items.append(Item(name, rest.rpartition("/")[0], data))
    if len(kinds) > 1:
        raise HoneError(f"{path} mixes {' and '.join(sorted(kinds))} problems; evaluate them apart")
    return Infill(kinds.pop(), tuple(items), samples_per_item, temperature)


def middle(kind: str, problem: Mapping[str, Any], text: str) -> tuple[str, bool]:
    """What an answer puts between prefix and suffix, and whether something followed it that was cut off."""
    text = code.clean(text)
    original = problem["canonical_solution"]
    if kind == "single-line":
        line, newline, _ = text.partition("\n")
        return line + "\n" * original.endswith("\n"), bool(newline)
    ended = False
    for shorten in (_within_function, _before_suffix):
        # Where the original itself would lose by the rule, the rule says nothing.
        if shorten(problem, original) == original:
            shorter = shorten(problem, text)
            ended = ended or shorter != text
            text = shorter
    return text, ended


def _within_function(problem: Mapping[str, Any], text: str) -> str:
    return code.cut(problem["prompt"], text, problem["entry_point"])[0]


def _before_suffix(problem: Mapping[str, Any], text: str) -> str:
    suffix = problem["suffix"].rstrip()
    if len(suffix.strip()) < REPEATED_CHARACTERS:
        return text
    start = text.find(suffix[:REPEATED_CHARACTERS])
    while start >= 0:
        rest = text[start:].rstrip()
        if rest.startswith(suffix) or suffix.startswith(rest):
            return text[:start]
        start = text.find(suffix[:REPEATED_CHARACTERS], start + 1)
    return text


def _broken(kind: str, problem: Mapping[str, Any]) -> str:
    original = problem["canonical_solution"]
    indent = original[: len(original) - len(original.lstrip())] if kind != "random-span" else ""
    return indent.rpartition("\n")[2] + "raise NotImplementedError\n"
