"""Conversations on disk."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant import sessions
from assistant.errors import HoneError


@pytest.fixture(autouse=True)
def _home(hone_home: Path) -> None:
    """Every test here has its own state folder."""


def test_what_was_said_is_there_after_reopening():
    session = sessions.new(Path("/project"))
    session.user("What is [b]this[/b]?\nsecond line")
    session.partial("It is ")
    session.partial("a tag.")
    session.answer("It is a tag.", "stop", "smollm2-135m", {"tokens_per_second": 9.5})
    session.close()
    kept = sessions.load(session.id)
    assert [(m.role, m.text, m.finish, m.model) for m in kept.messages] == [
        ("user", "What is [b]this[/b]?\nsecond line", None, None),
        ("assistant", "It is a tag.", "stop", "smollm2-135m"),
    ]
    assert kept.folder == "/project"
    assert kept.title == "What is [b]this[/b]?"


def test_a_session_in_which_nothing_was_said_leaves_no_file(hone_home: Path):
    sessions.new().close()
    assert list((hone_home / "sessions").iterdir()) == []


def test_an_answer_cut_by_the_death_of_its_process_is_kept_and_marked():
    session = sessions.new()
    session.user("question")
    session.partial("half an ")
    session.partial("answer")
    session.close()
    with session.path.open("ab") as file:
        file.write(b'{"type": "partial", "te')
    last = sessions.load(session.id).messages[-1]
    assert (last.role, last.text, last.finish) == ("assistant", "half an answer", "interrupted")


def test_writing_goes_on_after_a_torn_last_line():
    session = sessions.new()
    session.user("one")
    session.close()
    with session.path.open("ab") as file:
        file.write(b'{"type": "answer", "text": "lost')
    again = sessions.open_session(session.id)
    again.user("two")
    again.close()
    assert [m.text for m in sessions.load(session.id).messages] == ["one", "two"]


def test_drafts_and_queued_prompts_come_back_as_the_draft():
    session = sessions.new()
    session.user("running")
    session.queued("first in the queue")
    session.queued("second in the queue")
    session.draft("half typ")
    session.user("first in the queue")
    session.close()
    kept = sessions.load(session.id)
    assert [m.text for m in kept.messages] == ["running", "first in the queue"]
    assert kept.draft == "second in the queue\n\nhalf typ"


def test_a_prompt_taken_back_and_a_draft_that_was_sent_are_gone():
    session = sessions.new()
    session.queued("never asked")
    session.taken_back("never asked")
    session.draft("typed")
    session.user("typed")
    session.close()
    assert sessions.load(session.id).draft == ""


def test_the_file_is_only_ever_appended_to():
    session = sessions.new()
    session.user("one")
    before = session.path.read_bytes()
    session.answer("two", "stop")
    session.draft("three")
    session.close()
    reopened = sessions.open_session(session.id)
    reopened.user("four")
    reopened.close()
    assert session.path.read_bytes().startswith(before)


def test_ids_sort_by_time():
    made = []
    for _ in range(4):
        session = sessions.new()
        session.user("x")
        session.close()
        made.append(session.id)
        time.sleep(0.003)
    assert made == sorted(made)
    assert len(set(made)) == 4
    assert all(len(identifier) == 8 for identifier in made)
    assert [one.id for one in sessions.listing()] == made[::-1]
    assert [one.id for one in sessions.listing(limit=2)] == made[:1:-1]


def test_a_session_is_found_by_its_beginning_and_by_last():
    session = sessions.new()
    session.user("x")
    session.close()
    assert sessions.load(session.id[:6]).id == session.id
    assert sessions.load("last").id == session.id


def test_an_unknown_session_is_one_clear_line():
    with pytest.raises(HoneError, match=r"no session 'zzz'; `hone chat --sessions` lists them"):
        sessions.open_session("zzz")
    with pytest.raises(HoneError, match="there is no session yet"):
        sessions.open_session("last")
    session = sessions.new()
    session.user("x")
    session.close()
    near = session.id[:-1] + ("0" if session.id[-1] != "0" else "1")
    with pytest.raises(HoneError, match=f"did you mean {session.id}"):
        sessions.open_session(near)


def test_an_ambiguous_beginning_asks_for_more(hone_home: Path):
    folder = hone_home / "sessions"
    folder.mkdir(exist_ok=True)
    for name in ("abc00001", "abc00002"):
        (folder / f"{name}.jsonl").write_text('{"type": "user", "text": "x"}\n')
    with pytest.raises(HoneError, match=r"'abc' fits 2 sessions \(abc00001, abc00002\)"):
        sessions.load("abc")


def test_one_session_cannot_be_open_twice():
    session = sessions.new()
    session.user("x")
    with pytest.raises(HoneError, match="is open in another window"):
        sessions.open_session(session.id)
    session.close()
    sessions.open_session(session.id).close()


def test_a_session_of_a_newer_hone_is_refused(hone_home: Path):
    (hone_home / "sessions").mkdir(exist_ok=True)
    (hone_home / "sessions" / "abc00001.jsonl").write_text('{"type": "session", "schema_version": 99}\n')
    with pytest.raises(HoneError, match="newer Hone"):
        sessions.load("abc00001")
    assert sessions.listing() == []


def test_a_disk_that_refuses_is_one_clear_line(hone_home: Path):
    session = sessions.new()
    (hone_home / "sessions").rmdir()
    with pytest.raises(HoneError, match="cannot save the conversation"):
        session.user("x")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(st.characters(), min_size=1), min_size=1, max_size=4))
def test_any_text_comes_back_as_it_was(texts: list[str]):
    session = sessions.new()
    for text in texts:
        session.user(text)
    session.close()
    assert [m.text for m in sessions.load(session.id).messages] == texts
    assert all(json.loads(line) for line in session.path.read_text("ascii").splitlines())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_file_cut_anywhere_still_reads(data: st.DataObject):
    session = sessions.new()
    session.user("question")
    session.partial("ab")
    session.partial("cd")
    session.answer("abcd", "stop")
    session.close()
    content = session.path.read_bytes()
    session.path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    kept = sessions.load(session.id)
    assert "".join(m.text for m in kept.messages if m.role == "assistant") in ("", "ab", "abcd")
    session.path.unlink()


def test_queued_prompts_that_came_back_come_back_once():
    session = sessions.new()
    session.queued("A")
    session.queued("B")
    session.close()
    first = sessions.open_session(session.id)
    assert first.conversation.draft == "A\n\nB"
    first.draft("A\n\nB more")
    first.close()
    second = sessions.open_session(session.id)
    assert second.conversation.draft == "A\n\nB more"
    second.user("A\n\nB more")
    second.close()
    assert sessions.load(session.id).draft == ""


def test_opening_a_conversation_that_was_left_does_not_make_it_one_that_broke_off():
    session = sessions.new()
    session.user("question")
    session.answer("answer", "stop")
    session.queued("A")
    session.leave()
    session.close()
    sessions.open_session(session.id).close()
    assert sessions.load(session.id).draft == "A"
    assert not sessions.load(session.id).broke_off


def test_what_was_typed_ahead_of_a_question_that_waited_stays():
    session = sessions.new()
    session.queued("question")
    session.draft("typed ahead")
    asked = session.user("question")
    assert session.conversation.messages == (asked,)
    assert session.conversation.draft == "typed ahead"
    session.close()
    assert sessions.load(session.id).draft == "typed ahead"
