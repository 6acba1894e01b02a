"""Figures of every level of completion: those of `summary`, and identifier F1 and stop rate with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evals import statistics
from evals.metrics import stopped
from evals.report.summary import CONTEXTS, clusters, compared, summarise

Rows = Sequence[Mapping[str, Any]]


def summarise_levels(
    models: Sequence[Mapping[str, Any]],
    completed: Mapping[str, Mapping[str, Mapping[str, Rows]]],
    scored: Mapping[str, Rows],
    seed: int,
) -> dict[str, Any]:
    """The `levels` part of a report: level -> `models` and `comparisons`, each with a name and figures by context.

    Args:
        models: facts of each model, `name` and `digest` among them; the first is the reference of all comparisons.
        completed: digest -> level -> context -> judged samples, all in the same order of places.
        scored: digest -> bits of each file.
    """
    return {
        level: _level(models, {digest: levels[level] for digest, levels in completed.items()}, scored, seed)
        for level in completed[models[0]["digest"]]
    }


def _level(
    models: Sequence[Mapping[str, Any]],
    rows: Mapping[str, Mapping[str, Rows]],
    scored: Mapping[str, Rows],
    seed: int,
) -> dict[str, Any]:
    summary = summarise(models, rows, scored, seed)
    first = rows[models[0]["digest"]]
    return {
        "models": [
            {
                "name": model["name"],
                **{name: figures["lines"][name] | _figures(rows[model["digest"]][name], seed) for name in CONTEXTS},
            }
            for model, figures in zip(models, summary["models"], strict=True)
        ],
        "comparisons": [
            {
                "first": changed["first"],
                "second": changed["second"],
                **{
                    name: changed["lines"][name] | _changes(first[name], rows[model["digest"]][name], seed)
                    for name in CONTEXTS
                },
            }
            for model, changed in zip(models[1:], summary["comparisons"], strict=True)
        ],
    }


def _figures(rows: Rows, seed: int) -> dict[str, Any]:
    """`identifier_f1` is the mean over the places whose right answer names something, None without any."""
    named = _named(rows)
    return {
        "identifier_f1": asdict(statistics.mean(named, seed)) if named else None,
        "identifier_places": len(named),
        "stop_rate": asdict(statistics.wilson(sum(map(_stopped, rows)), len(rows))),
    }


def _changes(first: Rows, second: Rows, seed: int) -> dict[str, Any]:
    """Whether an answer names something is the right answer's matter, so both models have the same places."""
    pairs = list(zip(first, second, strict=True))
    named = [pair for pair in pairs if pair[0]["identifier_f1"] is not None]
    stopped = [tuple({"path": row["path"], "stopped": _stopped(row)} for row in pair) for pair in pairs]
    return {
        "identifier_f1": _change(named, "identifier_f1", seed) if named else None,
        "stop_rate": _change(stopped, "stopped", seed),
    }


def _change(pairs: Sequence[tuple[Mapping[str, Any], ...]], name: str, seed: int) -> dict[str, Any]:
    before, after = ([float(row[name]) for row in rows] for rows in zip(*pairs, strict=True))
    found = statistics.compare_means(before, after, seed)
    return compared(found) | {"clusters": clusters([(one, other) for one, other in pairs], name)}


def _named(rows: Rows) -> list[float]:
    return [row["identifier_f1"] for row in rows if row["identifier_f1"] is not None]


def _stopped(row: Mapping[str, Any]) -> bool:
    return stopped(row["finish_reason"])
