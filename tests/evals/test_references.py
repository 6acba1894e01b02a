"""Known answers, judged before any model is asked."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from evals.errors import HarnessError
from evals.harness import check_references
from evals.tasks.base import Answer, Item, Verdict
from tests.evals.words_task import Words


class FirstOfGroup(Words):
    """As infilling: one item of each group has references, which speak for the others too."""

    def references(self) -> Iterable[tuple[Item, str, bool]]:
        return [known for known in super().references() if known[0].data["number"] % 2 == 0]


class NotTheSixth(FirstOfGroup):
    """Its known good answer does not hold."""

    def judge(self, item: Item, answer: Answer, sandbox: Any) -> Verdict:
        verdict = super().judge(item, answer, sandbox)
        return replace(verdict, value=0.0) if item.id == "words/6" else verdict


def test_a_reference_speaks_for_the_items_of_its_group_that_have_none() -> None:
    task = FirstOfGroup(count=40)
    odd = [item for item in task.items() if item.data["number"] % 2]
    some = check_references(task, odd[:3], None)
    assert (some.good, some.bad) == (3, 3)
    assert sorted(task.judged) == sorted(["words/0", "words/2", "words/4"] * 2)
    sound = check_references(NotTheSixth(count=40), odd, None, may_leave_out=True)
    assert list(sound.left_out) == ["words/7"]
    assert (sound.good, sound.bad) == (19, 19)
    both = check_references(NotTheSixth(count=40), task.items(), None, may_leave_out=True)
    assert sorted(both.left_out) == ["words/6", "words/7"]
    with pytest.raises(HarnessError, match="a known good answer to words/6 scores 0"):
        check_references(NotTheSixth(count=40), odd, None)


def test_the_judging_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    task = Words()
    check_references(task, task.items(), None, show=True)
    assert "words, known answers: 12/12 answers" in capsys.readouterr().err
