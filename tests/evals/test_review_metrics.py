"""The figures of reviews whose outcome is known by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.review_prompt import Finding
from evals.tasks.review_data import OTHER
from evals.tasks.review_metrics import (
    RATIOS,
    Review,
    agreement,
    by_kind,
    calibration,
    compare,
    counts,
    figures,
    of_hunk,
    ranking,
)
from tests.evals.review_cases import bug, case, hunk


def review(name: str, bugs: list[Finding], findings: list[Finding] | None, **fields: object) -> Review:
    passes = fields.pop("passes", None)
    attempt = fields.pop("attempt", 0)
    said = tuple(findings) if findings is not None else None
    return Review(case(name, *bugs, **fields), attempt, said, passes)  # type: ignore[arg-type]


MIXED = [
    review("exact", [bug(5)], [bug(5)]),
    review("near", [bug(5)], [bug(7)]),
    review("other class", [bug(5)], [bug(5, "wrong-index")]),
    review("twice", [bug(5)], [bug(5), bug(5)]),
    review("missed", [bug(5)], []),
    review("elsewhere", [bug(5)], [bug(15)]),
    review("unread", [bug(5)], None),
    review("clean", [], []),
    review("alarmed", [], [bug(3), bug(9)]),
    review("clean unread", [], None),
]


def test_figures_by_hand() -> None:
    found = {name: figure.value for name, figure in figures(MIXED, seed=0).items()}
    # 7 bugs; within two lines 4 are hit, and 1 + 2 findings hit nothing.
    assert found["line precision"] == pytest.approx(4 / 7)
    assert found["line recall"] == pytest.approx(4 / 7)
    assert found["line F1"] == pytest.approx(8 / 14)
    # Without tolerance the near one is a miss and a false alarm.
    assert found["exact line precision"] == pytest.approx(3 / 7)
    assert found["exact line recall"] == pytest.approx(3 / 7)
    # Exact, near and twice have the class too.
    assert found["class precision"] == pytest.approx(3 / 7)
    assert found["class recall"] == pytest.approx(3 / 7)
    # 5 of 7 wrong files are flagged, and 1 of 3 clean ones.
    assert found["file precision"] == pytest.approx(5 / 6)
    assert found["file recall"] == pytest.approx(5 / 7)
    assert found["false alarms per clean diff"] == pytest.approx(2 / 3)
    assert found["clean diffs with a false alarm"] == pytest.approx(1 / 3)
    assert found["false alarms per 100 changed lines"] == pytest.approx(100 * 3 / 200)
    assert found["duplicates"] == pytest.approx(1 / 8)
    assert found["parse failures"] == pytest.approx(2 / 10)
    assert not {"bugs fixed, by tests", "bugs restored word for word"} & set(found)


def test_each_figure_has_its_interval_and_says_what_it_rests_on() -> None:
    for name, figure in figures(MIXED, seed=1).items():
        assert figure.low is not None, name
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high
        assert figure.method == "bootstrap over 10 groups of changes"
    assert figures(MIXED, seed=1)["line recall"].n == 7
    assert figures(MIXED, seed=1)["false alarms per clean diff"].n == 3
    assert figures(MIXED[:1], seed=1)["line F1"].low is None


def test_hunks_of_one_diff_are_one_change() -> None:
    parts = [
        review("a#0", [bug(5)], [], group="a", diff="a", hunk=hunk(path="one.py")),
        review("a#1", [], [bug(2)], group="a", diff="a", hunk=hunk(path="one.py")),
        review("a#2", [], [bug(2)], group="a", diff="a", hunk=hunk(path="two.py")),
    ]
    (group,) = counts(parts).values()
    # The file one.py is wrong and flagged, if in another place; two.py is flagged for nothing; the diff is not clean.
    assert (group["file hits"], group["file false alarms"], group["clean diffs"]) == (1, 1, 0)
    assert (group["line missed"], group["line false alarms"]) == (1, 2)


def test_a_class_that_nobody_told_counts_at_no_class_level() -> None:
    found = of_hunk(review("a", [bug(5, OTHER)], [bug(5)]))
    assert found["line hits"] == 1
    assert not any(name.startswith("class") for name in found)


def test_bugs_of_operators_that_no_model_was_trained_on_are_told_apart() -> None:
    reviews = [
        review("a", [bug(5)], [bug(5)], operator="wrong-key", unseen_operator=True),
        review("b", [bug(5)], [], operator="wrong-key", unseen_operator=True),
        review("c", [bug(5)], [bug(5)], operator="wrong-index"),
        review("d", [bug(5)], [bug(5)], operator="wrong-index"),
    ]
    assert figures(reviews, 0)["line recall, operators not trained on"].value == 0.5
    assert by_kind(reviews)["operator"] == {
        "wrong-index": {"bugs": 2, "found": 2},
        "wrong-key": {"bugs": 2, "found": 1},
    }


def test_a_fix_is_compared_with_the_code_that_was_there() -> None:
    known = [bug(5, fix=["x = five", "y = five"])]
    reviews = [
        review("same", known, [bug(5, fix=["x = five  ", "y = five"])]),
        # The same code, told by another range.
        review("wider", known, [bug(4, last=5, fix=["x = 4", "x = five", "y = five"])]),
        review("other", known, [bug(5, fix=["x = six"])]),
        review("none", known, [bug(5)]),
    ]
    assert [of_hunk(one)["restored"] for one in reviews] == [1, 1, 0, 0]
    assert figures(reviews, 0)["bugs restored word for word"].value == 0.5


def test_what_the_tests_say() -> None:
    reviews = [
        review("a", [bug(5)], [bug(5)], passes=True),
        review("b", [bug(5)], [bug(5)], passes=False),
        review("c", [], [], passes=True),
        review("d", [], [bug(1)], passes=False),
    ]
    found = figures(reviews, 0)
    assert found["bugs fixed, by tests"].value == 0.5
    assert found["clean changes broken, by tests"].value == 0.5
    assert found["clean changes broken, by tests"].better == "lower"


def test_a_comparison_is_paired_and_can_be_computed_again_from_its_clusters() -> None:
    before = [review(f"r{number}", [bug(5)], [bug(5)] if number < 10 else []) for number in range(40)]
    after = [review(f"r{number}", [bug(5)], [bug(5)] if number < 30 else []) for number in range(40)]
    made = compare(before, after, ("base", "tuned"), seed=0)
    assert made is not None
    assert (made.before, made.after) == ("base", "tuned")
    one, two = figures(before, 0)["line F1"].value, figures(after, 0)["line F1"].value
    assert made.difference.value == pytest.approx(two - one)
    assert made.difference.low is not None
    assert made.difference.low > 0
    assert made.p is not None
    assert made.p < 0.01
    columns = [sum(column) for column in zip(*made.clusters, strict=True)]
    assert columns[2] / columns[3] - columns[0] / columns[1] == pytest.approx(two - one)
    same = compare(before, before, ("base", "base"), seed=0)
    assert same is not None
    assert (same.difference.value, same.difference.low, same.difference.high, same.p) == (0, 0, 0, 1)
    assert same.detectable is None
    # Shares are told in points, other figures in per cent of what they were.
    assert made.relative is None
    alarms = [review(f"r{number}", [], [bug(5)] * (number % 3)) for number in range(40)]
    fewer = [review(f"r{number}", [], [bug(5)] * (number % 2)) for number in range(40)]
    counted = compare(alarms, fewer, ("base", "tuned"), 0, "false alarms per 100 changed lines")
    assert counted is not None
    assert counted.relative is not None
    assert counted.detectable is not None
    assert compare(before, after, ("base", "tuned"), 0, "bugs fixed, by tests") is None
    with pytest.raises(ValueError, match="same cases"):
        compare(before, after[1:], ("base", "tuned"), seed=0)


def test_the_bootstrap_resamples_groups_and_not_hunks() -> None:
    # One file with twenty hunks that agree tells as much as one hunk.
    alone = [review(f"{group}", [bug(5)], [bug(5)] if group % 2 else []) for group in range(6)]
    repeated = [
        review(f"{group}#{part}", [bug(5)], [bug(5)] if group % 2 else [], group=str(group))
        for group in range(6)
        for part in range(20)
    ]
    one, many = figures(alone, 0)["line recall"], figures(repeated, 0)["line recall"]
    assert (one.value, one.low, one.high) == (many.value, many.low, many.high)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.lists(st.builds(bug, st.integers(1, 20)), max_size=3),
            st.none() | st.lists(st.builds(bug, st.integers(1, 25)), max_size=5),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_counts_add_up(drawn: list[tuple[list[Finding], list[Finding] | None]]) -> None:
    reviews = [review(str(number), bugs, said) for number, (bugs, said) in enumerate(drawn)]
    for one in reviews:
        found = of_hunk(one)
        for level in ("line", "exact line", "class"):
            assert found[f"{level} hits"] + found[f"{level} missed"] == len(one.case.bugs)
        assert found["line hits"] + found["line false alarms"] + found["duplicates"] == len(one.findings or ())
        assert found["exact line hits"] <= found["line hits"]
        assert found["class hits"] <= found["line hits"]
    for name, figure in figures(reviews, 0).items():
        assert figure.value >= 0
        assert figure.value <= 1 or RATIOS[name].unit == ""


def test_calibration_by_hand() -> None:
    pairs = [(0.05, False), (0.05, True), (0.95, True), (1.0, True), (0.3, False)]
    made = calibration(pairs)
    assert made is not None
    assert [(one.low, one.high, one.count) for one in made.bins] == [(0.0, 0.1, 2), (0.3, 0.4, 1), (0.9, 1.0, 2)]
    # Two at 0.05 of which one was right, one at 0.3 that was not, two at 0.975 that were.
    assert made.expected_error == pytest.approx((2 * 0.45 + 0.3 + 2 * 0.025) / 5)
    assert calibration([]) is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibration([(1.5, True)])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_bins_hold_every_pair_once(pairs: list[tuple[float, bool]]) -> None:
    made = calibration(pairs)
    assert made is not None
    assert sum(one.count for one in made.bins) == len(pairs)
    assert sum(one.observed * one.count for one in made.bins) == pytest.approx(sum(right for _, right in pairs))
    assert all(one.low - 1e-9 <= one.stated <= one.high + 1e-9 for one in made.bins)
    assert 0 <= made.expected_error <= 1
    # With one bin the error is how far the mean is off.
    whole = calibration(pairs, bins=1)
    assert whole is not None
    mean = sum(stated for stated, _ in pairs) / len(pairs)
    share = sum(right for _, right in pairs) / len(pairs)
    assert whole.expected_error == pytest.approx(abs(mean - share))


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.4, 0.8]), st.booleans()), max_size=20))
def test_the_area_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[float, bool]]) -> None:
    wins = [
        1.0 if one > two else 0.5 if one == two else 0.0
        for one, right in pairs
        if right
        for two, other in pairs
        if not other
    ]
    found = ranking(pairs)
    if wins:
        assert found == pytest.approx(sum(wins) / len(wins))
    else:
        assert found is None


def test_confidence_is_how_many_answers_agree() -> None:
    said = [[bug(5)], [bug(5), bug(15)], [bug(5), bug(5)], []]
    reviews = [review("a", [bug(5)], findings, attempt=number) for number, findings in enumerate(said)]
    assert agreement(reviews) == [(0.75, True), (0.25, False)]
