"""Plots as SVG: no script, no font, no colour of their own. Classes `m0`, `m1` ... give the model's colour, and models
differ in their marks too."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence

from evals.report import words
from evals.report.markdown import error_classes
from evals.report.schema import Figure, TaskReport

_WIDTH = 640.0
_LEFT, _RIGHT = 200.0, 24.0
_ROW = 22.0
_POINTS = 200
"""Steps of a latency curve at most."""


def scores(task: TaskReport) -> str | None:
    """Each figure with its interval, one line a model; figures of shares on one axis from 0 to 100 %, others each on
    their own."""
    figures = list(dict.fromkeys(name for model in task.models for name in model.figures))
    if not figures:
        return None
    rows = sum(name in model.figures for model in task.models for name in figures)
    svg = _svg(_ROW * rows + 12.0 * len(figures) + 8.0, "Scores with their 95 % intervals")
    right = _WIDTH - 190
    y = 20.0
    for name in figures:
        found = [(number, model.figures[name]) for number, model in enumerate(task.models) if name in model.figures]
        at = _scale(*extent([figure for _, figure in found]), _LEFT, right)
        _text(svg, _LEFT - 12, y + 4, words.label(name), anchor="end")
        _line(svg, _LEFT, y - 12, _LEFT, y + _ROW * (len(found) - 1) + 12, "axis")
        for number, figure in found:
            group = ET.SubElement(svg, "g", {"class": f"m{number % 4}"})
            shown = words.with_interval(figure)
            _line(group, _LEFT, y, right, y, "grid")
            ET.SubElement(group, "title").text = f"{task.models[number].facts['name']}: {shown}"
            if figure.low is not None and figure.high is not None:
                _line(group, at(figure.low), y, at(figure.high), y, "bar")
            _mark(group, at(figure.value), y, number)
            _text(svg, right + 16, y + 4, shown, kind="value")
            y += _ROW
        y += 12
    return _string(svg)


def classes(task: TaskReport) -> str | None:
    """Samples of each error class, a bar a model; None where the task knows no errors."""
    found = error_classes(task)
    if not found:
        return None
    most = max(model.classes.get(name, 0) for model in task.models for name in found)
    bar = 12.0
    height = len(found) * (bar * len(task.models) + 10) + 16
    svg = _svg(height, "Samples of each error class")
    at = _scale(0, most, _LEFT, _WIDTH - _RIGHT - 40)
    y = 8.0
    for name in found:
        _text(svg, _LEFT - 12, y + bar * len(task.models) / 2 + 4, name, anchor="end")
        for number, model in enumerate(task.models):
            count = model.classes.get(name, 0)
            group = ET.SubElement(svg, "g", {"class": f"m{number % 4}"})
            ET.SubElement(group, "title").text = f"{model.facts['name']}: {name} {count}"
            _rectangle(group, _LEFT, y, at(count) - _LEFT, bar - 2)
            _text(svg, at(count) + 6, y + 9, str(count), kind="value")
            y += bar
        y += 10
    return _string(svg)


def calibration(task: TaskReport) -> str | None:
    """Observed against stated probability; the diagonal is perfect. Larger marks hold more samples."""
    found = [(number, model.calibration) for number, model in enumerate(task.models) if model.calibration]
    if not found:
        return None
    size, left, top = 260.0, 52.0, 12.0
    svg = _svg(size + 60, "Reliability: observed share against stated probability", width=340.0)
    across, down = _scale(0, 1, left, left + size), _scale(0, 1, top + size, top)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        _line(svg, across(tick), down(0), across(tick), down(1), "grid")
        _line(svg, across(0), down(tick), across(1), down(tick), "grid")
        _text(svg, across(tick), down(0) + 16, f"{tick:.0%}", anchor="middle", kind="tick")
        _text(svg, across(0) - 6, down(tick) + 4, f"{tick:.0%}", anchor="end", kind="tick")
    _line(svg, across(0), down(0), across(1), down(1), "diagonal")
    _text(svg, across(0.5), down(0) + 36, "stated probability; upwards: observed", anchor="middle", kind="tick")
    for number, made in found:
        most = max(each.count for each in made.bins)
        group = ET.SubElement(svg, "g", {"class": f"m{number % 4}"})
        points = " ".join(f"{across(each.stated):.1f},{down(each.observed):.1f}" for each in made.bins)
        ET.SubElement(group, "polyline", {"points": points, "class": "curve"})
        for each in made.bins:
            marked = ET.SubElement(group, "g")
            shown = f"{each.stated:.0%} stated, {each.observed:.0%} observed, {each.count} samples"
            ET.SubElement(marked, "title").text = f"{task.models[number].facts['name']}: {shown}"
            _mark(marked, across(each.stated), down(each.observed), number, 3 + 4 * math.sqrt(each.count / most))
    return _string(svg)


def latency(task: TaskReport) -> str | None:
    """The share of samples that were answered within a time, on a logarithmic axis."""
    found = [
        (number, sorted(model.latency_seconds)) for number, model in enumerate(task.models) if model.latency_seconds
    ]
    positive = [value for _, seconds in found for value in seconds if value > 0]
    if not positive:
        return None
    low, high = 10 ** math.floor(math.log10(min(positive))), 10 ** math.ceil(math.log10(max(positive)))
    high = high if high > low else 10 * low
    left, top, size = 52.0, 12.0, 180.0
    svg = _svg(size + 56, "Share of samples answered within a time")
    across = _scale(math.log10(low), math.log10(high), left, _WIDTH - _RIGHT)
    down = _scale(0, 1, top + size, top)
    for share in (0.0, 0.5, 0.95):
        _line(svg, left, down(share), _WIDTH - _RIGHT, down(share), "grid")
        _text(svg, left - 6, down(share) + 4, f"{share:.0%}", anchor="end", kind="tick")
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        _line(svg, across(power), down(0), across(power), down(1), "grid")
        _text(svg, across(power), down(0) + 16, words.quantity(10.0**power, "seconds"), anchor="middle", kind="tick")
    for number, seconds in found:
        group = ET.SubElement(svg, "g", {"class": f"m{number % 4}"})
        ET.SubElement(group, "title").text = str(task.models[number].facts["name"])
        ranks = sorted({round(step * (len(seconds) - 1) / (_POINTS - 1)) for step in range(_POINTS)})
        steps = [(math.log10(max(seconds[rank], low)), (rank + 1) / len(seconds)) for rank in ranks]
        points = " ".join(f"{across(x):.1f},{down(share):.1f}" for x, share in [(steps[0][0], 0.0), *steps])
        ET.SubElement(group, "polyline", {"points": points, "class": "curve"})
        middle = steps[len(steps) // 2]
        _mark(group, across(middle[0]), down(middle[1]), number)
    return _string(svg)


def extent(figures: Sequence[Figure]) -> tuple[float, float]:
    """The ends of the axis that figures of one name are drawn on; of shares 0 to 1."""
    if all(figure.unit == "share" for figure in figures):
        return 0.0, 1.0
    values = [value for figure in figures for value in (figure.low, figure.value, figure.high) if value is not None]
    low, high = min(0.0, *values), max(0.0, *values)
    return low, high if high > low else low + 1.0


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (end - start) * (value - low) / span


def _svg(height: float, title: str, width: float = _WIDTH) -> ET.Element:
    attributes = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
    svg = ET.Element("svg", {**attributes, "role": "img", "aria-label": title, "class": "plot"})
    ET.SubElement(svg, "title").text = title
    return svg


def _string(svg: ET.Element) -> str:
    return ET.tostring(svg, encoding="unicode")


def _line(parent: ET.Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
    _shape(parent, "line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2}, kind)


def _rectangle(parent: ET.Element, x: float, y: float, width: float, height: float) -> None:
    _shape(parent, "rect", {"x": x, "y": y, "width": max(width, 0.0), "height": height}, "mark")


def _mark(parent: ET.Element, x: float, y: float, number: int, radius: float = 5.0) -> None:
    """Circle, square, diamond, triangle."""
    if number % 4 == 0:
        _shape(parent, "circle", {"cx": x, "cy": y, "r": radius}, "mark")
        return
    corners = {
        1: ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        2: ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
        3: ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
    }[number % 4]
    size = radius * 0.9
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    ET.SubElement(parent, "polygon", {"points": points, "class": "mark"})


def _shape(parent: ET.Element, tag: str, numbers: Mapping[str, float], kind: str) -> None:
    ET.SubElement(parent, tag, {**{name: f"{value:.1f}" for name, value in numbers.items()}, "class": kind})


def _text(parent: ET.Element, x: float, y: float, text: str, anchor: str = "start", kind: str = "label") -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "class": kind}
    ET.SubElement(parent, "text", place).text = text
