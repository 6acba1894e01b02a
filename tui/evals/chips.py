"""A row of choices, one of which is taken: by the mouse here, by keys of the screen."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

_GAP = 2


class Chips(Widget):
    @dataclass
    class Chosen(Message):
        chips: "Chips"
        name: str

        @property
        def control(self) -> "Chips":
            return self.chips

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._chips: tuple[tuple[str, str], ...] = ()
        self._chosen = ""

    def show(self, chips: Sequence[tuple[str, str]], chosen: str) -> None:
        """
        Args:
            chips: a name and what is shown of each.
            chosen: the name of one.
        """
        if (tuple(chips), chosen) != (self._chips, self._chosen):
            self._chips, self._chosen = tuple(chips), chosen
            self.refresh()

    def render(self) -> Content:
        drawn = [
            Content(label).stylize("$primary bold" if name == self._chosen else "$foreground 60%")
            for name, label in self._chips[self._first() :]
        ]
        return Content(" " * _GAP).join(drawn).truncate(max(self.size.width, 1), ellipsis=True)

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        left = 0
        for name, label in self._chips[self._first() :]:
            right = left + Content(label).cell_length
            if at is not None and left <= at.x < right:
                self.post_message(self.Chosen(self, name))
            left = right + _GAP

    def _first(self) -> int:
        """The first that is shown, so that the chosen one is."""
        names = [name for name, _ in self._chips]
        end = names.index(self._chosen) if self._chosen in names else 0
        first = 0
        while first < end and self._width(first, end) > self.size.width:
            first += 1
        return first

    def _width(self, first: int, last: int) -> int:
        return sum(Content(label).cell_length + _GAP for _, label in self._chips[first : last + 1]) - _GAP
