"""The question in front of a command: its exact line, which can be edited, and what to know about it."""

from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Static, TextArea

from assistant.errors import UsageError
from tui.chat.ops import lines
from tui.inert import inert
from tui.keybar import KeyBar
from tui.keys import bound


@dataclass(frozen=True)
class Decided:
    """What the user made of it."""

    words: tuple[str, ...] = ()
    """Of the command line to run, without the program; empty: nothing is run."""
    to_model: bool = False
    """What was typed was meant for the model."""


class CommandInput(TextArea):
    """A command line, all of it visible; Enter is no part of it."""

    @dataclass
    class Submitted(Message):
        text: str

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "Run it", id="ops.run", show=False)]

    def __init__(self, text: str) -> None:
        super().__init__(
            text,
            id="confirm-line",
            soft_wrap=True,
            tab_behavior="focus",
            show_line_numbers=False,
            highlight_cursor_line=False,
            compact=True,
        )
        self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        binding = bound(self, event.key)
        if binding is not None and binding.action == "submit":
            # The base class would insert a line break.
            event.prevent_default()
            event.stop()
            self.action_submit()

    def action_submit(self) -> None:
        self.post_message(self.Submitted(self.text))


class ConfirmScreen(ModalScreen[Decided]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Do not run it", id="ops.leave"),
        Binding("ctrl+t", "to_model", "Ask the model instead", id="ops.to_model"),
    ]

    def __init__(self, line: lines.Line, typed: str = "") -> None:
        """
        Args:
            typed: the plain words that the line was made of; empty for a command.
        """
        super().__init__()
        self._line = line
        self._typed = typed

    def compose(self) -> ComposeResult:
        with Vertical(id="confirm"):
            yield Static("Run this command?", markup=False, id="confirm-title")
            yield CommandInput(self._line.text)
            yield Static(inert(self._line.note), markup=False, id="confirm-note")
            with Horizontal(id="confirm-buttons"):
                yield Button("Run it (enter)", id="run", variant="primary", compact=True)
                if self._typed:
                    yield Button("Ask the model instead (^t)", id="to-model", compact=True)
                yield Button("Do not (esc)", id="leave", compact=True)
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(CommandInput).focus()

    @on(CommandInput.Submitted)
    @on(Button.Pressed, "#run")
    def _run(self) -> None:
        try:
            self.dismiss(Decided(lines.read(self.query_one(CommandInput).text)))
        except UsageError as error:
            note = self.query_one("#confirm-note", Static)
            note.update(inert(str(error)))
            note.add_class("error")

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        self.dismiss(Decided())

    @on(Button.Pressed, "#to-model")
    def action_to_model(self) -> None:
        if self._typed:
            self.dismiss(Decided(to_model=True))
