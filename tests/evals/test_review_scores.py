"""Probabilities of wrong lines, from a scorer that is told what to say and from a real model."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from assistant.review_rewriting import rewriting
from evals.tasks.review_scores import Scored, claims, figures, read, score
from tests.evals.review_cases import bug, case, hunk
from tests.tuning.tiny import make_tokenizer

TOKENIZER = make_tokenizer()
END = TOKENIZER.get_vocab()["<|endoftext|>"]


class Told:
    """Writes another line with a given probability at each place, and records what stands before it."""

    def __init__(self, *wrong: float) -> None:
        self._wrong = wrong
        self.before: list[str] = []
        self.lines: list[str] = []

    def score_spans(self, token_ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[list[float]]:
        self.before = [TOKENIZER.decode(list(token_ids[:start])) for start, _ in spans]
        self.lines = [TOKENIZER.decode(list(token_ids[start:end])) for start, end in spans]
        # Part of the surprise is at the line's first token; one of so many lines is wrong at most.
        surprise = [math.log1p(one / (1 - one) * len(self._wrong)) for one in self._wrong]
        return [[-one * 0.9, -one * 0.1] for one in surprise]


def test_each_changed_line_is_asked_about_after_the_lines_above() -> None:
    scorer = Told(0.1, 0.9, 0.2)
    found = score(case("a", bug(2), hunk=hunk(3)), scorer, TOKENIZER, END, 4096)
    assert found is not None
    assert found.wrong == pytest.approx((0.1, 0.9, 0.2))
    made = rewriting(hunk(3))
    assert scorer.before == [made.text[:start] for start, _ in made.spans]
    assert scorer.lines == list(made.answers)
    assert found.first_bug == 1
    assert found.any_wrong == pytest.approx(1 - 0.9 * 0.1 * 0.8)
    assert score(case("a", hunk=hunk(3)), scorer, TOKENIZER, END, 10) is None


def test_lines_below_the_first_wrong_one_are_no_claims() -> None:
    lines, hunks = claims(
        [
            Scored(case("a", bug(2), hunk=hunk(3)), (0.1, 0.9, 0.8)),
            Scored(case("b", hunk=hunk(2)), (0.2, 0.3)),
            # The bug is in no changed line: nothing is known of its lines.
            Scored(case("c", bug(9), hunk=hunk(1)), (0.4,)),
        ]
    )
    assert lines == [(0.1, False), (0.9, True), (0.2, False), (0.3, False)]
    assert [wrong for _, wrong in hunks] == [True, False, True]


def test_figures_of_a_reviewer_that_knows_and_of_one_that_does_not() -> None:
    cases = [case(str(number), *([bug(1)] if number % 2 else []), hunk=hunk(2)) for number in range(10)]
    sure, calibrated = figures([Scored(one, (0.9 if one.bugs else 0.1, 0.1)) for one in cases], 0)
    assert sure["AUC, change wrong or clean"].value == 1
    assert sure["AUC, line wrong or fine"].value == 1
    assert sure["top line is the bug"].value == 1
    assert sure["calibration error"].value == pytest.approx(0.1)
    assert calibrated is not None
    even, _ = figures([Scored(one, (0.1, 0.5)) for one in cases], 0)
    assert even["AUC, change wrong or clean"].value == 0.5
    assert even["top line is the bug"].value == 0
    with pytest.raises(ValueError, match="no hunk"):
        figures([], 0)


@pytest.mark.model
def test_a_real_model_gives_a_probability_for_each_changed_line(embedded_store: Path, embedded_home: Path) -> None:
    import torch

    from assistant.models import store

    torch.set_num_threads(1)
    base = store.find("smollm2-135m")
    assert base is not None
    (found,) = read([case("a", bug(2), hunk=hunk(4)), case("long", hunk=hunk(60))], store.tuning_form(base), None, 400)
    assert found.case.id == "a"
    assert len(found.wrong) == 4
    assert all(0 < one < 1 for one in found.wrong)
