"""Plots of a report as text: intervals, bars, curves. Pure functions; each gives lines of a width, top first."""

import math
from collections.abc import Callable, Sequence

from textual.content import Content

from tui.jobs import braille
from tui.jobs.braille import Point

COLOURS = ("$primary", "$secondary", "$accent", "$success")
MARKS = ("●", "◆", "■", "▲")
"""Of the models in their order, so that they differ without colour too."""
FAINT = "$foreground 30%"
MUTED = "$foreground 60%"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_CURVE_POINTS = 200

Layer = tuple[Sequence[str], str]
"""Rows of braille and their style."""


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def mark(number: int) -> str:
    return MARKS[number % len(MARKS)]


def interval(
    value: float,
    low: float | None,
    high: float | None,
    across: tuple[float, float],
    width: int,
    number: int,
    lines: Sequence[float] = (),
) -> Content:
    """A mark at the value and a bar over its interval, in one row.

    Args:
        across: what the row covers.
        number: of the model.
        lines: values at which a thin line stands behind it.
    """
    place = _scale(*across, width)
    cells = [("┈", FAINT)] * width
    for line in lines:
        cells[place(line)] = "│", MUTED
    if low is not None and high is not None:
        first, last = place(low), place(high)
        for cell in range(first, last + 1):
            cells[cell] = "━", colour(number)
        if last > first:
            cells[first], cells[last] = ("╺", colour(number)), ("╸", colour(number))
    cells[place(value)] = mark(number), f"{colour(number)} bold"
    return _assembled(cells)


def axis(labels: Sequence[str], width: int) -> Content:
    """Labels spread over the width, the first at its beginning and the last at its end; those that fit."""
    shown = list(labels)
    while len(shown) > 2 and sum(map(len, shown)) + 2 * (len(shown) - 1) > width:
        shown = [shown[0], shown[-1]]
    if len(shown) < 2 or sum(map(len, shown)) + 1 > width:
        return Content(" " * width)
    row = [" "] * width
    for number, label in enumerate(shown):
        middle = round(number * (width - 1) / (len(shown) - 1)) - len(label) // 2
        start = min(max(0, middle), width - len(label))
        row[start : start + len(label)] = label
    return Content("".join(row)).stylize(MUTED)


def bar(count: float, most: float, width: int, number: int) -> Content:
    """A bar to an eighth of a cell, filled up with blanks."""
    eighths = round(8 * width * count / most) if most else 0
    eighths = max(eighths, 1) if count else 0
    full, rest = divmod(eighths, 8)
    text = "█" * full + (_EIGHTHS[rest] if rest else "")
    return Content(text).stylize(colour(number)).pad_right(max(0, width - len(text)))


def reliability(models: Sequence[tuple[int, Sequence[Point]]], width: int, height: int) -> list[Content]:
    """Observed share against stated probability, under them the axis; the faint diagonal is perfect.

    Args:
        models: number of each and its points, by ascending x.
    """
    inner, room = _inner(width, height, "100%")
    square = (0.0, 1.0)
    layers = [(braille.curve(points, inner, room, square, square), colour(number)) for number, points in models]
    diagonal = braille.curve([(0, 0), (1, 1)], inner, room, square, square)
    return _framed([*layers, (diagonal, FAINT)], ("100%", "0%"), ("0%", "stated", "100%"), width, room)


def cumulative(
    models: Sequence[tuple[int, Sequence[float]]], width: int, height: int, said: Callable[[float], str]
) -> list[Content]:
    """The share of samples at or below a time, on a logarithmic axis; nothing without a positive time.

    Args:
        models: number of each and its times.
        said: a time as the axis tells it.
    """
    positive = [value for _, values in models for value in values if value > 0]
    if not positive:
        return []
    low, high = min(positive), max(positive)
    low, high = (low, high) if high > low else (low / 2, high * 2)
    across = math.log10(low), math.log10(high)
    inner, room = _inner(width, height, "100%")
    layers = []
    for number, values in models:
        ordered = sorted(values)
        ranks = sorted({round(step * (len(ordered) - 1) / (_CURVE_POINTS - 1)) for step in range(_CURVE_POINTS)})
        points = [(math.log10(max(ordered[rank], low)), (rank + 1) / len(ordered)) for rank in ranks]
        drawn = braille.curve([(points[0][0], 0.0), *points], inner, room, across, (0.0, 1.0))
        layers.append((drawn, colour(number)))
    middle = 10 ** (sum(across) / 2)
    return _framed(layers, ("100%", "0%"), (said(low), said(middle), said(high)), width, room)


def beside(blocks: Sequence[Sequence[Content]], width: int, gap: int) -> list[Content]:
    """Blocks of that width side by side, filled up at the right and below."""
    lines = []
    for row in range(max(map(len, blocks), default=0)):
        cells = [block[row] if row < len(block) else Content("") for block in blocks]
        lines.append(Content(" " * gap).join(cell.pad_right(max(0, width - cell.cell_length)) for cell in cells))
    return lines


def _inner(width: int, height: int, label: str) -> tuple[int, int]:
    return max(1, width - len(label) - 1), max(1, height - 1)


def _framed(
    layers: Sequence[Layer], upward: tuple[str, str], across: Sequence[str], width: int, room: int
) -> list[Content]:
    """The layers over each other, the first in front, with what the axes cover."""
    margin = max(map(len, upward)) + 1
    lines = []
    for number in range(room):
        label = upward[0] if number == 0 else upward[1] if number == room - 1 else ""
        cells = [(f"{label:>{margin - 1}} ", MUTED)]
        for column in range(max(1, width - margin)):
            found = next(((rows[number][column], style) for rows, style in layers if rows[number][column] != " "), None)
            cells.append(found or (" ", ""))
        lines.append(_assembled(cells))
    return [*lines, Content(" " * margin) + axis(across, max(1, width - margin))]


def _scale(low: float, high: float, width: int) -> Callable[[float], int]:
    """The cell of a value; outside of the range the nearest."""
    span = (high - low) or 1.0
    return lambda value: min(width - 1, max(0, round((value - low) / span * (width - 1))))


def _assembled(cells: Sequence[tuple[str, str]]) -> Content:
    """Neighbours of one style as one piece."""
    runs: list[tuple[str, str]] = []
    for text, style in cells:
        if runs and runs[-1][1] == style:
            runs[-1] = runs[-1][0] + text, style
        else:
            runs.append((text, style))
    return Content.assemble(*runs)
