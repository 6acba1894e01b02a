"""The input box: Enter sends, Alt+Enter or Ctrl+J breaks the line, Up and Down recall, mentions and commands complete.

A paste keeps its lines. A long one goes to a file that the box mentions: laying it out would stop the screen.
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from textual import _ansi_sequences, events
from textual.binding import Binding, BindingType
from textual.keys import Keys
from textual.message import Message
from textual.widgets import TextArea

from assistant import atomic, paths
from assistant.errors import HoneError
from tui.chat import completion
from tui.chat.history import InputHistory
from tui.chat.suggestions import Suggestions
from tui.keys import bound

# Terminals send Alt+Enter as ESC and CR. Textual would take a letter typed right after it as part of the sequence, give
# up on that and report Enter, which sends the half-written prompt.
_ansi_sequences.ANSI_SEQUENCES_KEYS["\x1b\r"] = (Keys.ControlJ,)  # type: ignore[index]
_IN_ORDER = frozenset({"submit", "newline", "complete"})
"""Actions that must not wait until the letters typed behind them are in."""
_LIST_KEYS = {"up": -1, "down": 1}
MAX_PASTE = 20_000
"""Characters; a longer paste goes to a file."""


class PromptInput(TextArea):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Send", show=False, id="chat.send"),
        Binding("ctrl+j,alt+enter,shift+enter", "newline", "New line", show=False, id="chat.newline"),
        Binding("tab", "complete", "Complete", show=False, id="chat.complete"),
        Binding("ctrl+y", "screen.copy_code", "Copy code", id="chat.copy"),
        Binding("ctrl+r", "screen.search_history", "History", id="chat.history"),
        Binding("ctrl+up,alt+up", "screen.walk", "Walk answers", key_display="^↑", id="chat.walk"),
        Binding("ctrl+c", "screen.interrupt", "Stop or clear", show=False, id="chat.interrupt"),
        Binding("ctrl+home", "screen.oldest", "To the top", show=False, id="chat.oldest"),
        Binding("ctrl+end", "screen.newest", "To the end", show=False, id="chat.newest"),
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

    @dataclass
    class NamesWanted(Message):
        """A mention is being typed: what can be mentioned should be read."""

    def __init__(self, offered: Suggestions, suggestions: tuple[str, ...] = ()) -> None:
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
        self._offered = offered
        self._names: completion.Names | None = None

    @property
    def inputs(self) -> InputHistory:
        return self._history

    def know(self, names: completion.Names) -> None:
        """What can be mentioned."""
        self._names = names
        self._offer()

    def _offer(self) -> None:
        row, column = self.cursor_location
        before = self.document.get_line(row)[:column]
        if self._names is None and completion.typing_mention(before):
            self._names = completion.Names()
            self.post_message(self.NamesWanted())
        # The whole text matters for commands only, which are one line.
        text = before if self.document.line_count == 1 and column == len(self.document.get_line(0)) else ""
        self._offered.show(completion.offer(before, text, self._names or completion.Names()))

    def take(self) -> bool:
        """Puts the chosen row in place of what was typed; False when nothing is offered."""
        chosen = self._offered.chosen
        if chosen is None:
            return False
        typed, row = chosen
        line, column = self.cursor_location
        self.replace(row.insert, (line, column - typed), (line, column))
        self._offer()
        return True

    def on_text_area_selection_changed(self) -> None:
        self._offer()

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
        if self._offered.moved and self.take():
            return
        self._names = None
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
        if self.take():
            return
        if self._suggestions and (not self.text or self.text in self._suggestions):
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
        if self._offered.open and event.key in ("up", "down", "escape"):
            event.prevent_default()
            event.stop()
            if event.key == "escape":
                self._offered.show(None)
            else:
                self._offered.move(_LIST_KEYS[event.key])
            return
        binding = bound(self, event.key)
        if binding is not None and binding.action in _IN_ORDER:
            # The base class would insert a line break or a tab.
            event.prevent_default()
            event.stop()
            await self.run_action(binding.action)

    async def _on_paste(self, event: events.Paste) -> None:
        # Terminals end the lines of a paste with \r, \n or both; the base class's handler runs after this one.
        event.text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        if len(event.text) > MAX_PASTE:
            try:
                event.text = f'@"{keep_paste(event.text)}" '
            except HoneError as error:
                self.post_message(self.Failed(str(error)))
                event.text = event.text[:MAX_PASTE]


def keep_paste(text: str) -> str:
    """Writes a long paste to a file that can be mentioned; its path.

    Raises:
        HoneError: the disk refuses.
    """
    data = text.encode("utf-8", "replace")
    path = paths.pastes_dir() / f"{hashlib.sha256(data).hexdigest()[:12]}.txt"
    try:
        atomic.write_bytes(path, data, 0o600)
    except OSError as error:
        raise HoneError(f"cannot keep the paste in {path}: {error.strerror}") from error
    return str(path)
