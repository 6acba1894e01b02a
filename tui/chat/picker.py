"""A list to choose from with a line to search it: earlier inputs, earlier conversations."""

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.inert import inert
from tui.keybar import KeyBar

_MOST_ROWS = 200


class Picker(ModalScreen[str | None]):
    """Gives back the id of the chosen row, None when it was left. Subclasses say which rows there are for a query."""

    AUTO_FOCUS = "#picker-query"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", id="picker.leave"),
        Binding("up", "move(-1)", "Up", show=False, priority=True, id="picker.up"),
        Binding("down", "move(1)", "Down", show=False, priority=True, id="picker.down"),
        Binding("pageup", "move(-10)", "Page up", show=False, priority=True, id="picker.page_up"),
        Binding("pagedown", "move(10)", "Page down", show=False, priority=True, id="picker.page_down"),
    ]

    def __init__(self, title: str, query: str = "") -> None:
        super().__init__()
        self._heading = title
        self._query = query
        self._ids: list[str] = []

    def rows(self, query: str) -> Sequence[tuple[str, Content]]:
        """Id and line of each row, for what stands in the search line."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        with Vertical(id="picker"):
            yield Static(self._heading, markup=False, id="picker-title")
            yield Input(self._query, placeholder="type to search", id="picker-query", compact=True)
            yield OptionList(id="picker-list", markup=False)
            yield Static("", markup=False, id="picker-empty")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self.refresh_rows()

    @property
    def chosen(self) -> str | None:
        """The id of the row in the cursor."""
        at = self.query_one(OptionList).highlighted
        return self._ids[at] if at is not None and at < len(self._ids) else None

    def refresh_rows(self) -> None:
        view = self.query_one(OptionList)
        kept = self.chosen
        found = self.rows(self.query_one("#picker-query", Input).value)[:_MOST_ROWS]
        self._ids = [identifier for identifier, _ in found]
        view.clear_options()
        view.add_options([Option(line) for _, line in found])
        if found:
            view.highlighted = self._ids.index(kept) if kept in self._ids else 0
        self.query_one("#picker-empty", Static).update("" if found else "nothing found")

    @on(Input.Changed, "#picker-query")
    def _searched(self) -> None:
        self.refresh_rows()

    @on(Input.Submitted, "#picker-query")
    def _entered(self) -> None:
        self.dismiss(self.chosen)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._ids[event.option_index])

    def action_move(self, step: int) -> None:
        view = self.query_one(OptionList)
        if self._ids:
            view.highlighted = min(max((view.highlighted or 0) + step, 0), len(self._ids) - 1)

    def action_leave(self) -> None:
        self.dismiss(None)


class HistoryPicker(Picker):
    """Earlier inputs, the newest first; gives back the text."""

    def __init__(self, entries: Sequence[str], query: str = "") -> None:
        super().__init__("Earlier inputs", query)
        self._entries = list(dict.fromkeys(reversed(entries)))

    def rows(self, query: str) -> Sequence[tuple[str, Content]]:
        words = query.lower().split()
        found = [entry for entry in self._entries if all(word in entry.lower() for word in words)]
        return [(entry, Content(inert(" ⏎ ".join(entry.strip().splitlines())))) for entry in found[:_MOST_ROWS]]
