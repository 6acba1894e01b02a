"""Text that grows at its end at a flat cost: what is finished is laid out and drawn once."""

from dataclasses import dataclass, field

from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.geometry import Size
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget


@dataclass
class _Drawn:
    """Finished parts as lines of the screen, as long as nothing changes how they look."""

    key: object = None
    parts: int = 0
    lines: int = 0
    """Of their text, however many of the screen they take."""
    strips: list[Strip] = field(default_factory=list)


class Growing(Widget):
    """Finished parts, each a few lines, then one that is still written; every part begins on a line of its own.

    A widget for each part would do the same, but Textual arranges all of them whenever one changes: with 67 of them a
    change cost 58 ms instead of 21.
    """

    def __init__(self, classes: str = "") -> None:
        super().__init__(classes=classes)
        self._finished: list[Content] = []
        self._last = Content("")
        self._drawn = _Drawn()
        self._heights: tuple[int, int, int] = (0, 0, 0)
        """Of the finished parts: for which width, how many of them, and their lines."""

    @property
    def parts(self) -> list[Content]:
        """The last one may be empty."""
        return [*self._finished, self._last]

    def grow(self, finished: list[Content], last: Content) -> None:
        """
        Args:
            finished: further parts that will not change.
            last: takes the place of the part that was the last.
        """
        self._finished += finished
        self._last = last
        self.clear_cached_dimensions()
        self.refresh(layout=True)

    def render(self) -> Content:
        return Content("\n").join(self.parts if self._shows_last else self._finished)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if not width:
            return 0
        rules = self.styles.get_rules()
        known, count, height = self._heights
        if known != width:
            count = height = 0
        height += sum(part.get_height(rules, width) for part in self._finished[count:])
        self._heights = (width, len(self._finished), height)
        return height + (self._last.get_height(rules, width) if self._shows_last else 0)

    @property
    def _shows_last(self) -> bool:
        return len(self._last) > 0 or not self._finished

    def _render_content(self) -> None:
        if self.text_selection is not None:
            # A selection counts lines from the beginning.
            super()._render_content()
            return
        width, style = self.size.width, self.visual_style
        key = (width, style, self.app.theme)
        if self._drawn.key != key:
            self._drawn = _Drawn(key)
        drawn = self._drawn
        for part in self._finished[drawn.parts :]:
            drawn.strips += self._strips(part, width, drawn.lines)
            drawn.lines += str(part).count("\n") + 1
        drawn.parts = len(self._finished)
        last = self._strips(self._last, width, drawn.lines) if self._shows_last else []
        self._render_cache = type(self._render_cache)(self.size, [*drawn.strips, *last])
        self._dirty_regions.clear()

    def _strips(self, part: Content, width: int, above: int) -> list[Strip]:
        return [_lowered(strip, above) for strip in Visual.to_strips(self, part, width, None, self.visual_style)]


def _lowered(strip: Strip, by: int) -> Strip:
    """A strip that tells a selection by the mouse that it stands so many lines further below."""
    if not by:
        return strip
    moved = []
    for text, style, control in strip:
        place = style.meta.get("offset") if style else None
        further = Style(meta={"offset": (place[0], place[1] + by)}) if place else None
        moved.append(Segment(text, style + further if style and further else style, control))
    return Strip(moved, strip.cell_length)
