"""The input box: Enter sends, Alt+Enter or Ctrl+J breaks the line, a paste keeps its lines, Up and Down recall."""

from dataclasses import dataclass
from typing import ClassVar

from textual import _ansi_sequences, events
from textual.binding import Binding, BindingType
from textual.keys import Keys
from textual.message import Message
from textual.widgets import TextArea

from assistant.errors import HoneError
from tui.chat.commands import matching
from tui.chat.history import InputHistory

# Terminals send Alt+Enter as ESC and CR. Textual would take a letter typed right after it as part of the sequence, give
# up on that and report Enter, which sends the half-written prompt.
_ansi_sequences.ANSI_SEQUENCES_KEYS["\x1b\r"] = (Keys.ControlJ,)  # type: ignore[index]
_KEYS = {
    "enter": "submit",
    "alt+enter": "newline",
    "shift+enter": "newline",
    "ctrl+j": "newline",
    "tab": "complete",
}


class PromptInput(TextArea):
    # What changes the text is in _KEYS: bindings are run out of order with the letters typed around them.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j", "newline", "New line"),
        Binding("ctrl+y", "screen.copy_code", "Copy code"),
        Binding("ctrl+c", "screen.interrupt", "Stop or clear", show=False),
        Binding("ctrl+home", "screen.oldest", "To the top", show=False),
        Binding("ctrl+end", "screen.newest", "To the end", show=False),
    ]

    @dataclass
    class Submitted(Message):
        text: str

    @dataclass
    class Scroll(Message):
        """PageUp or PageDown: the conversation moves, not the input."""

        pages: int

    @dataclass
    class Failed(Message):
        """The history could not be written; the line says why."""

        line: str

    def __init__(self, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(
            id="prompt",
            soft_wrap=True,
            tab_behavior="focus",
            show_line_numbers=False,
            highlight_cursor_line=False,
            placeholder="Ask about code…",
        )
        self._history = InputHistory()
        self._suggestions = suggestions
        self._suggested = -1

    def suggest(self, suggestions: tuple[str, ...]) -> None:
        """What Tab puts into an empty box, one after another."""
        self._suggestions = suggestions
        self._suggested = -1

    def put(self, text: str) -> None:
        """Replaces the text and puts the cursor after it."""
        self.load_text(text)
        self.move_cursor(self.document.end)

    def action_submit(self) -> None:
        text = self.text
        if not text.strip():
            return
        self.discard()
        self.post_message(self.Submitted(text))

    def discard(self) -> None:
        """Empties the box; Up brings the text back."""
        text = self.text
        self.clear()
        try:
            self._history.add(text)
        except HoneError as error:
            self.post_message(self.Failed(str(error)))

    def action_newline(self) -> None:
        self.insert("\n")

    def action_complete(self) -> None:
        commands = matching(self.text)
        if commands:
            self.put(f"/{commands[0].name}{' ' if commands[0].argument else ''}")
        elif self._suggestions and (not self.text or self.text in self._suggestions):
            self._suggested = (self._suggested + 1) % len(self._suggestions)
            self.put(self._suggestions[self._suggested])
        elif self.text:
            self.insert("    ")

    def action_cursor_up(self, select: bool = False) -> None:
        row = self.wrapped_document.location_to_offset(self.cursor_location).y
        if select or row > 0:
            super().action_cursor_up(select)
        elif (text := self._history.older(self.text)) is not None:
            self.load_text(text)
            self.move_cursor((0, 0))

    def action_cursor_down(self, select: bool = False) -> None:
        row = self.wrapped_document.location_to_offset(self.cursor_location).y
        if select or row < self.wrapped_document.height - 1:
            super().action_cursor_down(select)
        elif (text := self._history.newer()) is not None:
            self.put(text)

    def action_cursor_page_up(self) -> None:
        self.post_message(self.Scroll(-1))

    def action_cursor_page_down(self) -> None:
        self.post_message(self.Scroll(1))

    async def _on_key(self, event: events.Key) -> None:
        action = _KEYS.get(event.key)
        if action is not None:
            # The base class would insert a line break or a tab.
            event.prevent_default()
            event.stop()
            await self.run_action(action)

    async def _on_paste(self, event: events.Paste) -> None:
        # Terminals end the lines of a paste with \r, \n or both; the base class's handler runs after this one.
        event.text = event.text.replace("\r\n", "\n").replace("\r", "\n")
