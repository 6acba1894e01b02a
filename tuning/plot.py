"""A picture of a run's loss: a small SVG without scripts, fonts or colours of its own background."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_WIDTH, _HEIGHT = 640, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 26, 28
_MOST_POINTS = 600
_STYLE = """
  text { font: 12px sans-serif; fill: #57606a }
  .grid { stroke: #57606a; stroke-opacity: .25 }
  .raw { stroke: #0969da; stroke-opacity: .3 } .mean { stroke: #0969da; stroke-width: 2 }
  .validation { stroke: #bc4c00; stroke-width: 2 } circle { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #b1bac4 } .grid { stroke: #b1bac4 }
    .raw, .mean { stroke: #58a6ff } .validation { stroke: #f0883e } circle { fill: #f0883e }
  }
"""

Point = tuple[float, float]


@dataclass(frozen=True)
class Curves:
    """What a run measured, by optimizer step."""

    loss: tuple[Point, ...]
    """Nats per token."""
    validation: tuple[Point, ...]
    """Bits per byte."""


def read_metrics(file: Path) -> Curves:
    """The curves of a metrics.jsonl: one JSON object a line, with `step`, `loss` and, where measured, `validation`.

    Lines that are cut short or lack a number are skipped: a run that was killed leaves such a line. A step that stands
    there twice (the run went on from an earlier checkpoint) counts as it was last computed.
    """
    loss: dict[float, float] = {}
    validation: dict[float, float] = {}
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
                step = float(entry["step"])
            except (ValueError, KeyError, TypeError):
                continue
            for name, curve in (("loss", loss), ("validation", validation)):
                value = entry.get(name)
                if isinstance(value, int | float) and math.isfinite(value):
                    curve[step] = float(value)
    return Curves(tuple(sorted(loss.items())), tuple(sorted(validation.items())))


def loss_svg(curves: Curves) -> str | None:
    """The plot; None when there are not two losses to join by a line.

    The training loss stands thin as measured and thick as a running mean, the validation below it in its own unit.
    """
    if len(curves.loss) < 2:
        return None
    panels = [_panel("training loss, nats per token", curves.loss, curves.loss, 0, training=True)]
    if curves.validation:
        panels.append(_panel("validation, bits per byte", curves.validation, curves.loss, _HEIGHT, training=False))
    height = _HEIGHT * len(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="Loss by optimizer step">\n<style>{_STYLE}</style>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def _panel(title: str, points: Sequence[Point], span: Sequence[Point], top: int, training: bool) -> str:
    """One curve under its title.

    Args:
        span: points whose steps the horizontal axis covers.
    """
    first, last = span[0][0], max(span[-1][0], points[-1][0])
    low, high = min(y for _, y in points), max(y for _, y in points)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(point: Point) -> str:
        x = _LEFT + width * (point[0] - first) / max(last - first, 1e-9)
        y = top + _TOP + height * (high - point[1]) / (high - low)
        return f"{x:.1f},{y:.1f}"

    def line(kind: str, drawn: Sequence[Point]) -> str:
        return f'<polyline class="{kind}" fill="none" points="{" ".join(map(place, drawn))}"/>'

    parts = [f'<text x="{_LEFT}" y="{top + 16}">{title}</text>']
    for share in (0.0, 0.5, 1.0):
        y = top + _TOP + height * (1 - share)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{low + share * (high - low):.2f}</text>')
    bottom = top + _HEIGHT - 8
    parts.append(f'<text x="{_LEFT}" y="{bottom}">step {first:.0f}</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{bottom}" text-anchor="end">{last:.0f}</text>')
    if training:
        parts += [line("raw", thinned(points)), line("mean", thinned(running_mean(points)))]
    else:
        parts.append(line("validation", points))
        parts += ['<circle r="3" cx="{}" cy="{}"/>'.format(*place(point).split(",")) for point in points]
    return "\n".join(parts)


def running_mean(points: Sequence[Point]) -> list[Point]:
    """Each value's mean with its neighbours, over a tenth of all."""
    half = max(1, len(points) // 20)
    values = [y for _, y in points]
    means = []
    for index, (x, _) in enumerate(points):
        around = values[max(0, index - half) : index + half + 1]
        means.append((x, math.fsum(around) / len(around)))
    return means


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most `_MOST_POINTS` of the points, the first and the last among them."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    stride = (len(points) - 1) / (_MOST_POINTS - 1)
    return [points[round(number * stride)] for number in range(_MOST_POINTS)]
