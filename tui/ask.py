"""Questions that have to be answered before anything else."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static


class Question(ModalScreen[str]):
    """Dismissed with the chosen answer, or with the empty string by Escape.

    Each answer is its own key by the first letter, which must differ.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "choose('')", "Back", id="question.leave"),
        Binding("left", "app.focus_previous", "Before", show=False, id="question.previous"),
        Binding("right", "app.focus_next", "Next", show=False, id="question.next"),
    ]

    def __init__(self, text: str, answers: Sequence[str]) -> None:
        super().__init__()
        self._text = text
        self._answers = tuple(answers)
        for answer in answers:
            self._bindings.bind(answer[0].lower(), f"choose('{answer}')", answer, show=False)

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Static(self._text, markup=False)
            with Horizontal():
                for answer in self._answers:
                    yield Button(answer, name=answer, compact=True, action=f"screen.choose('{answer}')")
                yield Static("Esc goes back", classes="hint")

    def action_choose(self, answer: str) -> None:
        self.dismiss(answer)


class Prompt(ModalScreen[str]):
    """A line to type; dismissed with it, or with the empty string by Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back", id="question.leave")]

    def __init__(self, text: str, value: str = "") -> None:
        super().__init__()
        self._text = text
        self._value = value

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Static(self._text, markup=False)
            yield Input(self._value, compact=True)
            yield Static("Enter takes it, Esc goes back", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        self.dismiss("")
