from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.report.summary import mcnemar
from evals.statistics import compare_means, compare_ratios, mean, ratio, wilson


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
