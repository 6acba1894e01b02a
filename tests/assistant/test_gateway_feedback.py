"""`/v1/feedback` and Tabby's events: what is kept of an answer that was given."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant.feedback import Feedback
from assistant.feedback_consent import Consent, write
from assistant.gateway.outcomes import Given, Journal
from tests.assistant.gateway_fakes import ScriptedEngine, client, gateway

PROMPT = "def area(width, height):\n    return "


@pytest.fixture
async def http(hone_home: Path) -> AsyncIterator[httpx.AsyncClient]:
    write(Consent(elsewhere=True))
    async with client(gateway(ScriptedEngine(lambda request: "width\n* height"))) as http:
        yield http


async def answer(http: httpx.AsyncClient, **fields: Any) -> str:
    body = {"model": "tuned", "prompt": PROMPT, **fields}
    return str((await http.post("/v1/completions", json=body)).json()["id"])


async def test_an_accepted_completion_is_kept_with_what_made_it(http: httpx.AsyncClient) -> None:
    identifier = await answer(http)
    response = await http.post("/v1/feedback", json={"id": identifier, "kind": "accepted", "language": "python"})
    assert response.status_code == 200
    (event,) = Feedback().read().events
    assert (event.id, event.kind, event.source, event.language) == (identifier, "accepted", "complete", "python")
    assert (event.model, event.adapter) == ("tuned@111111111111", "tuned@111111111111")
    assert (event.prompt, event.completion) == (PROMPT, "width\n* height")


async def test_a_thumb_for_a_streamed_chat_is_kept(http: httpx.AsyncClient) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    response = await http.post("/v1/chat/completions", json=body)
    identifier = response.headers["x-hone-id"]
    assert (await http.post("/v1/feedback", json={"id": identifier, "kind": "down"})).status_code == 200
    (event,) = Feedback().read().events
    assert (event.kind, event.source, event.completion) == ("down", "chat", "width\n* height")


async def test_an_edit_brings_what_the_user_made_of_it(http: httpx.AsyncClient) -> None:
    identifier = await answer(http)
    for fields in ({"text": "width * height"}, {"survival": 0.5}):
        body = {"id": identifier, "kind": "edited", **fields}
        assert (await http.post("/v1/feedback", json=body)).status_code == 200
    first, second = Feedback().read().events
    assert (first.completion, second.completion, second.survival) == ("width * height", None, 0.5)


async def test_without_consent_an_event_has_no_texts(http: httpx.AsyncClient) -> None:
    write(Consent())
    identifier = await answer(http)
    assert (await http.post("/v1/feedback", json={"id": identifier, "kind": "accepted"})).status_code == 200
    (event,) = Feedback().read().events
    assert (event.prompt, event.completion, event.withheld) == (None, None, True)


async def test_a_secret_in_an_answer_is_not_kept(hone_home: Path) -> None:
    write(Consent(elsewhere=True))
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
    async with client(gateway(ScriptedEngine(lambda request: f'token = "{secret[:40]}"'))) as http:
        identifier = await answer(http)
        assert (await http.post("/v1/feedback", json={"id": identifier, "kind": "shown"})).status_code == 200
    assert secret[:40] not in (hone_home / "feedback.jsonl").read_text()


async def test_tabbys_events_are_feedback(http: httpx.AsyncClient) -> None:
    # A block, so that no line of the answer is trimmed.
    body = {"language": "python", "segments": {"prefix": "if x:\n", "suffix": "\n"}}
    identifier = (await http.post("/v1/completions", json=body)).json()["id"]
    event = {"completion_id": identifier, "choice_index": 0}
    for fields, query in (
        ({"type": "view"}, ""),
        ({"type": "select", "elapsed": 1500}, ""),
        ({"type": "select"}, "?select_kind=line"),
        ({"type": "dismiss"}, ""),
    ):
        assert (await http.post(f"/v1/events{query}", json={**event, **fields})).status_code == 200
    events = Feedback().read().events
    assert [event.kind for event in events] == ["shown", "accepted", "partly", "rejected"]
    assert [event.completion for event in events] == ["width\n* height", "width\n* height", "width", None]
    assert events[1].seconds == 1.5
    assert {event.language for event in events} == {"python"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/feedback", {"id": "cmpl-0", "kind": "accepted"}, "id"),
        ("/v1/feedback", {"kind": "accepted"}, "id"),
        ("/v1/feedback", {"id": "KNOWN", "kind": "loved"}, "kind"),
        ("/v1/feedback", {"id": "KNOWN", "kind": "accepted", "choice": 1}, "choice"),
        ("/v1/feedback", {"id": "KNOWN", "kind": "edited", "survival": 2}, "survival"),
        ("/v1/events", {"type": "view", "completion_id": "cmpl-0"}, "completion_id"),
        ("/v1/events", {"type": "view"}, "completion_id"),
        ("/v1/events", {"type": "shrug", "completion_id": "KNOWN"}, "type"),
    ],
)
async def test_wrong_feedback_is_refused_and_nothing_kept(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    known = await answer(http)
    response = await http.post(path, json={name: known if value == "KNOWN" else value for name, value in body.items()})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field
    assert Feedback().read().events == ()


def test_the_journal_forgets_the_oldest() -> None:
    journal = Journal(entries=3, characters=100)
    for number in range(5):
        journal.add(f"id-{number}", Given("m", None, "complete", None, "x" * 10, ("y",)))
    assert [number for number in range(5) if f"id-{number}" in journal._given] == [2, 3, 4]
    journal.add("large", Given("m", None, "complete", None, "x" * 90, ()))
    assert list(journal._given) == ["large"]
    journal.add("larger", Given("m", None, "complete", None, "x" * 900, ()))
    assert list(journal._given) == []
