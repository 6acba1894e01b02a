"""Probabilities and thresholds, against what they must come to."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.review_calibration import Sigmoid
from tuning.calibration import area, fit, line, threshold

SCORES = st.floats(-20, 20)


def drawn(slope: float, intercept: float, count: int) -> tuple[list[float], list[bool]]:
    generator = random.Random(1)
    scores = [generator.gauss(0, 2) for _ in range(count)]
    return scores, [generator.random() < 1 / (1 + math.exp(-slope * one - intercept)) for one in scores]


def probability(sigmoid: Sigmoid, score: float, prior: float = 0.0) -> float:
    return 1 / (1 + math.exp(-max(-700.0, sigmoid.log_odds(score) + prior)))


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.3, -2.0), (2.0, 1.0)])
def test_a_known_sigmoid_is_found_again(slope: float, intercept: float):
    found, second = fit(*drawn(slope, intercept, 20_000))
    assert second == found, "there is no second kind"
    assert found.slope == pytest.approx(slope, abs=0.1)
    assert found.intercept == pytest.approx(intercept, abs=0.1)


def test_what_is_known_before_is_not_learnt_again():
    generator = random.Random(2)
    scores, _ = drawn(1.0, 0.0, 20_000)
    priors = [-math.log(generator.choice([1, 4, 20])) for _ in scores]
    happened = [
        generator.random() < 1 / (1 + math.exp(-one - 0.5 - known)) for one, known in zip(scores, priors, strict=True)
    ]
    found, _ = fit(scores, happened, priors)
    assert found.slope == pytest.approx(1.0, abs=0.1)
    assert found.intercept == pytest.approx(0.5, abs=0.1)
    assert probability(found, 0.0, -math.log(4)) == pytest.approx(1 / (1 + 4 * math.exp(-0.5)), abs=0.03)


def test_two_kinds_have_a_sigmoid_each_as_far_as_they_show_it():
    one, two = drawn(0.3, -1.0, 10_000), drawn(2.0, 0.5, 10_000)
    scores, happened = one[0] + two[0], one[1] + two[1]
    first, second = fit(scores, happened, second=[at >= 10_000 for at in range(20_000)])
    assert (first.slope, first.intercept) == pytest.approx((0.3, -1.0), abs=0.1)
    assert (second.slope, second.intercept) == pytest.approx((2.0, 0.5), abs=0.1)
    # Three scores of another kind say little about it.
    first, second = fit(one[0] + [5.0, -5.0, 5.0], [*one[1], True, False, True], second=[False] * 10_000 + [True] * 3)
    assert abs(second.slope - first.slope) < 1
    assert abs(second.intercept - first.intercept) < 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=20))
def test_no_line_is_nearer_to_the_points_than_the_one_of_least_squares(points: list[tuple[float, float]]):
    at, slope = line([x for x, _ in points], [y for _, y in points])

    def distance(intercept: float, rise: float) -> float:
        return sum((y - intercept - rise * x) ** 2 for x, y in points)

    best = distance(at, slope)
    for other in ((at + 0.1, slope), (at - 0.1, slope), (at, slope + 0.01), (at, slope - 0.01)):
        assert best <= distance(*other) + 1e-6 * (1 + best)


def test_scores_that_tell_nothing_come_to_the_share_of_what_happened():
    found, _ = fit([1.0] * 100, [index < 20 for index in range(100)])
    # Platt's targets pull a little to the middle.
    assert probability(found, 1.0) == pytest.approx(0.2, abs=0.02)


def test_scores_that_part_cleanly_give_a_finite_slope():
    found, _ = fit([-1.0] * 50 + [1.0] * 50, [False] * 50 + [True] * 50)
    low, high = probability(found, -1.0), probability(found, 1.0)
    assert math.isfinite(found.slope)
    assert low == pytest.approx(1 / 52, abs=1e-3)
    assert high == pytest.approx(51 / 52, abs=1e-3)


def test_what_always_or_never_happened_has_no_sigmoid():
    with pytest.raises(ValueError, match="did not"):
        fit([1.0, 2.0], [True, True])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=40))
def test_the_area_is_the_share_of_pairs_in_order(pairs: list[tuple[float, bool]]):
    right = [score for score, happened in pairs if happened]
    wrong = [score for score, happened in pairs if not happened]
    found = area([score for score, _ in pairs], [happened for _, happened in pairs])
    if not right or not wrong:
        assert found is None
        return
    wins = sum((one > two) + (one == two) / 2 for one in right for two in wrong)
    assert found == pytest.approx(wins / len(right) / len(wrong))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1), max_size=6), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.1, 0.5, 2.0]),
)
def test_clean_changes_have_no_more_alarms_than_allowed(clean: list[list[float]], most: float):
    found = threshold(clean, most)
    alarms = sum(value >= found for change in clean for value in change)
    # A line that is as sure as can be is above every threshold.
    sure = sum(value == 1.0 for change in clean for value in change)
    assert alarms <= max(most * len(clean), sure)


def test_a_threshold_is_as_low_as_its_bound_lets_it():
    clean = [[index / 400] for index in range(400)]
    found = threshold(clean, 0.1)
    # 40 alarms are wanted, less the error of their count, which is the root of 40.
    assert sum(value >= found for (value,) in clean) == 33
    assert threshold([[0.9]] * 3, 0.1) > 0.9
    assert threshold([[]], 0.1) == 0.0
    with pytest.raises(ValueError, match="clean"):
        threshold([], 0.1)
