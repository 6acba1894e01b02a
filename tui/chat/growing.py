"""Text that grows at its end at a flat cost: what is finished is laid out and drawn once."""

from dataclasses import dataclass, field
from itertools import takewhile

from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.geometry import Region, Size
from textual.reactive import Reactive
from textual.strip import Strip
from textual.style import Style as VisualStyle
from textual.visual import Visual
from textual.widget import Widget


@dataclass
class _Drawn:
    """Lines of the text as lines of the screen, as long as nothing changes how they look."""

    key: object = None
    strips: list[Strip] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """For each line of the text how many of the screen it and those before it take."""

    def keep(self, lines: int) -> None:
        """Forgets all but so many lines of the text."""
        del self.ends[lines:]
        del self.strips[self.ends[-1] if self.ends else 0 :]


class Growing(Widget):
    """Finished parts, each a few lines, then one that is still written; every part begins on a line of its own.

    A widget for each part would do the same, but Textual arranges all of them whenever one changes: with 67 of them a
    change cost 58 ms instead of 21.
    """

    # Nothing hangs on it: the layout that gave it its size need not be done again.
    virtual_size = Reactive(Size(0, 0), repaint=False)

    def __init__(self, classes: str = "") -> None:
        super().__init__(classes=classes)
        self._lines = [Content("")]
        self.finished = 0
        """Lines that will not change."""
        self._drawn = _Drawn()
        self._width = 0
        self._ends: list[int] = []
        """As drawn, at that width."""

    @property
    def content(self) -> Content:
        """All of the text."""
        return Content("\n").join(self._lines)

    def grow(self, finished: list[Content], last: Content) -> None:
        """
        Args:
            finished: further parts that will not change.
            last: takes the place of the part that was the last.
        """
        final = [line for part in finished for line in part.split("\n", allow_blank=True)]
        shown = last or not (final or self.finished)
        fresh = [*final, *(last.split("\n", allow_blank=True) if shown else ())]
        # Most of what is still written looks as it did before.
        before = self._lines[self.finished :]
        same = sum(1 for _ in takewhile(lambda pair: pair[0].is_same(pair[1]), zip(before, fresh, strict=False)))
        kept = self.finished + same
        self._lines[kept:] = fresh[same:]
        self.finished += len(final)
        self._drawn.keep(kept)
        del self._ends[kept:]
        self.clear_cached_dimensions()
        self.refresh(layout=True)

    def render(self) -> Content:
        return self.content

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if not width:
            return 0
        if self._width != width:
            self._width, self._ends = width, []
        rules = self.styles.get_rules()
        for line in self._lines[len(self._ends) :]:
            self._ends.append(line.get_height(rules, width) + (self._ends[-1] if self._ends else 0))
        return self._ends[-1]

    def render_lines(self, crop: Region) -> list[Strip]:
        if self.text_selection is not None or self.gutter or self.opacity != 1.0:
            return super().render_lines(crop)
        # Not by way of Textual's cache, which begins anew with each change of the size: what was cut and coloured
        # for the terminal stays with the strips.
        if self._dirty_regions:
            self._render_content()
        strips = self._render_cache.lines[crop.y : crop.bottom]
        background = self.background_colors[1]
        for each in self.get_line_filters():
            strips = [strip.apply_filter(each, background) for strip in strips]
        if crop.column_span != (0, self.size.width):
            strips = [strip.crop(*crop.column_span) for strip in strips]
        return strips

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
        beneath, own = self.background_colors
        rest = VisualStyle(background=beneath + own).rich_style
        for number, line in enumerate(self._lines[len(drawn.ends) :], start=len(drawn.ends)):
            strips = Visual.to_strips(self, line, width, None, style)
            drawn.strips += [_lowered(strip, number).adjust_cell_length(width, rest) for strip in strips]
            drawn.ends.append(len(drawn.strips))
        self._render_cache = type(self._render_cache)(self.size, drawn.strips)
        self._dirty_regions.clear()


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
