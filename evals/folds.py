"""k folds over the held-out files: how much the figures depend on which files happened to be held out."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import sqrt
from typing import Any

from assistant.errors import HoneError
from evals.metrics import stopped

Rows = Sequence[Mapping[str, Any]]


def assign(paths: Iterable[str], folds: int, seed: int) -> dict[str, int]:
    """The fold (from 0) of each file: a seeded order dealt out in turn, so that sizes differ by one at most.

    Raises:
        HoneError: there are fewer files than folds, or fewer than two folds.
    """
    ordered = sorted({*paths}, key=lambda path: hashlib.sha256(f"{seed}:fold:{path}".encode()).digest())
    if not 2 <= folds <= len(ordered):
        raise HoneError(f"{len(ordered)} held-out files cannot be shared out to {folds} folds; give --folds 2 or more")
    return {path: number % folds for number, path in enumerate(ordered)}


def spread(
    models: Sequence[Mapping[str, Any]],
    completed: Mapping[str, Mapping[str, Mapping[str, Rows]]],
    scored: Mapping[str, Rows],
    folds: Mapping[str, int],
) -> dict[str, Any]:
    """The `folds` part of a report: every figure in each fold, its mean and standard deviation, and what a further
    model changes against the first in each.

    Args:
        models: facts of each model, `name` and `digest` among them.
        completed: digest -> level -> context -> judged samples.
        scored: digest -> bits of each file.
        folds: path -> fold.
    """
    count = max(folds.values()) + 1
    values = {
        model["digest"]: _values(completed[model["digest"]], scored[model["digest"]], folds, count) for model in models
    }
    first = models[0]
    return {
        "count": count,
        "files": [sum(fold == number for fold in folds.values()) for number in range(count)],
        "models": [
            {
                "name": model["name"],
                "figures": {name: _spread(found) for name, found in values[model["digest"]].items()},
            }
            for model in models
        ],
        "comparisons": [
            {
                "first": first["name"],
                "second": second["name"],
                "figures": {
                    name: _spread(_differences(found, values[second["digest"]][name]))
                    for name, found in values[first["digest"]].items()
                },
            }
            for second in models[1:]
        ],
    }


def _values(
    levels: Mapping[str, Mapping[str, Rows]], scored: Rows, folds: Mapping[str, int], count: int
) -> dict[str, list[float | None]]:
    """Name of a figure -> its value in each fold, None where the fold has nothing to measure."""
    found = {"bits_per_byte": _each(scored, folds, count, _bits_per_byte)}
    for level, contexts in levels.items():
        for context, rows in contexts.items():
            for name, of in _FIGURES.items():
                found[f"{level}.{context}.{name}"] = _each(rows, folds, count, of)
    return found


def _each(
    rows: Rows, folds: Mapping[str, int], count: int, figure: Callable[[Rows], float | None]
) -> list[float | None]:
    return [figure([row for row in rows if folds[row["path"]] == number]) for number in range(count)]


def _bits_per_byte(rows: Rows) -> float | None:
    size = sum(row["bytes"] for row in rows)
    return sum(row["bits"] for row in rows) / size if size else None


def _mean_of(value: Callable[[Mapping[str, Any]], float | None]) -> Callable[[Rows], float | None]:
    def mean(rows: Rows) -> float | None:
        values = [found for row in rows if (found := value(row)) is not None]
        return sum(values) / len(values) if values else None

    return mean


_FIGURES: dict[str, Callable[[Rows], float | None]] = {
    "exact_match": _mean_of(lambda row: float(row["exact"])),
    "edit_similarity": _mean_of(lambda row: row["similarity"]),
    "identifier_f1": _mean_of(lambda row: row["identifier_f1"]),
    "stop_rate": _mean_of(lambda row: float(stopped(row["finish_reason"]))),
}


def _differences(first: Sequence[float | None], second: Sequence[float | None]) -> list[float | None]:
    return [None if one is None or two is None else two - one for one, two in zip(first, second, strict=True)]


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and standard deviation (of a sample) over the folds that have a value; null where there are too few."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else None
    deviation = None
    if mean is not None and len(known) > 1:
        deviation = sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1))
    return {"folds": list(values), "mean": mean, "deviation": deviation}
