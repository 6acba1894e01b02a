"""What is read of lines becomes probabilities by what is known of the lines."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.review_calibration import RAW, LineCalibration, Place, Sigmoid, places, prior
from assistant.review_prompt import Hunk, HunkLine

ODDS = st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(-math.inf)), min_size=3, max_size=3)
HUNK = Hunk(
    "a.py",
    (),
    (),
    (
        HunkLine(" ", 1, "def f(x):"),
        HunkLine("-", 2, "    y = x"),
        HunkLine("+", 2, "    y = x + 1"),
        HunkLine(" ", 3, "    y += 2"),
        HunkLine("+", 4, "    return y"),
    ),
)


def test_a_line_replaces_what_the_change_shows_above_it():
    removed, replaced, added = places(HUNK)
    assert removed.replaces
    assert replaced == Place(math.log1p(len("y = x + 1")), True)
    assert added == Place(math.log1p(len("return y")), False)
    only = Hunk("a.py", (), (), (HunkLine("-", 1, "    if x is None:"), HunkLine(" ", 1, "    return x")))
    assert places(only) == (Place(math.log1p(len("return x")), True),), "a removal is judged by the line below"


@given(ODDS)
def test_probabilities_are_from_0_to_1_and_rise_with_the_odds(odds: list[float]):
    stated = RAW.probabilities(HUNK, odds)
    assert len(stated) == 3
    for one, log_odds in zip(stated, odds, strict=True):
        assert 0 <= one <= 1
        assert math.isfinite(log_odds) or one == 0
    for (low, one), (high, other) in zip(
        sorted(zip(odds, stated, strict=True)), sorted(zip(odds, stated, strict=True))[1:], strict=False
    ):
        assert low > high or one <= other


def test_each_kind_has_its_sigmoid_and_each_length_its_usual_odds():
    calibration = LineCalibration(-2.0, 0.5, Sigmoid(1.0, 0.0), Sigmoid(2.0, 0.3))
    _, replaced, added = places(HUNK)
    usual = [-2.0 + 0.5 * place.log_length for place in (replaced, added)]
    stated = calibration.probabilities(HUNK, (-math.inf, *usual))
    known = prior((-math.inf, *usual))
    assert known == -math.log(2)
    assert stated[0] == 0
    assert stated[1] == pytest.approx(1 / (1 + math.exp(-0.3 - known)))
    assert stated[2] == pytest.approx(1 / (1 + math.exp(-known)))
