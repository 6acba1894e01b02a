"""Intervals: Wilson for shares, percentile bootstrap for the rest, paired where two models saw the same places."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_Z95 = 1.959963984540054
_BLOCK = 500


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float
    """A 95 % interval."""


@dataclass(frozen=True)
class Comparison:
    """What a second model changes against a first one on the same items."""

    difference: Estimate
    """second - first."""
    relative: Estimate | None
    """difference / first; None when the first one is 0."""


def wilson(successes: int, trials: int) -> Estimate:
    """A share with its Wilson score interval (95 %).

    Raises:
        ValueError: no trials, or successes outside 0..trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is no share")
    share = successes / trials
    centre = (share + _Z95**2 / (2 * trials)) / (1 + _Z95**2 / trials)
    half = _Z95 / (1 + _Z95**2 / trials) * sqrt(share * (1 - share) / trials + _Z95**2 / (4 * trials**2))
    return Estimate(share, min(max(0.0, centre - half), share), max(min(1.0, centre + half), share))


def mean(values: Sequence[float], seed: int) -> Estimate:
    """A mean with its bootstrap interval; items are resampled."""
    return ratio(values, [1.0] * len(values), seed)


def ratio(numerators: Sequence[float], denominators: Sequence[float], seed: int) -> Estimate:
    """sum(numerators) / sum(denominators), such as bits per byte over files; pairs are resampled together."""
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    drawn = _resampled([top, bottom], seed)
    return _estimate(float(top.sum() / bottom.sum()), drawn[0] / drawn[1])


def compare_ratios(
    first: Sequence[float], second: Sequence[float], denominators: Sequence[float], seed: int
) -> Comparison:
    """Two models' ratios over the same items (files), resampled together."""
    one, two, bottom = (np.asarray(values, float) for values in (first, second, denominators))
    drawn_one, drawn_two, drawn_bottom = _resampled([one, two, bottom], seed)
    total_one, total_two, total = float(one.sum()), float(two.sum()), float(bottom.sum())
    difference = _estimate((total_two - total_one) / total, (drawn_two - drawn_one) / drawn_bottom)
    relative = None
    if total_one > 0:
        # A resample in which the first model scores nothing has no relative change; it is left out.
        usable = drawn_one > 0
        relative = _estimate((total_two - total_one) / total_one, (drawn_two - drawn_one)[usable] / drawn_one[usable])
    return Comparison(difference, relative)


def compare_means(first: Sequence[float], second: Sequence[float], seed: int) -> Comparison:
    """Two models' means over the same items (places), resampled together."""
    return compare_ratios(first, second, [1.0] * len(first), seed)


def _resampled(columns: Sequence[NDArray[np.float64]], seed: int) -> list[NDArray[np.float64]]:
    """Sums of each column over `RESAMPLES` draws with replacement of whole rows; shape (RESAMPLES,) each.

    Raises:
        ValueError: no rows, or columns of different lengths.
    """
    size = len(columns[0])
    if size < 1 or any(len(column) != size for column in columns):
        raise ValueError("a bootstrap needs at least one item and equally long columns")
    random = np.random.default_rng(seed)
    sums: list[list[NDArray[np.float64]]] = [[] for _ in columns]
    for start in range(0, RESAMPLES, _BLOCK):
        picks = random.integers(0, size, (min(_BLOCK, RESAMPLES - start), size))
        for column, collected in zip(columns, sums, strict=True):
            collected.append(column[picks].sum(axis=1))
    return [np.concatenate(collected) for collected in sums]


def _estimate(value: float, drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
