"""Dismissed findings: only a reviewer learns from them, in the tokens of its training, going on from what it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import HoneError, UsageError
from assistant.feedback import Feedback
from assistant.review_prompt import Hunk, HunkLine
from assistant.review_rewriting import rewriting
from tests.tuning import tiny_gguf
from tests.tuning.code import modules
from tests.tuning.feedback_here import opted_in, shown
from tests.tuning.runs import train_and_discard
from tests.tuning.tiny import make_tokenizer
from tuning import reviewer
from tuning.examples.rewritten import ask
from tuning.feedback_data import Row, select
from tuning.feedback_rows import Encoder
from tuning.feedback_run import FRESH, prepare
from tuning.plan import ExampleOptions, FeedbackOptions, LoraOptions, Plan

OPTIONS = FeedbackOptions(least=4)
REVIEWER = "rev@1a2b3c4d5e6f"


def hunk(number: int) -> Hunk:
    lines = (
        HunkLine(" ", 1, f"def price{number}(items):"),
        HunkLine("+", 2, "    found = [x for x in items] or 7 + len(items)"),
        HunkLine("-", 3, "    return None"),
        HunkLine("+", 3, f"    return sum(found) + {number}"),
    )
    return Hunk("shop.py", (), (), lines)


def question(number: int) -> str:
    """On the last line of the hunk."""
    made = rewriting(hunk(number))
    return made.text[: made.spans[-1][0]]


def line(number: int) -> str:
    return f"     return sum(found) + {number}\n"


def dismiss(kept: Feedback, count: int) -> None:
    for number in range(count):
        kept.record(
            "rejected", id=f"review:{number}", model=REVIEWER, adapter=REVIEWER, source="review", rendered=True,
            prompt=question(number), completion=line(number), path=f"f{number}.py",
        )  # fmt: skip


def test_a_reviewer_learns_that_dismissed_lines_are_fine_and_nobody_else_does(hone_home: Path) -> None:
    kept = opted_in()
    dismiss(kept, 4)
    for number in range(4):
        shown(kept, number, "accepted")
    events = kept.read().events
    found = select(events, OPTIONS, {REVIEWER}, "review")
    assert [(row.prompt, row.text) for row in found.completions] == [(question(one), line(one)) for one in range(4)]
    assert (found.method, found.preferences) == ("none", ())
    assert found.describe() == "feedback: 4 findings that were dismissed"
    assert select(events, OPTIONS, {"base"}, "code").ids == ("s0", "s1", "s2", "s3")
    with pytest.raises(HoneError, match="3 findings, fewer than 4"):
        select(events[1:], OPTIONS, {REVIEWER}, "review")


def test_its_tokens_are_those_of_the_reviewers_training() -> None:
    tokenizer = make_tokenizer()
    row = Row("review:0", question(0), line(0), True, "review", True, "f0.py", True)
    asked = ask(hunk(0), tokenizer, 0)
    encoded = Encoder(tokenizer, 0, 10_000).encode(row, row.text)
    assert encoded is not None
    learnt = encoded.prompt + encoded.answer
    assert learnt == asked.tokens[: len(learnt)]
    assert (len(encoded.prompt), len(learnt)) == asked.spans[-1]
    # Without its head a question is another one.
    assert Encoder(tokenizer, 0, len(encoded.prompt)).encode(row, row.text) is None


@pytest.fixture
def base(hone_home: Path, tmp_path: Path) -> str:
    return str(tiny_gguf.write_base(tmp_path / "tiny.gguf"))


def plan_of(repository: Path, **feedback: Any) -> Plan:
    plan = Plan(
        steps=2,
        row_length=512,
        dtype="float32",
        checks=1,
        lora=LoraOptions(),
        feedback=replace(OPTIONS, **feedback),
        examples=ExampleOptions(task="review", review_rate=1, code_rate=0, review_form="rewriting"),
    )
    return replace(plan, corpus=replace(plan.corpus, sources=(str(repository),)))


def test_a_run_goes_on_from_the_reviewer(base: str, make_repository: Any) -> None:
    repository = Path(make_repository(modules(12)))
    plan = plan_of(repository)
    dismiss(opted_in(repository), 12)
    with pytest.raises(UsageError, match="there is no reviewer to go on from"):
        prepare(plan, base, base, frozenset())
    other, live = (tiny_gguf.register(name, base, seed) for seed, name in enumerate(("other", "rev")))
    with pytest.raises(UsageError, match=f"{other.id} is no reviewer to go on from"):
        prepare(plan_of(repository, start=other.id), base, base, frozenset())
    with pytest.raises(UsageError, match="no reviewer"):
        prepare(plan_of(repository, start=FRESH), base, base, frozenset())
    (live.folder / reviewer.FILE).write_text("{}")
    prepared = prepare(plan, base, base, frozenset())
    assert prepared.notes == (f"going on from {live.id}", "feedback: 12 findings that were dismissed")

    assert prepared.plan.lora.rank == 4
    # That it learns from them, and what of the reviewer it begins with, is of every run on feedback.
    trained = train_and_discard(base, prepared.plan)
    assert len(trained.losses) == 2
