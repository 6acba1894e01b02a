"""A plot's lines as pixels, for terminals that draw pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tui.jobs.braille import Point

Colour = tuple[int, int, int]
Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Line:
    points: tuple[Point, ...]
    """By ascending x."""
    colour: Colour
    opacity: float
    thick: float
    """Pixels."""


def painted(
    lines: Sequence[Line], width: int, height: int, across: tuple[float, float], upward: tuple[float, float]
) -> bytes:
    """The lines with smooth edges on nothing, a later one over an earlier one, as RGBA of `width` by `height` pixels.

    Args:
        across, upward: what the axes cover; a range without extent puts the line into the middle.
    """
    out = np.zeros((height, width, 4), np.float32)
    for line in lines:
        margin = max(0.0, line.thick / 2 - 0.5)
        aside, above = min(margin, (width - 1) / 2), min(margin, (height - 1) / 2)
        x = _scaled([x for x, _ in line.points], across, aside, width - 1 - aside)
        y = _scaled([y for _, y in line.points], upward, height - 1 - above, above)
        over = _covered(x, y, width, height, line.thick) * line.opacity
        under = out[..., 3] * (1 - over)
        alpha = over + under
        share = np.divide(over, alpha, out=np.zeros_like(over), where=alpha > 0)[..., None]
        out[..., :3] = np.asarray(line.colour, np.float32) * share + out[..., :3] * (1 - share)
        out[..., 3] = alpha
    out[..., 3] *= 255
    return np.rint(out).astype(np.uint8).tobytes()


def _scaled(values: Sequence[float], span: tuple[float, float], low: float, high: float) -> Pixels:
    begin, end = span
    given = np.asarray(values, np.float64)
    share = np.full(given.shape, 0.5) if end <= begin else np.clip((given - begin) / (end - begin), 0, 1)
    return (low + share * (high - low)).astype(np.float32)


def _covered(x: Pixels, y: Pixels, width: int, height: int, thick: float) -> Pixels:
    """How much of each pixel a line through the places covers, 0 to 1."""
    found = np.zeros((height, width), np.float32)
    reach = thick / 2 + 1
    for start in range(max(1, len(x) - 1)):
        end = min(start + 1, len(x) - 1)
        (x0, x1), (y0, y1) = (x[start], x[end]), (y[start], y[end])
        left, right = max(0, int(min(x0, x1) - reach)), min(width, int(max(x0, x1) + reach) + 2)
        top, bottom = max(0, int(min(y0, y1) - reach)), min(height, int(max(y0, y1) + reach) + 2)
        if left >= right or top >= bottom:
            continue
        across = np.arange(left, right, dtype=np.float32)[None, :] - x0
        down = np.arange(top, bottom, dtype=np.float32)[:, None] - y0
        dx, dy = x1 - x0, y1 - y0
        length = dx * dx + dy * dy
        along = np.clip((across * dx + down * dy) / length, 0, 1) if length > 0 else np.zeros_like(across + down)
        distance = np.hypot(across - along * dx, down - along * dy)
        part = found[top:bottom, left:right]
        np.maximum(part, np.clip(thick / 2 + 0.5 - distance, 0, 1), out=part)
    return found
