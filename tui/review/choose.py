"""Which hunks of a fix are applied."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import SelectionList, Static
from textual.widgets.selection_list import Selection

from tui.review.detail import edit_lines

if TYPE_CHECKING:
    from assistant.skills.review.changes import FileChange
    from assistant.skills.review.findings import Edit


class Hunks(ModalScreen["tuple[Edit, ...]"]):
    """Dismissed with the chosen edits, in their order; with none by Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "Apply", priority=True, id="hunks.take"),
        Binding("escape", "leave", "Back", id="hunks.leave"),
    ]

    def __init__(self, edits: "Sequence[Edit]", change: "FileChange") -> None:
        super().__init__()
        self._edits = tuple(edits)
        self._change = change

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Static("Which parts of the fix?  Space chooses, Enter applies, Esc goes back.", markup=False)
            yield SelectionList[int](
                *(
                    Selection(Content("\n").join(edit_lines(edit, self._change)), number, True)
                    for number, edit in enumerate(self._edits)
                )
            )

    def action_take(self) -> None:
        chosen = self.query_one(SelectionList).selected
        self.dismiss(tuple(self._edits[number] for number in sorted(chosen)))

    def action_leave(self) -> None:
        self.dismiss(())
