"""Figures and comparisons from sample rows."""

import pytest

from evals.errors import HarnessError
from evals.report.results import Measure, calibrate
from tests.evals.report_fixtures import greedy, pair, row, task

EDIT = Measure(name="edit_similarity", parts=lambda row: (row["verdict"]["extra"]["similarity"], 1.0), unit="")
F1 = Measure(
    name="f1",
    parts=lambda row: (
        2.0 * row["verdict"]["extra"]["tp"],
        2.0 * row["verdict"]["extra"]["tp"] + row["verdict"]["extra"]["fp"] + row["verdict"]["extra"]["fn"],
    ),
)


def graded(model: str, item: str, group: str, **extra: float) -> dict[str, object]:
    return row(model, item, group=group, verdict={"value": 0.5, "error": None, "detail": "", "extra": extra})


def test_greedy_samples_give_wilson_and_exact_mcnemar() -> None:
    found = pair(100, 10, 2, 52)
    before, after = (model.figures["pass@1"] for model in found.models)
    assert (before.value, after.value) == (110 / 164, 102 / 164)
    assert before.method == "Wilson"
    assert before.low is not None
    assert before.low < before.value
    (comparison,) = found.comparisons
    assert comparison.outcomes == (100, 10, 2, 52)
    assert comparison.p == pytest.approx(0.0386, abs=1e-4)
    assert comparison.difference.value == pytest.approx(-8 / 164)
    assert comparison.difference.high is not None
    assert comparison.difference.high < 0
    assert comparison.detectable is not None
    assert 0.03 < comparison.detectable < 0.09
    assert found.models[0].classes == {"right": 110, "wrong answer": 54}


def test_several_samples_give_unbiased_pass_at_k_and_a_cluster_bootstrap() -> None:
    right = {"a": [1, 0, 0], "b": [1, 1, 1], "c": [0, 0, 0], "d": [1, 1, 0]}
    rows = [
        row("m", item, value=float(value), attempt=attempt)
        for item, values in right.items()
        for attempt, value in enumerate(values)
    ]
    found = task({"m": rows}, ks=(1, 2, 3, 10))
    figures = found.models[0].figures
    assert list(figures) == ["pass@1", "pass@2", "pass@3"]
    assert figures["pass@1"].value == pytest.approx(6 / 12)
    assert figures["pass@2"].value == pytest.approx((2 / 3 + 1 + 0 + 1) / 4)
    assert figures["pass@3"].value == pytest.approx(3 / 4)
    assert figures["pass@1"].method == "bootstrap over 4 groups"
    assert figures["pass@1"].n == 4


def test_a_ratio_of_sums_is_no_mean_of_ratios() -> None:
    rows = [graded("m", "a", "a", tp=1, fp=0, fn=0), graded("m", "b", "b", tp=0, fp=8, fn=0)]
    assert task({"m": rows}, measures=[F1]).models[0].figures["f1"].value == pytest.approx(2 / 10)


def test_items_of_one_group_are_drawn_together() -> None:
    one = [graded("old", f"{number}", "file", similarity=0.2) for number in range(9)]
    other = [graded("new", f"{number}", "file", similarity=0.4) for number in range(9)]
    found = task({"old": one, "new": other}, measures=[EDIT])
    figure = found.models[0].figures["edit_similarity"]
    assert (figure.low, figure.high) == (None, None)
    (comparison,) = found.comparisons
    assert comparison.clusters == (pytest.approx((1.8, 9.0, 3.6, 9.0)),)
    # One group shows nothing, however often it was asked.
    assert comparison.p == 1.0
    assert comparison.relative is not None
    assert comparison.relative.value == pytest.approx(1.0)


def test_verdicts_between_0_and_1_are_a_score() -> None:
    rows = [graded("m", "a", "a"), row("m", "b")]
    assert task({"m": rows}).models[0].figures["score"].value == pytest.approx(0.75)


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("turned", [False, True])
def test_a_model_that_is_never_half_right_is_compared_by_the_same_score(attempts: int, turned: bool) -> None:
    whole = [row("whole", item, value=float(item == "a"), attempt=n) for item in "ab" for n in range(attempts)]
    half = [graded("half", item, item) | {"attempt": n} for item in "ab" for n in range(attempts)]
    found = task({"half": half, "whole": whole} if turned else {"whole": whole, "half": half})
    assert [list(model.figures) for model in found.models] == [["score"], ["score"]]
    (comparison,) = found.comparisons
    assert (comparison.figure, comparison.outcomes, comparison.difference.value) == ("score", None, 0.0)


def test_nothing_to_divide_by_is_said_and_is_no_zero() -> None:
    rows = [graded("m", "a", "a", tp=0, fp=0, fn=0), graded("m", "b", "b", tp=0, fp=0, fn=0)]
    figure = task({"m": rows}, measures=[F1]).models[0].figures["f1"]
    assert (figure.n, figure.low, figure.high) == (0, None, None)
    assert "undefined" in figure.method


def test_a_lost_sample_is_a_fault_and_no_wrong_answer() -> None:
    with pytest.raises(HarnessError, match="new has no sample of i002, attempt 0"):
        task({"old": greedy("old", [True] * 3), "new": greedy("new", [True] * 2)})
    with pytest.raises(HarnessError, match="two samples of i000"):
        task({"old": greedy("old", [True]) * 2})
    with pytest.raises(HarnessError, match="nothing was measured"):
        task({"old": []})


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows, others = greedy("old", [True, False, True]), greedy("new", [False, False, True])
    assert task({"old": rows, "new": others}) == task({"old": rows[::-1], "new": others[::-1]})


def test_samples_are_in_the_order_of_their_numbers() -> None:
    rows = [row("m", f"HumanEval/{number}") for number in (10, 9, 100)]
    assert [one["item"] for one in task({"m": rows}).samples] == ["HumanEval/9", "HumanEval/10", "HumanEval/100"]


def test_calibration_error_is_weighed_by_count() -> None:
    found = calibrate([0.05, 0.95, 0.95, 1.0], [False, True, True, False])
    assert found is not None
    assert [each.count for each in found.bins] == [1, 3]
    assert found.expected_error == pytest.approx((1 * 0.05 + 3 * abs(2.9 / 3 - 2 / 3)) / 4)
    assert calibrate([], []) is None
    with pytest.raises(ValueError, match="probability"):
        calibrate([1.5], [True])
