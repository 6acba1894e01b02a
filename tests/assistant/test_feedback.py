"""Feedback in real files, written by several processes."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant import feedback as module
from assistant.errors import HoneError, UsageError
from assistant.feedback import Feedback
from assistant.feedback_consent import Consent, write
from assistant.feedback_events import KINDS, Event
from assistant.feedback_summary import Correction, Example, corrections, examples, groups, stories
from assistant.models import store
from assistant.models.identity import base_identity
from assistant.redaction import secrets
from tests.tuning.tiny_gguf import write_base

SECRET = "AKIA" + "Z7QK" * 4


@pytest.fixture
def kept(tmp_path: Path) -> Feedback:
    write(Consent(elsewhere=True), tmp_path)
    return Feedback(tmp_path / "feedback.jsonl")


def record(kept: Feedback, kind: str, identity: str = "one", **fields: object) -> Event:
    return kept.record(kind, id=identity, **{"model": "base", "language": "python", **fields})  # type: ignore[arg-type]


def test_an_event_is_read_back_as_it_was_recorded(kept: Feedback) -> None:
    written = record(kept, "shown", prompt="x = ", completion="1", adapter="a@1")
    assert kept.read().events == (written,)
    assert written.prompt_sha256 is not None
    assert (written.prompt, written.completion, written.withheld) == ("x = ", "1", False)
    line = json.loads(kept.file.read_text())
    assert line["schema_version"] == 3
    assert line["time"].endswith("+00:00")


def test_a_base_model_is_told_by_its_digest(kept: Feedback, tmp_path: Path, hone_home: Path) -> None:
    gguf = write_base(tmp_path / "tiny.gguf")
    base = store.find(str(gguf))
    assert base is not None
    event = record(kept, "shown", model=str(gguf))
    assert event.model_sha256 == base_identity(base).digest
    assert kept.read().events == (event,)
    # The name of an adapter has its digest, which covers its base.
    assert record(kept, "shown", model=str(gguf), adapter="own@0123456789ab").model_sha256 is None
    for elsewhere in ("a-model-of-another-server", "./missing.gguf", "org/model"):
        assert record(kept, "shown", model=elsewhere).model_sha256 is None


def test_only_the_owner_can_read_it(kept: Feedback) -> None:
    before = os.umask(0)
    try:
        record(kept, "shown")
        kept.forget(lambda event: False)
    finally:
        os.umask(before)
    for file in kept.file.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_secrets_and_personal_data_never_reach_the_file(kept: Feedback) -> None:
    event = record(kept, "shown", prompt=f"key = '{SECRET}'\nmail('jane.doe@corp.com')\n", completion=f"f('{SECRET}')")
    assert event.completion == "f('<AWS_ACCESS_KEY>')"
    text = kept.file.read_text()
    assert SECRET not in text
    assert "jane.doe" not in text


def test_a_secret_that_begins_in_the_prompt_and_ends_in_the_completion_withholds_both(kept: Feedback) -> None:
    event = record(kept, "shown", prompt=f"key = '{SECRET[:10]}", completion=f"{SECRET[10:]}'")
    assert (event.prompt, event.completion, event.withheld) == (None, None, True)
    inside = record(kept, "accepted", prompt="<suffix>", completion=f"{SECRET[10:]}'", before=f"key = '{SECRET[:10]}")
    assert inside.withheld
    assert SECRET[10:] not in kept.file.read_text()


def test_without_a_working_detector_texts_are_left_out(kept: Feedback, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(secrets, "find", broken)
    event = record(kept, "shown", prompt="x = ", completion="1")
    assert (event.prompt, event.completion, event.withheld) == (None, None, True)
    assert event.prompt_sha256 is not None


def test_what_is_too_large_is_left_out(kept: Feedback, monkeypatch: pytest.MonkeyPatch) -> None:
    assert record(kept, "shown", completion="x " * module.MAX_TEXT).withheld
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    assert record(kept, "shown", completion="x").withheld


WRITER = """
import sys
from pathlib import Path
from assistant.feedback import Feedback
kept = Feedback(Path(sys.argv[1]))
for number in range(40):
    kept.record("shown", id=f"{sys.argv[2]}-{number}", model="m" * 100, completion="x = 1\\n" * 200)
