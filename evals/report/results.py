"""From sample rows to figures with intervals and paired comparisons: a task's part of a report."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evals import statistics
from evals.errors import HarnessError
from evals.report.schema import RIGHT, Better, Calibration, CalibrationBin, Comparison, Figure, ModelResult, TaskReport

Row = Mapping[str, Any]
"""A line of samples.jsonl."""
KS = (1, 10, 100)
"""Of pass@k, as Chen et al. (2021) have them."""
Cells = dict[str, list[tuple[float, float]]]
"""Group -> numerator and denominator of each of its items or samples, in the order of the rows."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a figure is."""

    name: str
    unit: str = "share"
    better: Better = "higher"
    binary: bool = False
    """Every cell is 0 or 1 over 1: a share, with Wilson interval and exact McNemar where each group has one cell."""


@dataclass(frozen=True, kw_only=True)
class Measure(Quantity):
    """A figure that samples add up to, as a ratio of sums: a mean has the denominator 1, F1 is 2 tp over
    2 tp + fp + fn, bits per byte are bits over bytes."""

    parts: Callable[[Row], tuple[float, float]]
    """Numerator and denominator that a sample adds."""


def task_report(
    name: str,
    version: str,
    settings: Mapping[str, Any],
    subjects: Sequence[tuple[Mapping[str, Any], Sequence[Row]]],
    *,
    measures: Sequence[Measure] = (),
    ks: Sequence[int] = KS,
    calibration: Callable[[Sequence[Row]], Calibration | None] = lambda rows: None,
    notes: Sequence[str] = (),
    seed: int = 0,
) -> TaskReport:
    """Figures of every model, and of each later one against the first.

    Without `measures`: pass@k for each of `ks` that the samples allow where every verdict on all models is 0 or 1, else
    the mean verdict as `score`.

    Args:
        subjects: facts (see `ModelResult`) and rows of each model, the reference first.

    Raises:
        HarnessError: the models were not measured on the same samples, or on none.
    """
    if not subjects:
        raise HarnessError(f"{name}: no model was measured")
    ordered = [(facts, sorted(rows, key=_order)) for facts, rows in subjects]
    _check_same(name, [(str(facts["name"]), rows) for facts, rows in ordered])
    # One model may have nothing but 0 and 1 at a task whose verdicts lie between them.
    graded = any(row["verdict"]["value"] not in (0, 1) for _, rows in ordered for row in rows)
    tables = [_tables(rows, measures, ks, graded) for _, rows in ordered]
    models = tuple(
        ModelResult(
            facts=facts,
            figures={measure.name: figure(measure, cells, seed) for measure, cells in table},
            classes=_classes(rows),
            calibration=calibration(rows),
            latency_seconds=tuple(float(row["seconds"]) for row in rows if row["seconds"] is not None),
        )
        for (facts, rows), table in zip(ordered, tables, strict=True)
    )
    comparisons = tuple(
        compare(measure, before, after, str(ordered[0][0]["name"]), str(facts["name"]), seed)
        for (facts, _), table in zip(ordered[1:], tables[1:], strict=True)
        for (measure, before), (_, after) in zip(tables[0], table, strict=True)
    )
    samples = tuple(row for _, rows in ordered for row in rows)
    return TaskReport(name, version, settings, models, comparisons, tuple(notes), samples)


def figure(what: Quantity, cells: Cells, seed: int) -> Figure:
    """The figure with its interval: Wilson for independent shares, else the bootstrap over groups.

    One group alone has no interval.
    """
    count = sum(map(len, cells.values()))
    if what.binary and count == len(cells):
        share = statistics.wilson(round(sum(top for ((top, _),) in cells.values())), count)
        return Figure(share.value, share.low, share.high, count, what.unit, what.better, "Wilson")
    tops, bottoms = zip(*map(_sums, cells.values()), strict=True)
    if not sum(bottoms):
        return Figure(0.0, None, None, 0, what.unit, what.better, "undefined: nothing to divide by")
    if what.unit == "share":
        found, how = statistics.share(tops, bottoms, seed)
    else:
        found, how = statistics.ratio(tops, bottoms, seed), "bootstrap"
    method = f"{how} over {len(cells)} groups" if len(cells) > 1 else "one group, no interval"
    return _figure_of(found, count, what, method, bounded=len(cells) > 1)


def compare(what: Quantity, before: Cells, after: Cells, name: str, other: str, seed: int) -> Comparison:
    """`other` against `name` on the same groups: exact McNemar for independent shares, else the paired cluster
    bootstrap."""
    count = sum(map(len, before.values()))
    independent = what.binary and count == len(before)
    clusters = tuple((*_sums(cells), *_sums(after[group])) for group, cells in before.items())
    if not (sum(row[1] for row in clusters) and sum(row[3] for row in clusters)):
        nothing = Figure(0.0, None, None, 0, what.unit, what.better, "undefined: nothing to divide by")
        return Comparison(what.name, name, other, nothing, None, None, None)
    outcomes = _outcomes(before, after) if what.binary else None
    if independent and outcomes is not None:
        found = statistics.compare_shares(*outcomes, alpha=0.05, margin=0.0)
        method = "Tango's score interval, exact McNemar p"
        detectable: float | None = statistics.detectable_share(count, (outcomes[1] + outcomes[2]) / count)
    else:
        found = statistics.compare_clusters(clusters, seed)
        method = f"paired bootstrap over {len(clusters)} groups"
        # Draws that never differ have no spread to tell it from.
        detectable = statistics.detectable(found.standard_error) or None
    bounded = independent or len(clusters) > 1
    difference = _figure_of(found.difference, count, what, method, bounded)
    relative = None
    if found.relative is not None and what.unit != "share":
        relative = replace(_figure_of(found.relative, count, what, method, bounded), unit="share")
    return Comparison(what.name, name, other, difference, found.p, detectable, outcomes, relative, clusters)


