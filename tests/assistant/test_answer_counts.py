"""What answers are like, counted without their texts."""

import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.answer_counts import AnswerCounts, Counted, Recorder, measured, refuses, repeats
from assistant.errors import HoneError
from assistant.gateway.admission import Limits
from assistant.gateway.app import Gateway
from assistant.gateway.routes import Endpoints
from tests.assistant.gateway_fakes import KEY, FakeServing, ScriptedEngine, client

TODAY = datetime.now(UTC).date()
LOOP = "the same four words " * 40


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I\u2019m sorry, I cannot.", True),
        ("  As an AI language model, I", True),
        ("I cannot do that.", True),
        ("I can't see your file; use @file", True),
        ("Sorry, no.", True),
        ("I can do that.", False),
        ("def sorry(): pass", False),
        ("As an aid to readers, the table", False),
        ("", False),
    ],
)
def test_refusals_are_told_by_their_opening(text: str, refused: bool) -> None:
    assert refuses(text) == refused


def test_repetition_is_more_than_a_phrase_said_twice() -> None:
    assert repeats(LOOP)
    assert repeats("x = 1\n" * 30)
    assert not repeats("the same four words " * 2)
    assert not repeats(" ".join(f"word{number}" for number in range(500)))
    assert not repeats("")


@given(st.text())
def test_any_text_can_be_looked_at(text: str) -> None:
    assert refuses(text) in (True, False)
    assert repeats(text + text) in (True, False)


def test_counts_add_up_by_model_and_day(tmp_path: Path) -> None:
    counts = AnswerCounts(tmp_path / "answers.sqlite")
    assert counts.read("a@1", TODAY, TODAY) == Counted()
    for seconds in (0.1, 1.0, 10.0):
        counts.add(measured("a@1", "chat", ["I cannot.", LOOP], seconds, 64, cut=1))
    counts.add(measured("a@1", "complete", ["I cannot."], 1.0, None, cut=0))
    counts.add(measured("b@1", "chat", ["I cannot."], 1.0, 8, cut=0))
    found = counts.read("a@1", TODAY - timedelta(days=6), TODAY)
    # A completion may begin with any words.
    assert (found.answers, found.refused, found.repeating, found.cut) == (7, 3, 3, 3)
    assert found.seconds == pytest.approx(1.0, rel=0.2)
    assert found.tokens == pytest.approx(32, rel=0.2)
    assert counts.read("a@1", TODAY - timedelta(days=6), TODAY - timedelta(days=1)) == Counted()
    with sqlite3.connect(counts.file) as connection:
        rows = connection.execute("SELECT * FROM counts").fetchall()
    assert {type(cell) for row in rows for cell in row[4:]} == {int}
    assert not any("cannot" in str(row) for row in rows)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    file.write_text("not a database at all, " * 20)
    with pytest.raises(HoneError, match="cannot read"):
        AnswerCounts(file).read("a", TODAY, TODAY)
    with pytest.raises(HoneError, match="cannot count"):
        AnswerCounts(file).add(Counter({("d", "m", "s", "answers", 0): 1}))


async def test_the_gateway_counts_what_it_answers_and_answers_all_the_same_when_it_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = AnswerCounts(tmp_path / "answers.sqlite")
    serving = FakeServing(ScriptedEngine(lambda request: "I cannot do that at all"))
    endpoints = Endpoints(serving, Limits(), Recorder(counts))  # type: ignore[arg-type]
    async with client(Gateway(endpoints.routes(), endpoints.status, KEY)) as http:
        chat = {"messages": [{"role": "user", "content": "please"}]}
        assert (await http.post("/v1/chat/completions", json=chat)).status_code == 200
        body = {"model": "tuned", "prompt": "x", "max_tokens": 2, "n": 3, "stream": True}
        assert (await http.post("/v1/completions", json=body)).status_code == 200
        while (await settled(counts, "tuned@111111111111")).answers < 3:
            pass
        (asked, tuned) = (counts.read(name, TODAY, TODAY) for name in ("fake", "tuned@111111111111"))
        assert (asked.answers, asked.refused) == (1, 1)
        assert (tuned.answers, tuned.refused, tuned.cut) == (3, 0, 3)
        assert tuned.tokens == pytest.approx(2, rel=0.2)
        counts.file.write_text("not a database at all, " * 20)
        for leftover in tmp_path.glob("answers.sqlite-*"):
            leftover.unlink()
        assert (await http.post("/v1/chat/completions", json=chat)).status_code == 200
        said = ""
        while "cannot count answers" not in said:
            await settled(counts, "")
            said += capsys.readouterr().err


async def settled(counts: AnswerCounts, model: str) -> Counted:
    import asyncio

    await asyncio.sleep(0.02)
    return counts.read(model, TODAY, TODAY) if model else Counted()
