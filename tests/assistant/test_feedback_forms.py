"""Other programs' records of feedback, read and written."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant import feedback_forms
from assistant.errors import HoneError
from assistant.feedback import Feedback, Imported
from assistant.feedback_consent import Consent, write
from assistant.feedback_events import Event
from assistant.feedback_forms import Foreign
from assistant.feedback_summary import examples

TABBY = [
    {
        "ts": 1_772_366_400_000,
        "event": {
            "completion": {
                "completion_id": "cmpl-1",
                "language": "python",
                "prompt": "<PRE> def f(): <SUF> <MID>",
                "segments": {"prefix": "def f():\n    ", "suffix": "\n", "filepath": "a.py"},
                "choices": [{"index": 0, "text": "return 1\n    # done"}],
                "user": "ann",
            }
        },
    },
    {"ts": 1_772_366_401_000, "event": {"view": {"completion_id": "cmpl-1", "choice_index": 0}}},
    {
        "ts": 1_772_366_402_500,
        "event": {"select": {"completion_id": "cmpl-1", "choice_index": 0, "kind": "line", "elapsed": 1500}},
    },
    {"ts": 1_772_366_403_000, "event": {"chat_completion": {"completion_id": "chat-1"}}},
    {"ts": 1_772_366_403_000, "event": {"dismiss": {"completion_id": "lost", "choice_index": 2}}},
]
AUTOCOMPLETE = {
    "eventName": "autocomplete",
    "schema": "0.2.0",
    "timestamp": "2026-03-01T12:00:00.000Z",
    "userId": "ann",
    "userAgent": "vscode/1.99",
    "selectedProfileId": "local",
    "accepted": True,
    "time": 210,
    "prefix": "x = ",
    "suffix": "\n",
    "prompt": "<fim_prefix>x = <fim_suffix>\n<fim_middle>",
    "completion": "1",
    "modelProvider": "ollama",
    "modelName": "starcoder2:3b",
    "cacheHit": False,
    "filepath": "src/a.py",
    "completionId": "b7a2",
    "uniqueId": "u",
}


def lines(*events: object) -> list[str]:
    return [json.dumps(event) + "\n" for event in events]


def test_tabbys_log_is_read() -> None:
    shown, taken, dismissed = feedback_forms.read("tabby", [*lines(*TABBY), "\n"])
    assert (shown.kind, taken.kind, dismissed.kind) == ("shown", "partly", "rejected")
    assert shown.id == taken.id == "tabby:cmpl-1"
    assert (shown.prompt, shown.completion) == ("# a.py\ndef f():\n    ", "return 1\n    # done")
    assert (taken.completion, taken.seconds, taken.user, taken.language) == ("return 1", 1.5, "ann", "python")
    assert taken.time.isoformat() == "2026-03-01T12:00:02.500000+00:00"
    assert (dismissed.id, dismissed.prompt, dismissed.completion) == ("tabby:lost:2", None, None)


def test_continues_data_is_read() -> None:
    turned_down = {**AUTOCOMPLETE, "accepted": False, "completionId": "c1"}
    undecided = {key: value for key, value in AUTOCOMPLETE.items() if key != "accepted"}
    # An older file does not repeat the event's name.
    thumb = {"timestamp": 1_772_366_400_000, "prompt": "why?", "completion": "because", "feedback": False}
    applied = {**thumb, "eventName": "editOutcome", "newCode": "b", "previousCode": "a", "accepted": True}
    other = {"eventName": "tokensGenerated", "schema": "0.2.0", "timestamp": 0}
    found = list(feedback_forms.read("continue", lines(AUTOCOMPLETE, turned_down, undecided, thumb, applied, other)))
    assert [one.kind for one in found] == ["shown", "accepted", "shown", "rejected", "shown", "down", "accepted"]
    accepted, down = found[1], found[5]
    assert (accepted.prompt, accepted.completion) == ("# src/a.py\nx = ", "1")
    assert (accepted.model, accepted.user, accepted.path) == ("starcoder2:3b", "ann", "src/a.py")
    assert (down.source, down.prompt, down.completion, down.rendered) == ("chat", "why?", "because", False)
    assert accepted.time.isoformat() == down.time.isoformat() == "2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("form", "line", "complaint"),
    [
        ("tabby", "{", "line 2 is no event of Tabby's form"),
        ("tabby", "[]", "it is no JSON object"),
        ("tabby", '{"ts": 1}', "no 'event'"),
        ("tabby", '{"ts": 1, "event": {"view": {"completion_id": 3, "choice_index": 0}}}', "3 is no text"),
        ("tabby", '{"ts": "soon", "event": {"view": {"completion_id": "a", "choice_index": 0}}}', "invalid literal"),
        ("continue", '{"eventName": "autocomplete"}', "no 'timestamp'"),
        ("continue", '{"eventName": "chatFeedback", "timestamp": 0, "feedback": true}', "no 'prompt'"),
    ],
)
def test_a_line_of_another_form_is_named(form: feedback_forms.Form, line: str, complaint: str) -> None:
    with pytest.raises(HoneError, match="line 2") as caught:
        list(feedback_forms.read(form, ["\n", line]))
    assert complaint in str(caught.value)


@given(
    st.sampled_from(feedback_forms.FORMS),
    st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps),
)
def test_any_line_is_read_or_refused_in_one_line(form: feedback_forms.Form, line: str) -> None:
    found: list[Foreign] = []
    told = "line 1"
    try:
        found = list(feedback_forms.read(form, [line]))
    except HoneError as error:
        told = str(error)
    assert (found, told[:6]) == ([], "line 1")


@pytest.fixture
def kept(hone_home: Path) -> Iterator[Feedback]:
    write(Consent(elsewhere=True))
    kept = Feedback()
    for identity, kind in (("one", "accepted"), ("two", "rejected"), ("three", "shown")):
        shown = {"id": identity, "model": "base", "language": "python", "prompt": "# a.py\nx = ", "completion": "1"}
        kept.record("shown", path="a.py", **shown)  # type: ignore[arg-type]
        if kind != "shown":
            kept.record(kind, id=identity, model="base")  # type: ignore[arg-type]
    kept.record("up", id="four", model="base", source="chat", prompt="why?", completion="because")
    return kept


def taken_over(kept: Feedback, form: feedback_forms.Form) -> list[Event]:
    """What an export holds, when it is imported again."""
    text = [json.dumps(line) for line in feedback_forms.write(form, kept.read().events)]
    return [
        kept.record(
            one.kind,
            id=one.id,
            model=one.model,
            source=one.source,
            prompt=one.prompt,
            completion=one.completion,
            imported=Imported(one.time, one.user),
        )
        for one in feedback_forms.read(form, text)
    ]


def test_what_is_written_for_tabby_says_the_same_when_it_is_read(kept: Feedback) -> None:
    before = list(examples(kept.read().events))
    read = taken_over(kept, "tabby")
    assert [event.kind for event in read] == ["shown", "accepted", "shown", "rejected", "shown"]
    # Tabby has no thumbs.
    assert list(examples(read)) == before[:2]


def test_what_is_written_for_continue_says_the_same_when_it_is_read(kept: Feedback) -> None:
    before = list(examples(kept.read().events))
    read = taken_over(kept, "continue")
    assert [event.kind for event in read] == ["shown", "accepted", "shown", "rejected", "up"]
    assert list(examples(read)) == before


def test_what_is_written_for_continue_has_the_fields_of_its_schema(kept: Feedback) -> None:
    first, _, third = feedback_forms.write("continue", kept.read().events)
    needed = {"eventName", "schema", "timestamp", "userId", "userAgent", "selectedProfileId"}
    assert needed <= first.keys() & third.keys()
    assert {
        "accepted",
        "time",
        "prefix",
        "suffix",
        "prompt",
        "completion",
        "modelName",
        "filepath",
        "completionId",
    } <= first.keys()
    assert (third["eventName"], third["feedback"]) == ("chatFeedback", True)


def test_texts_that_were_not_kept_are_not_written(kept: Feedback) -> None:
    bare = [replace(event, prompt=None, completion=None) for event in kept.read().events]
    assert list(feedback_forms.write("continue", bare)) == []
    assert ["completion" in line["event"] for line in feedback_forms.write("tabby", bare)] == [False] * 5