def calibrate(stated: Sequence[float], right: Sequence[bool], bins: int = 10) -> Calibration | None:
    """Equally wide bins of stated probability, and the expected calibration error; None without any statement.

    Raises:
        ValueError: not one outcome per statement, or a statement outside 0..1.
    """
    if len(stated) != len(right) or any(not 0 <= value <= 1 for value in stated):
        raise ValueError("calibration needs one outcome for each probability between 0 and 1")
    if not stated:
        return None
    held: dict[int, list[tuple[float, bool]]] = {}
    for value, outcome in zip(stated, right, strict=True):
        held.setdefault(min(int(value * bins), bins - 1), []).append((value, outcome))
    made = tuple(
        CalibrationBin(
            low=number / bins,
            high=(number + 1) / bins,
            count=len(pairs),
            stated=sum(value for value, _ in pairs) / len(pairs),
            observed=sum(outcome for _, outcome in pairs) / len(pairs),
        )
        for number, pairs in sorted(held.items())
    )
    error = sum(each.count * abs(each.stated - each.observed) for each in made) / len(stated)
    return Calibration(made, error)


def cells_of(measure: Measure, rows: Sequence[Row]) -> Cells:
    cells: Cells = {}
    for row in rows:
        cells.setdefault(row["group"], []).append(measure.parts(row))
    return cells


def _tables(
    rows: Sequence[Row], measures: Sequence[Measure], ks: Sequence[int], graded: bool
) -> list[tuple[Quantity, Cells]]:
    if measures:
        return [(measure, cells_of(measure, rows)) for measure in measures]
    if graded:
        score = Measure(name="score", parts=lambda row: (float(row["verdict"]["value"]), 1.0))
        return [(score, cells_of(score, rows))]
    items: dict[tuple[str, str], list[bool]] = {}
    for row in rows:
        items.setdefault((row["group"], row["item"]), []).append(row["verdict"]["value"] == 1)
    fewest = min(map(len, items.values()))
    tables: list[tuple[Quantity, Cells]] = []
    for k in ks:
        if k > fewest:
            continue
        cells: Cells = {}
        for (group, _), right in items.items():
            cells.setdefault(group, []).append((statistics.pass_at_k(len(right), sum(right), k), 1.0))
        # Greedy: one sample an item, so that each item adds 0 or 1.
        binary = max(map(len, items.values())) == 1
        tables.append((Quantity(name=f"pass@{k}", binary=binary), cells))
    return tables


def _place(row: Row) -> tuple[str, str, int]:
    return row["group"], row["item"], row["attempt"]


def _order(row: Row) -> tuple[list[str | int], list[str | int], int]:
    """By place, numbers in names by their value."""
    group, item, attempt = _place(row)
    return _natural(group), _natural(item), attempt


def _natural(name: str) -> list[str | int]:
    # Texts and numbers alternate, so that only like is compared with like.
    return [int(part) if number % 2 else part for number, part in enumerate(re.split(r"([0-9]+)", name))]


def _check_same(task: str, subjects: Sequence[tuple[str, Sequence[Row]]]) -> None:
    first_name, first_rows = subjects[0]
    wanted = Counter(map(_place, first_rows))
    if not wanted:
        raise HarnessError(f"{task}: nothing was measured")
    for name, rows in subjects:
        found = Counter(map(_place, rows))
        doubled = next((place for place, count in found.items() if count > 1), None)
        if doubled:
            raise HarnessError(f"{task}: {name} has two samples of {doubled[1]}, attempt {doubled[2]}")
        missing = next(iter((wanted - found) | (found - wanted)), None)
        if missing:
            owner = name if missing not in found else first_name
            raise HarnessError(
                f"{task}: {owner} has no sample of {missing[1]}, attempt {missing[2]}; "
                "run the same command again to measure what is missing"
            )


def _classes(rows: Sequence[Row]) -> dict[str, int]:
    """Empty where the task knows no errors."""
    found = Counter(row["verdict"]["error"] or RIGHT for row in rows)
    return dict(found) if set(found) != {RIGHT} or all(row["verdict"]["value"] == 1 for row in rows) else {}


def _sums(cells: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return float(sum(top for top, _ in cells)), float(sum(bottom for _, bottom in cells))


def _outcomes(before: Cells, after: Cells) -> tuple[int, int, int, int]:
    pairs = Counter(
        (one == 1, other == 1)
        for group, cells in before.items()
        for (one, _), (other, _) in zip(cells, after[group], strict=True)
    )
    return pairs[True, True], pairs[True, False], pairs[False, True], pairs[False, False]


def _figure_of(estimate: statistics.Estimate, count: int, what: Quantity, method: str, bounded: bool) -> Figure:
    low, high = (estimate.low, estimate.high) if bounded else (None, None)
    return Figure(estimate.value, low, high, count, what.unit, what.better, method)
