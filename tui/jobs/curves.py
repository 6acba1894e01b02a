"""The curves of a run: training loss and validation as plots, learning rate, memory and speed as one row each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textual.color import Color
from textual.content import Content
from textual.widget import Widget

from tui import images
from tui.jobs import braille
from tui.jobs.braille import Point
from tui.jobs.described import size
from tuning.jobs.metrics import Point as Step
from tuning.plot import running_mean, thinned


@dataclass(frozen=True)
class Drawing:
    """What stands between the axes of a plot."""

    shown: tuple[Point, ...]
    behind: tuple[Point, ...]
    """What `shown` is the mean of; empty where it is as measured."""
    width: int
    height: int
    """Both in cells."""
    across: tuple[float, float]
    upward: tuple[float, float]


class Plot(Widget):
    """One curve under its title, with its extent at the left and its steps below."""

    def __init__(self, title: str, unit: str, colour: str, empty: str, mean: bool, id: str) -> None:
        """
        Args:
            empty: said in place of a curve.
            mean: draw a running mean over what was measured, since that jumps from step to step.
        """
        super().__init__(id=id)
        self._title, self._unit, self._colour, self._empty, self._mean = title, unit, colour, empty, mean
        self._points: tuple[Point, ...] = ()
        self._cell: tuple[int, int] | None = None
        self._number = images.new_number()
        self._sent: tuple[Drawing, Color, Color, tuple[int, int]] | None = None

    def show(self, points: Sequence[Point]) -> None:
        if tuple(points) != self._points:
            self._points = tuple(points)
            self.refresh()

    def draw_pictures(self, cell: tuple[int, int] | None) -> None:
        """From now on as a picture for cells of so many pixels; None: in text."""
        self._cell = cell
        self.refresh()

    def on_unmount(self) -> None:
        if self._sent is not None and (driver := self.app._driver) is not None:
            driver.write(images.forgotten(self._number) + images.forgotten(self._number ^ 1))

    def render(self) -> Content:
        width, height = self.size.width, self.size.height
        # Behind a dialog colours are shaded, and a picture's number is a colour.
        picture = self._picture if self._cell is not None and self.screen.is_active else None
        return plotted(
            self._points, width, height, self._title, self._unit, self._colour, self._empty, self._mean, picture
        )

    def _picture(self, drawing: Drawing) -> list[Content] | None:
        """The rows in which the terminal shows it; None where it cannot."""
        driver = self.app._driver
        theme = self.app.theme_variables
        line, grey = (Color.parse(theme[name]) for name in (self._colour.removeprefix("$"), "foreground"))
        large = max(drawing.width, drawing.height) > images.MOST_CELLS
        if driver is None or self._cell is None or large or line.ansi is not None or grey.ansi is not None:
            return None
        wanted = drawing, line, grey, self._cell
        if wanted != self._sent:
            from tui.jobs.painted import Line, painted

            # The two numbers take turns: what is on the screen stays until the new rows are.
            self._number ^= 1
            width, height = drawing.width * self._cell[0], drawing.height * self._cell[1]
            lines = [Line(drawing.behind, grey.rgb, 0.3, self._cell[1] / 16)] if drawing.behind else []
            lines.append(Line(drawing.shown, line.rgb, 1.0, self._cell[1] / 9))
            pixels = painted(lines, width, height, drawing.across, drawing.upward)
            driver.write(images.sent(self._number, pixels, width, height, drawing.width, drawing.height))
            self._sent = wanted
        return [
            Content.styled(row, images.colour(self._number))
            for row in images.placeholders(drawing.width, drawing.height)
        ]


def plotted(
    points: Sequence[Point],
    width: int,
    height: int,
    title: str,
    unit: str,
    colour: str,
    empty: str,
    mean: bool,
    picture: Callable[[Drawing], list[Content] | None] | None = None,
) -> Content:
    """The plot as `height` rows of at most `width` cells; without two points the title and what is said instead.

    Args:
        picture: gives the rows between the axes in place of braille, or None.
    """
    head = [(title, "bold"), (f"  {unit}", "$foreground 60%")]
    if points:
        head.append((f"  {points[-1][1]:.3f}", colour))
    lines = [Content.assemble(*head).truncate(width, ellipsis=True)]
    room = height - 2
    if len(points) < 2 or room < 1:
        said = Content(empty if len(points) < 2 else "").stylize("$foreground 60%").truncate(width, ellipsis=True)
        return Content("\n").join([*lines, said][:height])
    drawn = thinned(points)
    shown = running_mean(drawn) if mean else drawn
    values = [y for _, y in drawn]
    low, high = min(values), max(values)
    bottom, top = braille.ticks(low, high)
    margin = max(len(bottom), len(top)) + 1
    across = points[0][0], points[-1][0]
    inner = max(1, width - margin)
    drawing = Drawing(tuple(shown), tuple(drawn) if mean else (), inner, room, across, (low, high))
    for number, row in enumerate((picture(drawing) if picture is not None else None) or in_text(drawing, colour)):
        label = top if number == 0 else bottom if number == room - 1 else ""
        cells = Content(f"{label:>{margin - 1}} ").stylize("$foreground 60%")
        lines.append(Content.assemble(cells, row).truncate(width))
    first, last = f"step {across[0]:.0f}", f"{across[1]:.0f}"
    gap = max(1, inner - len(first) - len(last))
    lines.append(Content(" " * margin + first + " " * gap + last).stylize("$foreground 60%").truncate(width))
    return Content("\n").join(lines)


def in_text(drawing: Drawing, colour: str) -> list[Content]:
    """The rows between the axes in braille."""
    axes = drawing.width, drawing.height, drawing.across, drawing.upward
    front, back = (braille.curve(points, *axes) for points in (drawing.shown, drawing.behind))
    rows = []
    for near, far in zip(front, back, strict=True):
        # Where both have dots the mean is drawn alone, or the line would drown in what it is the mean of.
        cells = [
            (one, colour) if one != " " else (other, "$foreground 30%") for one, other in zip(near, far, strict=True)
        ]
        rows.append(Content.assemble(*_runs(cells)))
    return rows


class Gauges(Widget):
    """Learning rate, memory and speed: the last value and how it went."""

    def __init__(self) -> None:
        super().__init__(id="gauges")
        self._steps: tuple[Step, ...] = ()
        self._peak = 0

    def show(self, steps: Sequence[Step], peak: int) -> None:
        self._steps, self._peak = tuple(thinned_steps(steps)), peak
        self.refresh()

    def render(self) -> Content:
        if not self._steps:
            return Content("")
        last = self._steps[-1]
        room = max(4, self.size.width // 3 - 27)
        peak = f" (peak {size(self._peak)})" if self._peak and self.size.width >= 120 else ""
        shown = (
            ("learning rate", f"{last.learning_rate:.1e}", [one.learning_rate for one in self._steps]),
            ("memory", size(round(last.memory)) + peak, [one.memory for one in self._steps]),
            ("speed", f"{last.tokens_per_second:,.0f} tok/s", [one.tokens_per_second for one in self._steps]),
        )
        parts = [
            Content.assemble((name, "$foreground 60%"), f" {value} ", (braille.sparkline(values, room), "$secondary"))
            for name, value, values in shown
        ]
        return Content("   ").join(parts).truncate(max(self.size.width, 1))


def thinned_steps(steps: Sequence[Step], most: int = 400) -> list[Step]:
    """At most so many of the steps, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(number * (len(steps) - 1) / (most - 1))] for number in range(most)]


def _runs(cells: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighbours of one style as one piece."""
    runs: list[tuple[str, str]] = []
    for text, style in cells:
        if runs and runs[-1][1] == style:
            runs[-1] = (runs[-1][0] + text, style)
        else:
            runs.append((text, style))
    return runs
