"""Which feedback is learnt from: verdicts, caps, balance, and the guard against texts of other models."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.feedback import Feedback
from assistant.feedback_events import KINDS, Event, Kind
from tests.tuning.feedback_here import opted_in, shown
from tuning.feedback_data import MOST_OF_ONE_LABEL, Selection, select
from tuning.plan import FeedbackOptions

OPTIONS = FeedbackOptions(least=2)


@pytest.fixture
def kept(hone_home: Path) -> Feedback:
    return opted_in()


def chosen(kept: Feedback, **options: object) -> Selection:
    return select(kept.read().events, replace(OPTIONS, **options), {"base"})  # type: ignore[arg-type]


def test_what_was_kept_is_continued_and_what_was_edited_is_continued_as_edited(kept: Feedback) -> None:
    shown(kept, 1, "accepted")
    shown(kept, 2, "partly", text="return 2")
    shown(kept, 3, "accepted", text="return 3\n", edited="return three\n")
    shown(kept, 4, "accepted")
    kept.record("edited", id="s4", model="base", survival=0.1, seconds=40.0)
    shown(kept, 5, "rejected")
    shown(kept, 6)
    found = chosen(kept, objective="completions")
    assert [(row.text, row.whole) for row in found.completions] == [
        ("return sum(items) + 1\n", True),
        ("return 2", False),
        ("return three\n", True),
    ]
    assert found.preferences == ()
    assert found.ids == ("s1", "s2", "s3")


def test_edits_are_pairs_of_the_same_prompt(kept: Feedback) -> None:
    for number in range(3):
        shown(kept, number, "accepted", text=f"return {number}\n", edited=f"total = {number}\n    return total\n")
    found = chosen(kept, objective="dpo")
    assert found.method == "dpo"
    assert next((row.text, row.rejected) for row in found.preferences) == (
        "total = 0\n    return total\n",
        "return 0\n",
    )
    assert found.preferences[0].prompt == "# shop.py\ndef price0(items):\n    "


def test_verdicts_and_thumbs_are_labels(kept: Feedback) -> None:
    for number in range(3):
        shown(kept, number, "accepted")
        shown(kept, 10 + number, "rejected")
    for number in range(2):
        kept.record("down", id=f"c{number}", model="base", source="chat", prompt="why?", completion=f"no {number}")
    # A thumb weighs more than what was done.
    kept.record("down", id="s0", model="base", completion="return sum(items) + 0\n")
    found = chosen(kept)
    assert found.method == "kto"
    bad = {row.id: row.source for row in found.preferences if not row.good}
    assert bad == {**dict.fromkeys(("s0", "s10", "s11", "s12"), "complete"), "c0": "chat", "c1": "chat"}
    assert [row.id for row in found.preferences if row.good] == ["s1", "s2"]
    assert [row.id for row in found.completions] == ["s1", "s2"]


def test_the_more_frequent_label_gives_its_newest(kept: Feedback) -> None:
    for number in range(10):
        shown(kept, number, "accepted" if number < 2 else "rejected")
    found = chosen(kept)
    assert [row.id for row in found.preferences] == ["s0", "s1", "s4", "s5", "s6", "s7", "s8", "s9"]
    assert found.left_out["of the more frequent label"] == 2


@pytest.mark.parametrize(("edits", "others", "method"), [(4, 4, "dpo"), (2, 12, "kto"), (1, 2, "kto"), (1, 0, "none")])
def test_pairs_are_learnt_where_they_dominate(kept: Feedback, edits: int, others: int, method: str) -> None:
    for number in range(edits):
        shown(kept, number, "accepted", text=f"return {number}\n", edited=f"return -{number}\n")
    for number in range(others):
        shown(kept, 50 + number, "accepted" if number % 2 else "rejected")
    for number in range(3):
        shown(kept, 90 + number, "accepted", model="other")
    assert chosen(kept).method == method


def test_preferences_between_texts_of_another_model_do_not_count(kept: Feedback) -> None:
    for number in range(4):
        shown(kept, number, "accepted" if number % 2 else "rejected", model="mine@0123456789ab")
    found = select(kept.read().events, replace(OPTIONS, objective="completions"), {"base"})
    assert len(found.completions) == 2
    assert found.left_out["of another model, so without preferences"] == 4
    with pytest.raises(HoneError, match="0 good and 0 bad answers of the model that is tuned, too few for KTO"):
        chosen(kept, objective="kto")
    own = select(kept.read().events, replace(OPTIONS, objective="kto"), {"mine@0123456789ab"})
    assert len(own.preferences) == 4


def test_a_prompt_that_was_redacted_is_not_what_the_model_answered(kept: Feedback) -> None:
    for number in range(4):
        facts = {"id": f"s{number}", "model": "base", "prompt": f"# mail jane.doe@corp.com\nx{number} = "}
        kept.record("shown", completion="1", **facts)  # type: ignore[arg-type]
        kept.record("accepted", id=f"s{number}", model="base", completion="1")
    found = chosen(kept)
    assert (len(found.completions), found.method) == (4, "none")
    assert found.left_out["with a redacted prompt, so without preferences"] == 4
    assert "jane.doe" not in found.completions[0].prompt


def test_no_file_and_no_user_is_the_taste_of_all(kept: Feedback) -> None:
    for number in range(9):
        shown(kept, number, "accepted", path="one.py")
    for number in range(9, 12):
        shown(kept, number, "accepted", path=f"f{number}.py")
    found = chosen(kept, per_file=4, objective="completions")
    # The newest of the file.
    assert [row.id for row in found.completions] == ["s5", "s6", "s7", "s8", "s9", "s10", "s11"]
    assert found.left_out == {"over the limit of their file": 5}
    events = [replace(event, user="ann") if event.id in ("s9", "s10") else event for event in kept.read().events]
    shared = select(events, replace(OPTIONS, per_user=0.25, objective="completions"), {"base"})
    assert [row.id for row in shared.completions] == ["s7", "s8", "s9", "s10", "s11"]
    assert shared.left_out == {"over the share of their user": 7}


def test_what_was_judged_both_ways_is_not_learnt_and_repeats_count_once(kept: Feedback) -> None:
    def told(identity: str, kind: Kind, text: str) -> None:
        kept.record("shown", id=identity, model="base", prompt="x = ", completion=text)
        kept.record(kind, id=identity, model="base", completion=text if kind == "accepted" else None)

    for identity, kind, text in (
        ("a", "accepted", "1"),
        ("b", "accepted", "1"),
        ("c", "accepted", "2"),
        ("d", "accepted", "3"),
    ):
        told(identity, kind, text)  # type: ignore[arg-type]
    found = chosen(kept, objective="completions")
    assert [row.id for row in found.completions] == ["a", "c", "d"]
    # Once as a completion and once as a label.
    assert found.left_out == {"repeated": 2}
    told("e", "rejected", "1")
    found = chosen(kept, objective="completions")
    assert [row.id for row in found.completions] == ["c", "d"]
    assert found.left_out == {"judged both ways": 1}


def test_too_little_is_told_with_what_there_is(kept: Feedback) -> None:
    with pytest.raises(HoneError, match=r"there is none.*hone feedback on"):
        chosen(kept)
    shown(kept, 1, "accepted")
    with pytest.raises(HoneError, match=r"1 completions, fewer than 2.*feedback.least \(now 2\)"):
        chosen(kept)


def test_texts_that_were_not_kept_are_counted(hone_home: Path) -> None:
    kept = Feedback()
    shown(kept, 1, "accepted")
    with pytest.raises(HoneError, match=r"1 without their texts.*hone feedback on"):
        chosen(kept)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(KINDS),
        st.sampled_from(["1", "2", " ", None]),
        st.sampled_from(["base", "other"]),
    ),
    max_size=40,
)


@given(EVENTS)
def test_whatever_happened_labels_stay_balanced_and_each_text_is_learnt_once(
    told: list[tuple[str, str, str | None, str]],
) -> None:
    events = [
        Event(
            id_, "2026-01-01T00:00:00+00:00", kind, "complete", model, None, None, None, "x = ", text, None, None, False
        )  # type: ignore[arg-type]
        for id_, kind, text, model in told
    ]
    try:
        found = select(events, OPTIONS, {"base"})
    except HoneError:
        return
    good = sum(row.good for row in found.labelled)
    bad = len(found.labelled) - good
    assert max(good, bad) <= MOST_OF_ONE_LABEL * min(good, bad) or min(good, bad) == 0
    texts = [(row.prompt, row.text) for row in found.labelled]
    assert len(set(texts)) == len(texts)
    assert {row.id for row in found.preferences} <= set(found.ids)
    assert all(row.text.strip() for row in found.completions)
