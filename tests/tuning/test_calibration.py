"""Probabilities and thresholds, against what they must come to."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.calibration import area, fit, threshold

SCORES = st.floats(-20, 20)


def drawn(slope: float, intercept: float, count: int) -> tuple[list[float], list[bool]]:
    generator = random.Random(1)
    scores = [generator.gauss(0, 2) for _ in range(count)]
    return scores, [generator.random() < 1 / (1 + math.exp(-slope * one - intercept)) for one in scores]


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.3, -2.0), (2.0, 1.0)])
def test_a_known_sigmoid_is_found_again(slope: float, intercept: float):
    found = fit(*drawn(slope, intercept, 20_000))
    assert found.slope == pytest.approx(slope, abs=0.1)
    assert found.intercept == pytest.approx(intercept, abs=0.1)


def test_what_is_known_before_is_not_learnt_again():
    generator = random.Random(2)
    scores, _ = drawn(1.0, 0.0, 20_000)
    priors = [-math.log(generator.choice([1, 4, 20])) for _ in scores]
    happened = [
        generator.random() < 1 / (1 + math.exp(-one - 0.5 - known)) for one, known in zip(scores, priors, strict=True)
    ]
    found = fit(scores, happened, priors)
    assert found.slope == pytest.approx(1.0, abs=0.1)
    assert found.intercept == pytest.approx(0.5, abs=0.1)
    assert found.probability([0.0], -math.log(4)) == pytest.approx([1 / (1 + 4 * math.exp(-0.5))], abs=0.03)


def test_scores_that_tell_nothing_come_to_the_share_of_what_happened():
    found = fit([1.0] * 100, [index < 20 for index in range(100)])
    (stated,) = found.probability([1.0])
    # Platt's targets pull a little to the middle.
    assert stated == pytest.approx(0.2, abs=0.02)


def test_scores_that_part_cleanly_give_a_finite_slope():
    found = fit([-1.0] * 50 + [1.0] * 50, [False] * 50 + [True] * 50)
    low, high = found.probability([-1.0, 1.0])
    assert math.isfinite(found.slope)
    assert low == pytest.approx(1 / 52, abs=1e-3)
    assert high == pytest.approx(51 / 52, abs=1e-3)


def test_far_scores_have_probabilities():
    found = fit(*drawn(1.0, 0.0, 200))
    assert found.probability([-1e6, 1e6]) == [0.0, 1.0]
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
