"""Curves of text: braille patterns have two dots by four in a cell, so they stay crisp at any size.

Pure functions; colours and widgets are elsewhere.
"""

import math
from collections.abc import Sequence

Point = tuple[float, float]

_FIRST = 0x2800
# Bits of a cell's dots, by column and by row from the top; see the Unicode chart U+2800.
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLOCKS = "▁▂▃▄▅▆▇█"


def curve(
    points: Sequence[Point], width: int, height: int, across: tuple[float, float], upward: tuple[float, float]
) -> list[str]:
    """The line through the points, as `height` rows of `width` cells, the uppermost first.

    Args:
        points: by ascending x.
        across, upward: what the axes cover; a range without extent puts the line into the middle.
    """
    columns, rows = 2 * width, 4 * height
    cells = [[0] * width for _ in range(height)]
    before: tuple[int, int] | None = None
    for x, y in points:
        here = _scaled(x, *across, columns), rows - 1 - _scaled(y, *upward, rows)
        for column, row in _between(before, here):
            cells[row // 4][column // 2] |= _BITS[column % 2][row % 4]
        before = here
    return ["".join(chr(_FIRST + bits) if bits else " " for bits in line) for line in cells]


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as one row of blocks, the lowest one as ▁; each cell is the mean of the values it stands for."""
    if not values or width < 1:
        return ""
    cells = min(width, len(values))
    means = []
    for cell in range(cells):
        some = values[cell * len(values) // cells : (cell + 1) * len(values) // cells]
        means.append(math.fsum(some) / len(some))
    low, high = min(means), max(means)
    # What is the same but for the last digits is a flat line.
    if high - low <= 1e-6 * max(abs(high), abs(low)):
        return _BLOCKS[0] * cells
    return "".join(_BLOCKS[_scaled(mean, low, high, len(_BLOCKS))] for mean in means)


def ticks(low: float, high: float) -> tuple[str, str]:
    """The two ends of an axis, with as many digits as tell them apart."""
    digits = 0 if high <= low else max(0, min(6, 2 - math.floor(math.log10(high - low))))
    return f"{low:.{digits}f}", f"{high:.{digits}f}"


def _scaled(value: float, low: float, high: float, count: int) -> int:
    """The place of a value among `count` from low to high; outside of them the nearest."""
    share = 0.5 if high <= low else (value - low) / (high - low)
    return min(count - 1, max(0, round(share * (count - 1))))


def _between(before: tuple[int, int] | None, here: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots from one to another without gaps; the first is left out."""
    if before is None:
        return [here]
    (left, top), (right, bottom) = before, here
    count = max(abs(right - left), abs(bottom - top))
    return [
        (left + round((right - left) * index / count), top + round((bottom - top) * index / count))
        for index in range(1, count + 1)
    ]
