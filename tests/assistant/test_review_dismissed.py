"""What is kept of a dismissed finding: the very question that the reviewer answered, by the rules of feedback."""

from pathlib import Path

import pytest

from assistant import feedback_consent, review_context
from assistant.feedback import Feedback
from assistant.feedback_consent import Consent
from assistant.review_rewriting import rewriting
from assistant.skills.review import dismissed
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import MODEL, MODEL_RULE, Evidence, Finding, Mark

LINES = [f"value_{number} = {number}" for number in range(1, 80)]
CHANGE = FileChange("shop/cart.py", "\n".join(LINES).encode(), frozenset({3, 4, 60}), {40: ("gone = 1",)})


def finding(line: int, *sources: str) -> Finding:
    evidence = tuple(Evidence(source, MODEL_RULE, "", 0.9, None, {"model": "rev@1a2b3c4d5e6f"}) for source in sources)
    mark = Mark("model/wrong-line", CHANGE.path, "", "")
    return Finding(
        "0123abcd-2", mark, CHANGE.path, line, line, "warning", "correctness", "x", "m", 0.9, evidence, ("code",)
    )


@pytest.mark.parametrize(
    ("number", "line"),
    [(3, " value_3 = 3\n"), (4, " value_4 = 4\n"), (40, " value_40 = 40\n"), (60, " value_60 = 60\n")],
)
def test_the_question_is_the_one_of_a_review_up_to_the_line(number: int, line: str):
    asked = dismissed.question(CHANGE, number)
    assert asked is not None
    assert asked[0].endswith(f"\n{number}")
    assert asked[1] == line
    texts = [
        rewriting(review_context.build(CHANGE.path, LINES, *part)).text
        for part in review_context.groups(CHANGE.added, CHANGE.removed, review_context.MAX_LINES)
    ]
    assert any(text.startswith("".join(asked)) for text in texts)


def test_a_line_that_did_not_change_was_not_asked_about():
    assert dismissed.question(CHANGE, 5) is None


def test_its_texts_are_kept_only_where_the_user_opted_in(hone_home: Path, tmp_path: Path):
    feedback = Feedback(repository=tmp_path)
    event = dismissed.record(feedback, CHANGE, finding(4, MODEL))
    assert event is not None
    assert (event.withheld, event.prompt, event.completion, event.path) == (True, None, None, None)
    feedback_consent.write(Consent().with_repository(tmp_path))
    dismissed.record(feedback, CHANGE, finding(4, MODEL))
    _, kept = feedback.read().events
    assert (kept.kind, kept.source, kept.adapter, kept.language) == ("rejected", "review", "rev@1a2b3c4d5e6f", "python")
    assert (kept.id, kept.path) == ("review:0123abcd-2", "shop/cart.py")
    assert (kept.prompt, kept.completion) == dismissed.question(CHANGE, 4)


def test_what_an_analyzer_said_too_is_not_the_models_to_learn(hone_home: Path):
    feedback = Feedback()
    assert dismissed.record(feedback, CHANGE, finding(4, "ruff")) is None
    assert dismissed.record(feedback, CHANGE, finding(4, "ruff", MODEL)) is None
    assert feedback.read().events == ()
