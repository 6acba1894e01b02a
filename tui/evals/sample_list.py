"""The list of samples; only the rows in view are drawn, so it may have any length."""

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from evals.report.skim import Answer, Place
from tui.code import drawing
from tui.evals.filters import Pair
from tui.inert import inert_in_place

RIGHT, WRONG, GRADED, MISSING = "✓", "✕", "◐", "·"


class SampleList(ScrollView, can_focus=True):
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"samples--{name}" for name in ("cursor", "right", "wrong", "graded", "muted"))
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="samples.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="samples.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="samples.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="samples.page_down"),
        Binding("left", "screen.view(-1)", "View before", show=False, id="samples.view_before"),
        Binding("right", "screen.view(1)", "View", show=False, id="samples.view_next"),
        Binding("home", "jump(0)", "First", show=False, id="samples.first"),
        Binding("end", "jump(-1)", "Last", show=False, id="samples.last"),
    ]

    class Turned(Message):
        """Another sample is under the cursor, or none."""

    def __init__(self) -> None:
        super().__init__(id="samples")
        self._places: Sequence[Place] = ()
        self._shown: Sequence[int] = ()
        self._pair = Pair(0, 0)
        self._attempts = False
        self._at = 0
        self._told: int | None = None

    @property
    def number(self) -> int | None:
        """Of the place under the cursor."""
        return self._shown[self._at] if self._shown else None

    def show(self, places: Sequence[Place], shown: Sequence[int], pair: Pair) -> None:
        """
        Args:
            shown: numbers of the places that the list has, ascending; the cursor stays on its place where it can.
        """
        before = self.number
        self._places, self._shown, self._pair = places, shown, pair
        self._attempts = any(place.attempt for place in places)
        following = (index for index, number in enumerate(shown) if before is not None and number >= before)
        self._at = next(following, max(0, len(shown) - 1)) if before is not None else 0
        self.virtual_size = Size(1, len(shown))
        self._follow()

    def action_move(self, step: int) -> None:
        self._go(self._at + step)

    def action_page(self, step: int) -> None:
        self._go(self._at + step * max(1, self.size.height - 1))

    def action_jump(self, to: int) -> None:
        self._go(to if to >= 0 else len(self._shown) - 1)

    def on_click(self, event: events.Click) -> None:
        self._go(event.y + self.scroll_offset.y)

    def on_resize(self) -> None:
        self.virtual_size = Size(1, len(self._shown))
        self._follow()

    def render_line(self, y: int) -> Strip:
        width, at = self.size.width, y + self.scroll_offset.y
        get = self.get_component_rich_style
        base = self.rich_style
        if at >= len(self._shown):
            return Strip.blank(width, base)
        fill = base + Style(bgcolor=get("samples--cursor").bgcolor) if at == self._at else base
        place = self._places[self._shown[at]]
        pieces: list[drawing.Piece] = []
        after = place.answers[self._pair.after]
        for number in dict.fromkeys((self._pair.before, self._pair.after)):
            sign, name = _sign(place.answers[number])
            pieces += [(sign, fill + Style(color=get(f"samples--{name}").color)), (" ", fill)]
        item = inert_in_place(place.item).replace("\t", " ")
        pieces.append((f"{item} #{place.attempt + 1}" if self._attempts else item, fill + Style(bold=at == self._at)))
        if after is not None and after.error:
            error = inert_in_place(after.error).replace("\t", " ")
            pieces.append((f"  {error}", fill + Style(color=get("samples--muted").color)))
        return drawing.strip(pieces, 0, width, 1, fill)

    def _go(self, to: int) -> None:
        if self._shown:
            self._at = min(max(to, 0), len(self._shown) - 1)
            self._follow()

    def _follow(self) -> None:
        top, height = self.scroll_offset.y, max(1, self.size.height)
        if not top <= self._at < top + height:
            self.scroll_to(y=self._at if self._at < top else self._at - height + 1, animate=False, immediate=True)
        self.refresh()
        if self.number != self._told:
            self._told = self.number
            self.post_message(self.Turned())


def _sign(answer: Answer | None) -> tuple[str, str]:
    if answer is None:
        return MISSING, "muted"
    if not answer.is_right:
        return WRONG, "wrong"
    return (GRADED, "graded") if 0 < answer.value < 1 else (RIGHT, "right")
