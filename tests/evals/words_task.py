"""A task without a sandbox: a model that says `right` is right."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from assistant import prompts
from evals.tasks.base import Answer, Ask, Item, Message, Verdict


@dataclass
class Words:
    count: int = 6
    samples_per_item: int = 2
    temperature: float = 0.8
    chat: bool = False
    stop: tuple[str, ...] = ()
    uses_fim: bool = False
    good: str = "right"
    """The answer that is said to be known good."""
    value: Callable[[str], float] = lambda text: float(text == "right")
    before: Callable[[Item, Answer], None] = lambda item, answer: None
    """Called when an answer is judged."""
    judged: list[str] = field(default_factory=list)
    """The ids of the items of answers that were judged."""
    name: str = "words"
    version: str = "words@1"
    needs_sandbox: bool = False

    def items(self) -> Sequence[Item]:
        return [Item(f"words/{number}", f"group {number // 2}", {"number": number}) for number in range(self.count)]

    def ask(self, item: Item, fim: prompts.FimTokens | None) -> Ask:
        text = f"Question {item.data['number']}\n"
        if self.uses_fim and fim is not None:
            text = fim.prefix + text
        if self.chat:
            return Ask(None, (Message("user", text),), self.stop, 16)
        return Ask(text, (), self.stop, 16)

    def judge(self, item: Item, answer: Answer, sandbox: Any) -> Verdict:
        self.before(item, answer)
        self.judged.append(item.id)
        value = self.value(answer.text)
        return Verdict(value, None if value == 1 else "wrong answer", f"want right, got {answer.text}", answer.text)

    def references(self) -> Iterable[tuple[Item, str, bool]]:
        for item in self.items():
            yield item, self.good, True
            yield item, "nothing", False
