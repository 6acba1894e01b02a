"""The list above the input box that a half-typed mention or command opens. It never takes the focus."""

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.chat.completion import Offer, Row
from tui.inert import inert

_LABEL = 48


class Suggestions(OptionList, can_focus=False):
    def __init__(self) -> None:
        super().__init__(id="suggestions", markup=False)
        self.display = False
        self._offer: Offer | None = None
        self.moved = False
        """The user chose a row with the arrow keys: Enter then takes it."""

    def show(self, offer: Offer | None) -> None:
        """Shows what is offered; None closes the list."""
        if offer == self._offer:
            return
        self._offer = offer
        self.moved = False
        self.display = offer is not None
        if offer is not None:
            self.clear_options()
            width = min(max(cell_len(inert(row.label)) for row in offer.rows), _LABEL)
            self.add_options([Option(_line(row, width)) for row in offer.rows])
            self.highlighted = 0

    @property
    def open(self) -> bool:
        return self._offer is not None

    def move(self, step: int) -> None:
        if self._offer is not None:
            self.moved = True
            self.highlighted = ((self.highlighted or 0) + step) % len(self._offer.rows)

    @property
    def chosen(self) -> tuple[int, Row] | None:
        """How many characters before the cursor the chosen row replaces, and the row."""
        if self._offer is None:
            return None
        return self._offer.typed, self._offer.rows[self.highlighted or 0]


def _line(row: Row, width: int) -> Content:
    label = inert(row.label)
    gap = " " * (max(width - cell_len(label), 0) + 2)
    return Content.assemble((label, "$text-primary"), gap, (inert(row.note), "$text-muted"))
