"""Conversations whose process ended before the user went away: the next start goes on with them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from assistant import sessions
from assistant.sessions import Session

SHOP = Path("/project/shop")


@pytest.fixture(autouse=True)
def _home(hone_home: Path) -> None:
    """Every test here has its own state folder."""


def partial(session: Session) -> None:
    session.user("question")
    session.partial("half an ")


def queued(session: Session) -> None:
    session.user("question")
    session.answer("answer", "stop")
    session.queued("the next one")


BROKEN: dict[str, Callable[[Session], None]] = {
    "in the middle of an answer": partial,
    "before the first piece": lambda session: session.user("question"),
    "with a draft": lambda session: session.draft("half typ"),
    "with a queue": queued,
    "while a job was followed": lambda session: session.follows("1qgt0001"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_broke_off_is_opened_until_the_user_has_left_it(how: str):
    session = sessions.new(SHOP)
    BROKEN[how](session)
    assert sessions.left_behind(SHOP) is None, "it is open"
    session.close()
    assert sessions.left_behind(Path("/project/other")) is None
    again = sessions.left_behind(SHOP)
    assert again is not None
    assert again.conversation == sessions.load(session.id)
    assert again.conversation.broke_off
    again.leave()
    again.close()
    assert sessions.left_behind(SHOP) is None
    named = sessions.open_session(session.id)
    named.rename("a name")
    named.close()
    assert sessions.left_behind(SHOP) is None
    later = sessions.open_session(session.id)
    later.draft("more")
    later.close()
    found = sessions.left_behind(SHOP)
    assert found is not None
    assert found.id == session.id
    found.close()


def test_what_is_finished_is_left_alone_and_of_two_the_newer_one_comes_first():
    for kind in ("stop", "cancelled", "error"):
        done = sessions.new(SHOP)
        done.user("question")
        done.answer("answer", kind)
        done.close()
    assert sessions.left_behind(SHOP) is None
    for draft in ("one", "two"):
        session = sessions.new(SHOP)
        session.draft(draft)
        session.close()
    found = [sessions.left_behind(SHOP), sessions.left_behind(SHOP), sessions.left_behind(SHOP)]
    assert [one and one.conversation.draft for one in found] == ["two", "one", None]
    for one in found[:2]:
        assert one is not None
        one.close()


def test_files_that_are_no_conversations_are_passed_over(hone_home: Path):
    session = sessions.new(SHOP)
    session.draft("half typ")
    session.close()
    folder = hone_home / "sessions"
    (folder / "zzzz0001.jsonl").write_bytes(b"\xff\xfe not json")
    (folder / "zzzz0002.jsonl").write_text('{"type": "session", "schema_version": 99}\n')
    (folder / "zzzz0003.jsonl").mkdir()
    found = sessions.left_behind(SHOP)
    assert found is not None
    assert found.id == session.id
    found.close()
