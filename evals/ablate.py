"""The same task asked in other ways: how much of a score is the asking.

One lost newline at the end of the prompt has been seen to turn 72 % into 34 %. A score that moves as much with the form
of the question says little about the model.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assistant import prompts
from evals.report.schema import TaskReport
from evals.tasks.base import Answer, Ask, Item, Message, Task, Verdict

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

AS_ASKED = "as asked"


@dataclass(frozen=True)
class Changed:
    """A task whose questions are changed on their way to the model; items, judge and references stay."""

    task: Task
    change: Callable[[Ask], Ask]

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def version(self) -> str:
        return self.task.version

    @property
    def needs_sandbox(self) -> bool:
        return self.task.needs_sandbox

    @property
    def samples_per_item(self) -> int:
        return self.task.samples_per_item

    @property
    def temperature(self) -> float:
        return self.task.temperature

    def items(self) -> Sequence[Item]:
        return self.task.items()

    def ask(self, item: Item, fim: prompts.FimTokens | None) -> Ask:
        return self.change(self.task.ask(item, fim))

    def judge(self, item: Item, answer: Answer, sandbox: "Sandbox | None") -> Verdict:
        return self.task.judge(item, answer, sandbox)

    def references(self) -> Iterable[tuple[Item, str, bool]]:
        return self.task.references()


def variants(task: Task) -> dict[str, Task]:
    """Other ways to ask a task, by name: its own (`variants()`), else those of the three general ones that change
    what is asked of any item: without the last newline, in another template, without stop strings."""
    own = getattr(task, "variants", None)
    if callable(own):
        return dict(own())
    # One prompt may end in the middle of a line where the others do not.
    asks = [task.ask(item, None) for item in task.items()]
    return {name: Changed(task, way) for name, way in _GENERAL.items() if any(way(ask) != ask for ask in asks)}


def without_last_newline(ask: Ask) -> Ask:
    if ask.prompt is not None:
        return replace(ask, prompt=ask.prompt.removesuffix("\n"))
    *before, last = ask.messages
    return replace(ask, messages=(*before, replace(last, content=last.content.removesuffix("\n"))))


def other_template(ask: Ask) -> Ask:
    """A prompt as the only message of a conversation; a conversation as plain text in the form of Alpaca (Taori et al.,
    2023), which many models have seen and none needs a template for."""
    if ask.prompt is not None:
        return replace(ask, prompt=None, messages=(Message("user", ask.prompt),), parse_special=False)
    titles = {"system": "System", "user": "Instruction", "assistant": "Response"}
    said = [f"### {titles.get(message.role, message.role)}:\n{message.content}\n\n" for message in ask.messages]
    return replace(ask, prompt="".join([*said, "### Response:\n"]), messages=())


def without_stops(ask: Ask) -> Ask:
    return replace(ask, stop=())


_GENERAL: Mapping[str, Callable[[Ask], Ask]] = {
    "stripped newline": without_last_newline,
    "other template": other_template,
    "no stop strings": without_stops,
}


def spread(report: TaskReport) -> str:
    """One sentence on a report whose models are the ways of asking one model: the range of its deciding figure."""
    figures = [(str(model.facts["variant"]), next(iter(model.figures.items()))) for model in report.models]
    (low, (name, lowest)), *_, (high, (_, highest)) = sorted(figures, key=lambda pair: pair[1][1].value)
    scale, unit = (100.0, " points") if lowest.unit == "share" else (1.0, f" {lowest.unit}".rstrip())
    return (
        f"{name} of {report.settings['model']} lies between {scale * lowest.value:.1f} ({low}) and "
        f"{scale * highest.value:.1f} ({high}) in {len(figures)} ways of asking: "
        f"a spread of {scale * (highest.value - lowest.value):.1f}{unit}"
    )
