"""The curves of a run: training loss and validation as plots, learning rate, memory and speed as one row each."""

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from tui.jobs import braille
from tui.jobs.braille import Point
from tui.jobs.described import size
from tuning.jobs.metrics import Point as Step
from tuning.plot import running_mean, thinned


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

    def show(self, points: Sequence[Point]) -> None:
        if tuple(points) != self._points:
            self._points = tuple(points)
            self.refresh()

    def render(self) -> Content:
        width, height = self.size.width, self.size.height
        return plotted(self._points, width, height, self._title, self._unit, self._colour, self._empty, self._mean)


def plotted(
    points: Sequence[Point], width: int, height: int, title: str, unit: str, colour: str, empty: str, mean: bool
) -> Content:
    """The plot as `height` rows of at most `width` cells; without two points the title and what is said instead."""
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
    front = braille.curve(shown, inner, room, across, (low, high))
    back = braille.curve(drawn, inner, room, across, (low, high)) if mean else [" " * inner] * room
    for number, (near, far) in enumerate(zip(front, back, strict=True)):
        label = top if number == 0 else bottom if number == room - 1 else ""
        # Where both have dots the mean is drawn alone, or the line would drown in what it is the mean of.
        cells = [(f"{label:>{margin - 1}} ", "$foreground 60%")]
        for one, other in zip(near, far, strict=True):
            style = colour if one != " " else "$foreground 30%"
            cells.append((one if one != " " else other, style))
        lines.append(Content.assemble(*_runs(cells)).truncate(width))
    first, last = f"step {across[0]:.0f}", f"{across[1]:.0f}"
    gap = max(1, inner - len(first) - len(last))
    lines.append(Content(" " * margin + first + " " * gap + last).stylize("$foreground 60%").truncate(width))
    return Content("\n").join(lines)


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
