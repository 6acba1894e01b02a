"""A text of a sample in the colours of its language, folded at the view's width; only the rows in view are drawn."""

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual._cells import cell_len
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.code import drawing
from tui.code.document import SourceDocument
from tui.code.grammars import grammar, grammar_name
from tui.inert import inert_in_place

MOST = 200_000
"""Characters that are shown of a text; the HTML report has all."""
_TAB = 4
_LONGEST = 1_000
"""Characters of a line that are folded together; a longer one is cut into such pieces first."""


class TextView(ScrollView, can_focus=True):
    COMPONENT_CLASSES: ClassVar[set[str]] = {*(f"syntax--{name}" for name in drawing.CLASSES), "text--more"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "screen.view(-1)", "View before", show=False, id="samples.view_before"),
        Binding("right", "screen.view(1)", "View", show=False, id="samples.view_next"),
    ]

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._text: tuple[str, str] | None = None
        self._document: SourceDocument | None = None
        self._lines: list[str] = []
        self._more = ""
        self._rows: list[tuple[int, int]] = []
        """Of each row its line and its first cell there."""
        self._folded_at = 0
        self._palette: dict[str, Style] = {}

    def show(self, text: str, path: str = "") -> None:
        """
        Args:
            path: its ending says which language colours the text.
        """
        if (text, path) == self._text:
            return
        self._text = (text, path)
        # Half of a surrogate pair, which a model may write, is no text that the parser takes.
        shown = text[:MOST].encode("utf-8", "replace").decode().replace("\r\n", "\n")
        left = max(0, len(text) - MOST)
        self._more = f"… {left:,} more characters; the HTML report has them" if left else ""
        name = grammar_name(path) if path else None
        lines = [inert_in_place(line) for line in shown.split("\n")]
        short = all(len(line) <= _LONGEST for line in lines)
        self._document = SourceDocument("\n".join(lines), grammar(name)) if name and short else None
        self._lines = lines if short else [piece for line in lines for piece in _cut(line)]
        self._fold()
        self.scroll_to(0, 0, animate=False)

    def on_resize(self) -> None:
        if self._folded_at != self.scrollable_content_region.width:
            self._fold()

    def notify_style_update(self) -> None:
        self._palette = {}
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        styles = self._styles()
        base, width, at = styles["base"], self.scrollable_content_region.width, y + self.scroll_offset.y
        if at == len(self._rows) and self._more:
            return drawing.strip([(self._more, styles["more"])], 0, width, 1, base)
        if at >= len(self._rows):
            return Strip.blank(width, base)
        number, left = self._rows[at]
        spans = self._document.spans(number, number).get(number, ()) if self._document is not None else ()
        under = [
            (start, end, base + styles[name])
            for start, end, capture in spans
            if (name := drawing.class_of(capture)) is not None and name != "plain"
        ]
        return drawing.strip(drawing.pieces(self._lines[number], base, under, ()), left, width, _TAB, base)

    def _fold(self) -> None:
        # Without a size yet: it is folded when there is one.
        width = self._folded_at = self.scrollable_content_region.width
        lines = enumerate(self._lines if width else ())
        self._rows = [(number, left) for number, line in lines for left in _folds(line.expandtabs(_TAB), width)]
        self.virtual_size = Size(width, len(self._rows) + bool(self._more))
        self.refresh()

    def _styles(self) -> dict[str, Style]:
        if not self._palette:
            get = self.get_component_rich_style
            more = get("text--more")
            self._palette = {"base": self.rich_style, "more": more, **drawing.palette(get)}
        return self._palette


def _folds(line: str, width: int) -> Sequence[int]:
    """The first cell of each row of a line; no wide character is cut in two."""
    if line.isascii():
        return range(0, max(1, len(line)), width)
    found, cells = [0], 0
    for character in line:
        size = cell_len(character)
        if cells + size > found[-1] + width:
            found.append(cells)
        cells += size
    return found


def _cut(line: str) -> list[str]:
    return [line[start : start + _LONGEST] for start in range(0, len(line), _LONGEST)] or [""]
