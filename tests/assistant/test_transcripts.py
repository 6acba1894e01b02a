"""Search over conversations, their names, copies of a beginning, and exports."""

import json
from pathlib import Path

import pytest

from assistant import sessions, transcripts
from assistant.conversations import Conversation, Message
from assistant.skills.material import Material


@pytest.fixture
def kept(hone_home: Path) -> sessions.Session:
    session = sessions.new(Path("/srv/shop"))
    session.user("How do I <sort>?", "Asked", [Material("file", "a.py", "x = 1\n", "a.py", 1, "line 2 left out")])
    session.answer("Use `sorted`.\n\n```python\nsorted(xs)\n```\n", "stop", "smollm2-135m")
    session.user("And backwards?")
    session.answer("reverse=", "cancelled", "smollm2-135m")
    return session


def reloaded(session: sessions.Session) -> Conversation:
    return sessions.load(session.id)


def test_what_was_shown_and_asked_is_kept(kept: sessions.Session):
    assert reloaded(kept).messages == kept.conversation.messages
    first = reloaded(kept).messages[0]
    assert first.content == "Asked\n\na.py:\n```python\nx = 1\n```\n(line 2 left out)"


def test_a_name_is_one_line_and_can_be_taken_away(kept: sessions.Session):
    assert reloaded(kept).title == "How do I <sort>?"
    kept.rename("  sorting\nlists ")
    assert reloaded(kept).title == kept.conversation.title == "sorting lists"
    kept.rename("")
    assert reloaded(kept).title == "How do I <sort>?"


def test_a_fork_has_the_beginning_and_the_original_stays(kept: sessions.Session):
    forked = sessions.fork(kept.conversation, 2)
    assert reloaded(forked).messages == kept.conversation.messages[:2]
    assert forked.conversation.messages == kept.conversation.messages[:2]
    forked.user("other question")
    assert len(reloaded(forked).messages) == 3
    assert len(reloaded(kept).messages) == 4
    assert reloaded(forked).folder == "/srv/shop"


def test_a_fork_of_nothing_is_a_conversation(kept: sessions.Session):
    forked = sessions.fork(kept.conversation, 0)
    forked.user("first")
    assert [one.text for one in reloaded(forked).messages] == ["first"]


def test_search_finds_words_in_what_was_said(kept: sessions.Session):
    other = sessions.new()
    other.user("Explain git rebase")
    found = sessions.listing()
    assert [hit.conversation.id for hit in transcripts.search("SORTED xs", found)] == [kept.id]
    [hit] = transcripts.search("rebase", found)
    assert (hit.conversation.id, hit.excerpt) == (other.id, "Explain git rebase")
    assert len(transcripts.search("", found)) == 2
    assert transcripts.search("sorted rebase", found) == []


def test_markdown_has_the_answers_as_written(kept: sessions.Session):
    text = transcripts.markdown(kept.conversation)
    assert "## Answer (smollm2-135m)\n\nUse `sorted`.\n\n```python\nsorted(xs)\n```\n" in text
    assert "<details><summary>a.py (line 2 left out)</summary>\n\n```\nx = 1\n```" in text
    assert "## Answer (smollm2-135m, cancelled)\n\nreverse=" in text


def test_json_has_everything(kept: sessions.Session):
    report = json.loads(transcripts.as_json(kept.conversation))
    assert report["schema_version"] == 1
    assert [one["role"] for one in report["messages"]] == ["user", "assistant"] * 2
    assert report["messages"][0]["materials"][0]["text"] == "x = 1\n"
    assert report["messages"][3]["finish"] == "cancelled"


def test_file_names_hold_nothing_that_a_shell_or_system_minds(kept: sessions.Session):
    kept.rename("../etc/passwd && rm -rf ~ ☃ " * 5)
    name = transcripts.file_name(kept.conversation, "md")
    assert name.startswith(f"hone-{kept.id}-etc-passwd-rm-rf")
    assert "/" not in name
    assert len(name) < 80


def test_what_was_said_is_put_into_lower_case_once_for_all_searches():
    class Text(str):
        lowered = 0

        def lower(self) -> str:
            Text.lowered += 1
            return super().lower()

    conversation = Conversation("1qgt0000", (Message("user", Text("All about Cherries")),))
    for query in ("c", "ch", "CHE"):
        assert transcripts.search(query, [conversation])[0].excerpt == "All about Cherries"
    assert Text.lowered == 1
