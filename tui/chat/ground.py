"""Containers whose contents grow, at a flat cost."""

from rich.style import Style
from textual.geometry import Region, Size
from textual.reactive import Reactive
from textual.strip import Strip
from textual.widget import Widget


class Ground(Widget):
    """Goes after a container's class, whose styles count. Nothing may hang on its height, and it is of one colour.

    Textual lays the screen out and draws it once more for each container that has grown, and draws all lines of a
    container that its children cover.
    """

    virtual_size = Reactive(Size(0, 0), repaint=False)

    def render_line(self, y: int) -> Strip:
        return Strip.blank(self.size.width, Style.from_color(bgcolor=self.background_colors[1].rich_color))

    def render_lines(self, crop: Region) -> list[Strip]:
        top = max(crop.y, self.gutter.top)
        bottom = min(crop.bottom, self.outer_size.height - self.gutter.bottom)
        if bottom - top < 2:
            return super().render_lines(crop)
        alike = bottom - top - 1
        strips = super().render_lines(Region(crop.x, crop.y, crop.width, top - crop.y + 1))
        strips += [strips[-1]] * alike
        below = crop.bottom - bottom
        if below:
            strips += super().render_lines(Region(crop.x, bottom, crop.width, below))
        return strips
