"""Two models' answers to one question, beside each other; one below the other where the screen is narrow."""

from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from tui.chat.answer import Answer
from tui.inert import inert

_WIDE = 100
"""Columns from which two answers fit beside each other."""


class Comparison(Vertical):
    """Feed it with `write` and `close` for each side, from 0."""

    def __init__(self, question: str, models: tuple[str, ...]) -> None:
        super().__init__(classes="comparison")
        self._question = inert(" ".join(question.split()))
        self._models = models
        self._heads = [Static(inert(name), markup=False, classes="model") for name in models]
        self._answers = [Answer() for _ in models]

    def compose(self) -> ComposeResult:
        yield Static(f"compared: {self._question}", markup=False, classes="question")
        with Horizontal():
            for head, answer in zip(self._heads, self._answers, strict=True):
                with Vertical(classes="side"):
                    yield head
                    yield answer

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width < _WIDE, "-narrow")

    async def write(self, side: int, text: str) -> None:
        await self._answers[side].write(text)

    async def close(self, side: int, finish: str, line: str, details: dict[str, Any]) -> None:
        speed, tokens = details.get("tokens_per_second"), details.get("completion_tokens")
        figures = [f"{tokens} tokens" if tokens is not None else "", f"{speed:.0f} tok/s" if speed else "", inert(line)]
        name = inert(self._models[side])
        self._heads[side].update(" · ".join(part for part in (name, *figures) if part))
        await self._answers[side].close(finish)
