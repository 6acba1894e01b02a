"""From measurements to figures with intervals, and what a second model changes against the first."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evals import statistics
from evals.metrics import percentile, stopped

CONTEXTS = ("without_retrieval", "with_retrieval")


def summarise(
    models: Sequence[Mapping[str, Any]],
    lines: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    scored: Mapping[str, Sequence[Mapping[str, Any]]],
    seed: int,
) -> dict[str, Any]:
    """The `models` and `comparisons` parts of a report, and `rows`, the judged samples as they are given.

    Args:
        models: facts of each model, `digest` among them; the first one is the reference of all comparisons.
        lines: digest -> context -> judged samples, all in the same order of places.
        scored: digest -> bits of each file, all with the same files in the same order.
    """
    figures = [
        {
            **model,
            "bits_per_byte": _estimate(statistics.ratio(_column(rows, "bits"), _column(rows, "bytes"), seed)),
            "scored_bytes": sum(row["bytes"] for row in rows),
            "scored_tokens": sum(row["tokens"] for row in rows),
            "lines": {name: _line_figures(lines[model["digest"]][name], seed) for name in CONTEXTS},
        }
        for model in models
        for rows in (scored[model["digest"]],)
    ]
    first = models[0]
    comparisons = [
        {
            "first": first["name"],
            "second": second["name"],
            "bits_per_byte": _bits_comparison(scored[first["digest"]], scored[second["digest"]], seed),
            "lines": {
                name: _line_comparison(lines[first["digest"]][name], lines[second["digest"]][name], seed)
                for name in CONTEXTS
            },
        }
        for second in models[1:]
    ]
    return {"models": figures, "comparisons": comparisons, "rows": lines}


def _line_figures(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    seconds = [float(row["seconds"]) for row in rows if row["seconds"] is not None]
    counted = [row for row in rows if row["prompt_tokens"]]
    return {
        "places": len(rows),
        "places_with_snippets": sum(bool(row["snippets"]) for row in rows),
        "mode": sorted({row["mode"] for row in rows}),
        "exact_match": _estimate(statistics.wilson(sum(row["exact"] for row in rows), len(rows))),
        "exact_matches": sum(row["exact"] for row in rows),
        "edit_similarity": _estimate(statistics.mean(_column(rows, "similarity"), seed)),
        "stopped": sum(stopped(row["finish_reason"]) for row in rows) / len(rows),
        # None where prompts were computed together.
        "latency_seconds": {"p50": percentile(seconds, 0.5), "p95": percentile(seconds, 0.95)} if seconds else None,
        "prompt_tokens_mean": _mean([row["prompt_tokens"] for row in counted]),
        "cached_share": _share(
            [row["cached_tokens"] or 0 for row in counted], [row["prompt_tokens"] for row in counted]
        ),
        "prompts_sha256": hashlib.sha256("\n".join(row["prompt_sha256"] for row in rows).encode()).hexdigest(),
    }


def _line_comparison(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], seed: int
) -> dict[str, Any]:
    pairs = list(zip(first, second, strict=True))
    outcomes = Counter((bool(a["exact"]), bool(b["exact"])) for a, b in pairs)
    only_first, only_second = outcomes[True, False], outcomes[False, True]
    exact = statistics.compare_means([float(a["exact"]) for a, _ in pairs], [float(b["exact"]) for _, b in pairs], seed)
    similarity = statistics.compare_means(_column(first, "similarity"), _column(second, "similarity"), seed)
    return {
        "edit_similarity": compared(similarity) | {"clusters": clusters(pairs, "similarity")},
        "exact_match": compared(exact)
        | {
            "only_first": only_first,
            "only_second": only_second,
            "mcnemar_p": statistics.mcnemar(only_first, only_second),
            "outcomes": [outcomes[True, True], only_first, only_second, outcomes[False, False]],
            "detectable": statistics.detectable_share(len(pairs), (only_first + only_second) / len(pairs)),
            "clusters": clusters(pairs, "exact"),
        },
    }


def _bits_comparison(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], seed: int
) -> dict[str, Any]:
    found = compared(
        statistics.compare_ratios(_column(first, "bits"), _column(second, "bits"), _column(first, "bytes"), seed)
    )
    return found | {"clusters": clusters(list(zip(first, second, strict=True)), "bits", "bytes")}


def clusters(
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], top: str, bottom: str | None = None
) -> list[list[float]]:
    """A row for each file: numerator and denominator of the first model and of the second one. Places of one file are
    not independent, so a test draws files."""
    found: dict[str, list[float]] = {}
    for one, other in pairs:
        sums = found.setdefault(one["path"], [0.0] * 4)
        for start, row in ((0, one), (2, other)):
            sums[start] += float(row[top])
            sums[start + 1] += float(row[bottom]) if bottom else 1.0
    return list(found.values())


def compared(comparison: statistics.Comparison) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "difference": _estimate(comparison.difference),
        "relative": _estimate(comparison.relative) if comparison.relative else None,
        # Draws that never differ have no spread to tell it from.
        "detectable": statistics.detectable(comparison.standard_error) or None,
    }


def _estimate(estimate: statistics.Estimate) -> dict[str, float]:
    return asdict(estimate)


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(parts: Sequence[int], wholes: Sequence[int]) -> float | None:
    return sum(parts) / sum(wholes) if sum(wholes) else None