"""


def test_several_processes_write_whole_lines_also_while_one_forgets(kept: Feedback) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(kept.file), str(number)]) for number in range(2)]
    while any(writer.poll() is None for writer in writers):
        kept.forget(lambda event: event.id.endswith("-7"))
    assert [writer.returncode for writer in writers] == [0, 0]
    kept.forget(lambda event: event.id.endswith("-7"))
    log = kept.read()
    assert log.damaged == 0
    wanted = {f"{writer}-{number}" for writer in range(2) for number in range(40) if number != 7}
    assert sorted(event.id for event in log.events) == sorted(wanted)


def test_a_line_cut_off_by_a_crash_costs_itself_only(kept: Feedback) -> None:
    first = record(kept, "shown")
    with kept.file.open("a") as opened:
        opened.write('{"id": "two", "kin')
    second = record(kept, "rejected")
    log = kept.read()
    assert (log.events, log.damaged) == ((first, second), 1)


@given(st.binary(max_size=200))
def test_any_bytes_in_the_file_are_at_most_damage(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    kept = Feedback(tmp_path_factory.mktemp("kept") / "feedback.jsonl")
    kept.file.write_bytes(junk)
    record(kept, "shown")
    assert [event.id for event in kept.read().events][-1:] == ["one"]


def test_forgetting_removes_what_was_meant_and_nothing_else(kept: Feedback) -> None:
    for identity in ("one", "two", "two", "three"):
        record(kept, "shown", identity, completion="text of " + identity)
    assert kept.forget(lambda event: event.id == "two") == 2
    assert [event.id for event in kept.read().events] == ["one", "three"]
    assert "text of two" not in kept.file.read_text()
    assert Feedback(kept.file.with_name("none.jsonl")).forget(lambda event: True) == 0


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"kind": "liked"}, "no kind of feedback"),
        ({"source": "mail"}, "no source of feedback"),
        ({"id": "a b"}, "the id of a suggestion"),
        ({"id": ""}, "the id of a suggestion"),
        ({"model": "m" * 600}, "are names"),
        ({"survival": 1.5}, "share from 0 to 1"),
        ({"survival": float("nan")}, "share from 0 to 1"),
        ({"seconds": float("inf")}, "a time from 0 on"),
        ({"prompt_sha256": "abc"}, "64 hexadecimal digits"),
    ],
)
def test_what_is_no_event_is_refused(kept: Feedback, fields: dict[str, object], complaint: str) -> None:
    values = {"id": "one", "model": "base", "kind": "shown", **fields}
    with pytest.raises(UsageError, match=complaint):
        kept.record(values.pop("kind"), **values)  # type: ignore[arg-type]
    assert not kept.file.exists()


def test_a_file_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "feedback.jsonl").mkdir()
    with pytest.raises(HoneError, match="where feedback is kept"):
        record(Feedback(tmp_path / "feedback.jsonl"), "shown")


def told(kept: Feedback, identity: str, *kinds: str, **fields: object) -> None:
    record(kept, "shown", identity, prompt=f"prompt {identity}", completion=f"all of {identity}", **fields)
    for kind in kinds:
        record(kept, kind, identity, completion=f"part of {identity}" if kind == "partly" else None, **fields)


def test_acceptance_is_counted_by_language_and_adapter(kept: Feedback) -> None:
    told(kept, "a", "partly", "accepted", adapter="mine@1")
    told(kept, "b", "rejected", adapter="mine@1")
    told(kept, "c", adapter="mine@1")
    told(kept, "d", "partly", adapter="mine@1")
    told(kept, "e", "rejected", language="go")
    record(kept, "edited", "a", survival=0.5, seconds=30, adapter="mine@1")
    record(kept, "edited", "d", survival=1.0, seconds=30, adapter="mine@1")
    record(kept, "up", "f", source="chat")
    first, second = groups(kept.read().events)
    assert (first.language, first.adapter, first.shown) == ("python", "mine@1", 4)
    assert (first.accepted, first.partly, first.rejected, first.survival) == (1, 1, 1, 0.75)
    assert first.acceptance == 0.5
    assert (second.language, second.adapter, second.acceptance) == ("go", None, 0.0)


def test_examples_are_what_somebody_judged(kept: Feedback) -> None:
    told(kept, "taken", "accepted")
    told(kept, "partly", "partly")
    told(kept, "refused", "rejected")
    told(kept, "ignored")
    told(kept, "rewritten", "accepted")
    record(kept, "edited", "rewritten", survival=0.1, seconds=30)
    record(kept, "up", "chat", source="chat", prompt="why?", completion="because")
    record(kept, "accepted", "no-texts")
    assert list(examples(kept.read().events)) == [
        Example("prompt taken", "all of taken", True),
        Example("prompt partly", "part of partly", True),
        Example("prompt refused", "all of refused", False),
        Example("prompt rewritten", "all of rewritten", False),
        Example("why?", "because", True),
    ]


def test_an_edit_is_a_correction_of_what_was_taken(kept: Feedback) -> None:
    told(kept, "same", "accepted")
    record(kept, "edited", "same", survival=1.0, seconds=30, completion="all of same\n")
    told(kept, "better", "partly")
    record(kept, "edited", "better", survival=0.8, seconds=30, completion="a better one")
    told(kept, "unknown", "accepted")
    record(kept, "edited", "unknown", survival=0.2, seconds=30)
    (found,) = corrections(kept.read().events)
    assert found == Correction("prompt better", "a better one", "part of better")


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("abc"), st.sampled_from(["python", None]))))
def test_every_suggestion_is_counted_once(events: list[tuple[module.Kind, str, str | None]]) -> None:
    made = [
        Event(
            identity,
            "2026-01-01T00:00:00+00:00",
            kind,
            "complete",
            "m",
            None,
            language,
            None,
            None,
            None,
            None,
            None,
            False,
        )
        for kind, identity, language in events
    ]
    found = groups(made)
    assert sum(group.shown for group in found) == len(stories(made)) == len({identity for _, identity, _ in events})
    assert all(0 <= group.acceptance <= 1 for group in found)
    assert all(group.accepted + group.partly + group.rejected <= group.shown for group in found)
