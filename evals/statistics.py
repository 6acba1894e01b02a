"""Intervals and tests: pass@k, Wilson, exact McNemar, score and bootstrap intervals of paired differences, what a
comparison can detect, and false-discovery control."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, inf, log, log1p, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_Z95 = 1.959963984540054
_BLOCK = 500

Cluster = tuple[float, float, float, float]
"""Numerator and denominator of the first model, numerator and denominator of the second one."""


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float
    """A 95 % interval, unless a level is given."""


@dataclass(frozen=True)
class Comparison:
    """What a second model changes against a first one on the same items."""

    difference: Estimate
    """second - first."""
    relative: Estimate | None
    """difference / first; None when the first one is 0."""
    standard_error: float


@dataclass(frozen=True)
class Paired:
    """A test of second - first, at a level `alpha` and against a tolerated change `margin`."""

    difference: Estimate
    """Interval at 1 - alpha."""
    relative: Estimate | None
    p: float
    """Two-sided, of no difference."""
    p_below: float
    """Two-sided, of a difference below `margin`: small means that it is shown to lie below."""
    p_above: float
    """The same for above."""
    standard_error: float


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The unbiased estimate of the chance that one of `k` samples is right (Chen et al. 2021, arXiv 2107.03374, eq. 1).

    1 - C(samples - right, k) / C(samples, k) in whole numbers, so it is right to the last bit but one.

    Raises:
        ValueError: fewer samples than k, or right outside 0..samples.
    """
    if not 1 <= k <= samples or not 0 <= right <= samples:
        raise ValueError(f"{right} right of {samples} samples give no pass@{k}")
    return 1 - comb(samples - right, k) / comb(samples, k)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided McNemar p-value of discordant pairs; 1 when there are none."""
    return min(1.0, 2 * _coin_tail(only_first + only_second, max(only_first, only_second)))


def compare_shares(both: int, only_first: int, only_second: int, neither: int, alpha: float, margin: float) -> Paired:
    """Two models' shares of right items, one sample an item, items independent.

    Interval and tests against a margin are Tango's score ones (Statistics in Medicine 17, 1998), which hold their level
    where few or no pairs differ; at margin 0 the tests are exact McNemar.

    Raises:
        ValueError: no items.
    """
    size = both + only_first + only_second + neither
    if size < 1:
        raise ValueError("a comparison needs at least one item")
    value = (only_second - only_first) / size
    rate = (only_first + only_second) / size
    if margin == 0:
        discordant = only_first + only_second
        below, above = _coin_tail(discordant, only_first), _coin_tail(discordant, only_second)
    else:
        score = _tango(only_first, only_second, size, margin)
        below, above = NormalDist().cdf(score), NormalDist().cdf(-score)
    return Paired(
        difference=_tango_interval(only_first, only_second, size, alpha),
        relative=None,
        p=mcnemar(only_first, only_second),
        p_below=min(1.0, 2 * below),
        p_above=min(1.0, 2 * above),
        standard_error=sqrt(max(rate - value**2, 0.0) / size),
    )


def compare_clusters(clusters: Sequence[Cluster], seed: int, alpha: float = 0.05, margin: float = 0.0) -> Paired:
    """The paired cluster bootstrap: whole clusters (problems, files, diffs) are drawn for both models together.

    A figure is the sum of its numerators over the sum of its denominators. Intervals are percentiles. A p-value is
    twice the share of draws on the other side of the margin, and never below 2 / 2 ** clusters: that is what flipping
    the models in every cluster allows, and it keeps a handful of clusters from deciding. Draws without a denominator
    (no findings at all) are left out.

    Raises:
        ValueError: no clusters, or a figure that is undefined on all of them.
    """
    columns = [np.asarray(column, float) for column in zip(*clusters, strict=True)]
    if not columns:
        raise ValueError("a comparison needs at least one cluster")
    totals = [float(column.sum()) for column in columns]
    if not (totals[1] and totals[3]):
        raise ValueError("a ratio over nothing is undefined")
    top_one, bottom_one, top_two, bottom_two = _resampled(columns, seed)
    usable = (bottom_one != 0) & (bottom_two != 0)
    first = top_one[usable] / bottom_one[usable]
    drawn = top_two[usable] / bottom_two[usable] - first
    first_value = totals[0] / totals[1]
    value = totals[2] / totals[3] - first_value
    relative = None
    if first_value > 0:
        # A draw in which the first model scores nothing has no relative change; it is left out.
        relative = _estimate(value / first_value, drawn[first > 0] / first[first > 0], alpha)
    return Paired(
        difference=_estimate(value, drawn, alpha),
        relative=relative,
        p=min(1.0, 2 * min(_share_of_draws(drawn >= 0, clusters), _share_of_draws(drawn <= 0, clusters))),
        p_below=min(1.0, 2 * _share_of_draws(drawn >= margin, clusters)),
        p_above=min(1.0, 2 * _share_of_draws(drawn <= margin, clusters)),
        standard_error=float(drawn.std()),
    )


def detectable_share(items: int, discordant_rate: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference of two shares that exact McNemar finds with this power, on paired items.

    Exact: summed over the number of discordant pairs and how they fall. At least as many pairs are taken to be
    discordant as the difference itself needs.

    Returns:
        A share; 1 when even the largest difference would be missed.

    Raises:
        ValueError: no items, or a rate outside 0..1.
    """
    if items < 1 or not 0 <= discordant_rate <= 1:
        raise ValueError(f"{items} items with a discordant rate of {discordant_rate} cannot be")
    if _mcnemar_power(items, 1.0, 1.0, alpha) < power:
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        if _mcnemar_power(items, max(discordant_rate, middle), middle, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def detectable(standard_error: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a test with this standard error finds with this power, by the normal."""
    return (NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)) * standard_error


def smallest_decisive(alpha: float) -> int:
    """How many independent pairs must all fall one way before the exact test can call it: 6 at alpha 0.05."""
    pairs = 1
    while 2 * 0.5**pairs > alpha:
        pairs += 1
    return pairs


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the same order: rejecting those at most alpha keeps the false-discovery rate at alpha
    (Benjamini and Hochberg 1995, step-up)."""
    adjusted = [1.0] * len(p_values)
    smallest = 1.0
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank in range(len(ranked), 0, -1):
        index = ranked[rank - 1]
        smallest = min(smallest, p_values[index] * len(p_values) / rank)
        adjusted[index] = smallest
    return adjusted


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
    drawn_top, drawn_bottom = _resampled([top, bottom], seed)
    # A draw without a denominator (no findings at all) has no ratio; it is left out.
    usable = drawn_bottom != 0
    return _estimate(float(top.sum() / bottom.sum()), drawn_top[usable] / drawn_bottom[usable])


def share(numerators: Sequence[float], denominators: Sequence[float], seed: int) -> tuple[Estimate, str]:
    """A ratio that lies between 0 and 1, with the name of its interval: the bootstrap's as of `ratio`, or where every
    group says 0, or every one 1, so that no draw differs, Wilson's over the groups that say anything."""
    found = ratio(numerators, denominators, seed)
    if found.low < found.high or found.value not in (0.0, 1.0):
        return found, "bootstrap"
    groups = sum(1 for each in denominators if each)
    return wilson(groups if found.value else 0, groups), "Wilson"


def compare_ratios(
    first: Sequence[float], second: Sequence[float], denominators: Sequence[float], seed: int
) -> Comparison:
    """Two models' ratios over the same items (files), resampled together.

    Raises:
        ValueError: columns of different lengths.
    """
    if not len(first) == len(second) == len(denominators):
        raise ValueError("a comparison needs equally long columns")
    found = compare_clusters(list(zip(first, denominators, second, denominators, strict=True)), seed)
    return Comparison(found.difference, found.relative, found.standard_error)


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


def _estimate(value: float, drawn: NDArray[np.float64], alpha: float = 0.05) -> Estimate:
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return Estimate(value, float(low), float(high))


def _share_of_draws(hits: NDArray[np.bool_], clusters: Sequence[Cluster]) -> float:
    return max((int(hits.sum()) + 1) / (len(hits) + 1), 0.5 ** len(clusters))


def _coin_tail(tosses: int, heads: int) -> float:
    """The chance of at least this many heads; whole numbers, so it is right for thousands of tosses too."""
    ways, total = comb(tosses, heads), 0
    for count in range(heads, tosses + 1):
        total += ways
        ways = ways * (tosses - count) // (count + 1)
    return total / 2**tosses


def _tango(only_first: int, only_second: int, size: int, difference: float) -> float:
    """The score statistic of `difference`; large and positive where the true one is larger. Normal under the null."""
    a = 2 * size
    b = -only_first - only_second + (2 * size - only_second + only_first) * difference
    c = -only_first * difference * (1 - difference)
    rate = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = size * (2 * rate + difference * (1 - difference))
    distance = only_second - only_first - size * difference
    if variance <= 0:
        return 0.0 if distance == 0 else (inf if distance > 0 else -inf)
    return distance / sqrt(variance)


def _tango_interval(only_first: int, only_second: int, size: int, alpha: float) -> Estimate:
    value = (only_second - only_first) / size
    z = NormalDist().inv_cdf(1 - alpha / 2)
    return Estimate(
        value,
        _root(lambda difference: _tango(only_first, only_second, size, difference) - z, -1.0, value),
        _root(lambda difference: _tango(only_first, only_second, size, difference) + z, value, 1.0),
    )


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero, by bisection; an end of the range where it does not cross."""
    for _ in range(60):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _mcnemar_power(items: int, discordant_rate: float, difference: float, alpha: float) -> float:
    """The chance that exact McNemar rejects, in either direction."""
    lean = (1 + difference / discordant_rate) / 2
    total = 0.0
    reach = 8 * sqrt(items * discordant_rate * (1 - discordant_rate)) + 1
    middle = items * discordant_rate
    for discordant in range(max(0, int(middle - reach)), min(items, int(middle + reach) + 1) + 1):
        needed = _critical(discordant, alpha)
        if needed is None:
            continue
        upper = _binomial(discordant, lean)
        rejected = float(upper[needed:].sum() + upper[: discordant - needed + 1].sum())
        total += float(_binomial_at(items, discordant_rate, discordant)) * rejected
    return total


@lru_cache(maxsize=65_536)
def _critical(discordant: int, alpha: float) -> int | None:
    """The fewest of `discordant` pairs that must fall one way for a two-sided p of at most alpha."""
    tail = 2 * np.cumsum(_binomial(discordant, 0.5)[::-1])[::-1]
    enough = np.flatnonzero(tail <= alpha * (1 + 1e-12))
    return int(enough[0]) if len(enough) else None


def _binomial(trials: int, share: float) -> NDArray[np.float64]:
    """The chance of 0, 1, ... `trials` successes."""
    return _binomial_at(trials, share, np.arange(trials + 1))


def _binomial_at(trials: int, share: float, successes: int | NDArray[np.int_]) -> NDArray[np.float64]:
    counts = np.asarray(successes)
    if share in (0.0, 1.0):
        return (counts == trials * share).astype(float)
    ways = _log_factorial(trials)[trials] - _log_factorial(trials)[counts] - _log_factorial(trials)[trials - counts]
    return np.exp(ways + counts * log(share) + (trials - counts) * log1p(-share))


@lru_cache(maxsize=4096)
def _log_factorial(highest: int) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, highest + 1)))])
