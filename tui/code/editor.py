"""The text editor of one file: what its keys do, and what becomes of ghost text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.document._document import EditResult, Selection
from textual.document._edit import Edit
from textual.document._history import EditHistory
from textual.message import Message

from tui.code import indent
from tui.code.canvas import Canvas
from tui.code.document import newline_of
from tui.code.ghost import GhostText, How
from tui.keys import bound

if TYPE_CHECKING:
    from assistant.skills.ghost import Shown

_UNDO_STEPS = 1_000


SCREEN_KEYS = (
    Binding("ctrl+s", "screen.save", "Save", tooltip="Write the file", id="code.save"),
    Binding("ctrl+o", "screen.open", "Open", tooltip="Open a file by a part of its name", id="code.open"),
    Binding("ctrl+f", "screen.find(False)", "Find", tooltip="Search in this file", id="code.find"),
    Binding("ctrl+r", "screen.find(True)", "Replace", tooltip="Search and replace", id="code.replace", show=False),
    Binding("ctrl+g", "screen.line", "Line", tooltip="Go to a line", id="code.line", show=False),
    Binding("ctrl+b", "screen.tree", "Files", tooltip="Go to the tree of files, or hide it", id="code.tree"),
    Binding("ctrl+w", "screen.close", "Close", tooltip="Close this file", id="code.close", show=False),
    Binding("ctrl+pagedown", "screen.turn(1)", "Next file", id="code.next", show=False),
    Binding("ctrl+pageup", "screen.turn(-1)", "Previous file", id="code.previous", show=False),
    Binding("ctrl+l", "screen.reload", "Reload", tooltip="Take what is on disk", id="code.reload", show=False),
    Binding(
        "f8",
        "screen.quiet",
        "Suggestions",
        tooltip="As you type, on or off for this language",
        id="code.quiet",
        show=False,
    ),
    Binding(
        "alt+z",
        "screen.wrap",
        "Soft wrap",
        tooltip="Long lines go on in the next row, or beyond the edge",
        id="code.wrap",
        show=False,
    ),
    Binding(
        "f9", "screen.external", "$EDITOR", tooltip="Open the file in your own editor", id="code.external", show=False
    ),
)
"""What the screen does wherever the focus is."""


class Editor(Canvas):
    # The editor runs these itself, in the order in which the keys came; Textual runs bindings after the letters that
    # were typed behind them.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "tab", "Accept", tooltip="Take all of the ghost text, or indent", id="code.accept", show=False),
        Binding(
            "shift+tab",
            "back_tab",
            "Accept line",
            tooltip="Take its next line, or dedent",
            id="code.accept_line",
            show=False,
        ),
        Binding(
            "ctrl+right",
            "word_right",
            "Accept word",
            tooltip="Take its next word, or go one word on",
            id="code.accept_word",
            show=False,
        ),
        Binding(
            "ctrl+@,ctrl+space",
            "suggest",
            "Suggest",
            tooltip="Ask the model what comes here",
            id="code.suggest",
            key_display="^space",
        ),
        Binding("escape", "dismiss", "Dismiss", tooltip="Take the ghost text away", id="code.dismiss", show=False),
        Binding("enter", "new_line", "New line", id="code.newline", show=False),
        Binding("ctrl+home", "start", "To the start", id="code.start", show=False),
        Binding("ctrl+end", "end", "To the end", id="code.end", show=False),
        *SCREEN_KEYS,
    ]

    @dataclass
    class Typed(Message):
        """The text or the cursor was moved by a key and no ghost text is shown."""

        editor: "Editor"
        text: str
        """What was typed; empty for anything else than typing."""
        edited: bool

    @dataclass
    class Asked(Message):
        """The user wants a suggestion now."""

        editor: "Editor"

    @dataclass
    class Decided(Message):
        """What became of ghost text; `how` is None when it was dismissed, `text` is what was inserted."""

        editor: "Editor"
        shown: "Shown"
        how: How | None
        text: str = ""

    @dataclass
    class TypedOn(Message):
        """The user typed what the ghost text said."""

        editor: "Editor"
        shown: "Shown"
        text: str

    def __init__(self, text: str, path: str, soft_wrap: bool = False) -> None:
        self._own_edit = False
        self._verbatim = False
        super().__init__(text, path, soft_wrap)
        self.history = EditHistory(_UNDO_STEPS, checkpoint_timer=2.0, checkpoint_max_characters=100)
        unit = indent.unit_of(self.source.lines)
        self.unit = unit
        self.indent_type = "tabs" if unit == "\t" else "spaces"
        self.indent_width = 4 if unit == "\t" else len(unit)

    @property
    def ghost(self) -> GhostText | None:
        return self._ghost

    # Ghost text

    def show_ghost(self, shown: "Shown") -> None:
        """Draws a suggestion at the cursor; the document stays as it is."""
        row, column = self.cursor_location
        text = shown.text.replace("\r\n", "\n").replace("\r", "\n")
        self._ghost = GhostText(shown, text, row, column)
        first = self.rows.location_to_offset((row, column)).y
        behind = self.rows.top(row) + len(self._ghost_rows(self._ghost))
        hidden = min(behind, first + self.size.height - 1) - (self.scroll_offset.y + self.size.height)
        if hidden > 0:
            self.scroll_to(y=self.scroll_offset.y + hidden, animate=False)
        self.refresh()

    def drop_ghost(self) -> None:
        if self._ghost is not None:
            self._ghost = None
            self.refresh()

    def accept(self, how: How) -> None:
        """Inserts what is shown, or its next line or word, and draws the rest."""
        ghost = self._ghost
        if ghost is None:
            return
        text = ghost.part(how)
        self.history.checkpoint()
        self._own_edit = True
        try:
            self.insert(text, (ghost.row, ghost.column))
        finally:
            self._own_edit = False
        self.history.checkpoint()
        self._ghost = ghost.behind(text, *self.cursor_location)
        self.post_message(self.Decided(self, ghost.shown, how, text.replace("\n", self.source.newline)))
        if self._ghost is None:
            self.post_message(self.Typed(self, "", edited=True))

    def action_suggest(self) -> None:
        self.post_message(self.Asked(self))

    def action_dismiss(self) -> None:
        ghost = self._ghost
        if ghost is not None:
            self.drop_ghost()
            self.post_message(self.Decided(self, ghost.shown, None))

    # Keys

    async def _on_key(self, event: events.Key) -> None:
        binding = bound(self, event.key)
        if binding is None:
            return  # letters are the base class's
        if binding.action == "dismiss" and self._ghost is None:
            event.prevent_default()  # the screen's
            return
        event.stop()
        event.prevent_default()
        await self.run_action(binding.action)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._ghost is not None if action == "dismiss" else True

    def action_tab(self) -> None:
        (top, _), (bottom, _) = sorted(self.selection)
        if self._ghost is not None:
            self.accept("whole")
        elif top != bottom:
            self._reindent(lambda line: self.unit + line if line.strip() else line)
        elif self.indent_type == "tabs":
            self._replace_via_keyboard("\t", *self.selection)
        else:
            self._replace_via_keyboard(" " * self._find_columns_to_next_tab_stop(), *self.selection)

    def action_back_tab(self) -> None:
        if self._ghost is not None:
            self.accept("line")
        else:
            self._reindent(lambda line: indent.dedented(line, self.unit))

    def action_word_right(self) -> None:
        if self._ghost is not None:
            self.accept("word")
        else:
            self.action_cursor_word_right()

    def action_new_line(self) -> None:
        row, column = min(self.selection)
        below = indent.next_line(self.source.get_line(row)[:column], self.unit)
        self._replace_via_keyboard("\n" + below, *self.selection)

    def action_start(self) -> None:
        self.move_cursor((0, 0))

    def action_end(self) -> None:
        self.move_cursor(self.document.end)

    def _reindent(self, change: Callable[[str], str]) -> None:
        (top, _), (bottom, right) = sorted(self.selection)
        if bottom > top and right == 0:
            bottom -= 1
        lines = self.source.lines[top : bottom + 1]
        changed = [change(line) for line in lines]
        if changed == lines:
            return
        row, column = self.cursor_location
        shift = len(changed[row - top]) - len(lines[row - top]) if top <= row <= bottom else 0
        self.replace("\n".join(changed), (top, 0), (bottom, len(lines[-1])))
        if top == bottom:
            self.move_cursor((row, max(0, column + shift)))
        else:
            self.selection = Selection((top, 0), (bottom, len(changed[-1])))

    # Edits

    def edit(self, edit: Edit) -> EditResult:
        ghost, self_made = self._ghost, self._own_edit
        if not self._verbatim:
            edit.text = self.source.fitting(edit.text)
        self._own_edit = True  # the cursor moves: that is part of the edit
        try:
            result = super().edit(edit)
        finally:
            self._own_edit = self_made
        if self_made:
            return result
        typed = edit.text.replace(self.source.newline, "\n") if edit.from_location == edit.to_location else ""
        if ghost is not None and typed and edit.from_location == (ghost.row, ghost.column):
            rest = ghost.behind(typed, *result.end_location)
            if rest is not None:
                self._ghost = rest
                self.post_message(self.TypedOn(self, ghost.shown, typed))
                return result
        self.drop_ghost()
        self.post_message(self.Typed(self, typed, edited=True))
        return result

    def _undo_batch(self, edits: Sequence[Edit]) -> None:
        self.drop_ghost()
        super()._undo_batch(edits)

    def _redo_batch(self, edits: Sequence[Edit]) -> None:
        self.drop_ghost()
        super()._redo_batch(edits)

    def _watch_selection(self, previous_selection: Selection, selection: Selection) -> None:
        super()._watch_selection(previous_selection, selection)
        if previous_selection != selection and not self._own_edit:
            self.drop_ghost()
            self.post_message(self.Typed(self, "", edited=False))

    def replace_all(self, text: str) -> None:
        """Puts another text in the place of the whole one; undo brings it back, the cursor stays near."""
        cursor = self.cursor_location
        top = self.scroll_offset.y
        self.history.checkpoint()
        if (newline := newline_of(text)) != self.source.newline:
            self.source.adopt(newline)
        self._own_edit = self._verbatim = True
        try:
            self.replace(text, (0, 0), self.document.end)
            self.move_cursor(self.clamp_visitable(cursor))
        finally:
            self._own_edit = self._verbatim = False
        self.history.checkpoint()
        self.drop_ghost()
        self.scroll_to(y=top, animate=False)
