"""Curves of text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.jobs import braille
from tui.jobs.curves import plotted

POINTS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), max_size=50).map(sorted)


@given(POINTS, st.integers(1, 60), st.integers(1, 20))
def test_a_curve_fills_its_room_and_no_more(points: list[tuple[float, float]], width: int, height: int):
    rows = braille.curve(points, width, height, (-1e6, 1e6), (-1e6, 1e6))
    assert [len(row) for row in rows] == [width] * height
    assert all(cell == " " or 0x2800 < ord(cell) <= 0x28FF for row in rows for cell in row)
    assert any(cell != " " for row in rows for cell in row) == bool(points)


def test_a_straight_line_has_no_gap_and_the_right_ends():
    rows = braille.curve([(0, 0), (1, 1)], 8, 4, (0, 1), (0, 1))
    assert rows[-1][0] != " "
    assert rows[0][-1] != " "
    assert all(any(row[column] != " " for row in rows) for column in range(8))
    assert rows[0][0] == rows[-1][-1] == " "
    assert braille.curve([(0, 0), (1, 0)], 2, 1, (0, 1), (0, 1)) == ["⣀⣀"]
    assert braille.curve([(0, 1), (1, 1)], 2, 1, (0, 1), (0, 1)) == ["⠉⠉"]
    assert braille.curve([(0, 0), (0, 1)], 1, 1, (0, 1), (0, 1)) == ["⡇"]


def test_a_range_without_extent_is_in_the_middle():
    assert braille.curve([(3, 2), (4, 2)], 2, 1, (3, 4), (2, 2)) == ["⠒⠒"]


def test_sparklines():
    assert braille.sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert braille.sparkline([0, 0, 7, 7], 2) == "▁█"
    assert braille.sparkline([5, 5, 5 + 1e-9], 8) == "▁▁▁"
    assert braille.sparkline([], 8) == braille.sparkline([1], 0) == ""


@pytest.mark.parametrize(("low", "high", "told"), [(0.8, 2.5, ("0.80", "2.50")), (0, 400, ("0", "400"))])
def test_the_ends_of_an_axis_can_be_told_apart(low: float, high: float, told: tuple[str, str]):
    assert braille.ticks(low, high) == told


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5))
def test_ticks_differ(low: float, extent: float):
    first, second = braille.ticks(low, low + extent)
    assert first != second or not math.isfinite(low + extent)


@given(st.lists(st.floats(0, 9), max_size=30), st.integers(1, 120), st.integers(1, 30), st.booleans())
def test_a_plot_stays_in_its_room(values: list[float], width: int, height: int, mean: bool):
    points = list(enumerate(values))
    drawn = plotted(points, width, height, "loss", "nats/token", "$primary", "nothing yet", mean).plain.split("\n")
    assert len(drawn) <= height
    assert all(len(line) <= width for line in drawn)


def test_a_plot_says_what_it_shows():
    drawn = plotted([(1, 3.0), (5, 2.0), (9, 1.0)], 40, 8, "loss", "nats/token", "$primary", "", False).plain
    lines = drawn.split("\n")
    assert lines[0] == "loss  nats/token  1.000"
    assert lines[1].startswith("3.00 ")
    assert lines[-2].startswith("1.00 ")
    assert lines[-1].split() == ["step", "1", "9"]
    assert "nothing yet" in plotted([(1, 1.0)], 40, 8, "loss", "x", "$primary", "nothing yet", False).plain
