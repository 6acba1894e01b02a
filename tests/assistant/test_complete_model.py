"""Suggestions by the embedded model through a real gateway."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from assistant.client import Cancellation, Client, Delta, connect
from assistant.skills.ghost import Ghost
from tests.conftest import ROOT

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def client(session_home: Path) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(session_home))
        with connect(model="smollm2-135m") as client:
            yield client


def running(client: Client, wanted: int) -> bool:
    """Whether the gateway comes to that many requests within a minute."""
    end = time.monotonic() + 60
    while client.health()["requests"] != wanted:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_a_cancelled_request_frees_its_slot_also_before_its_first_token(client: Client) -> None:
    prompt = "".join(f"value_{number} = compute({number})\n" for number in range(280))
    cancel = Cancellation()
    reasons: list[str | None] = []

    def ask() -> None:
        reasons.extend(delta.finish_reason for delta in client.complete(prompt, max_tokens=900, cancel=cancel))

    asking = threading.Thread(target=ask)
    asking.start()
    assert running(client, 1)
    cancel.cancel()
    asking.join(60)
    assert not asking.is_alive()
    # Had it run to its end, the last piece would say why it ended.
    assert all(reason is None for reason in reasons)
    assert running(client, 0)


def test_a_request_cancelled_before_it_is_sent_ends_at_once(client: Client) -> None:
    cancel = Cancellation()
    cancel.cancel()
    assert [delta.finish_reason for delta in client.complete("x = ", max_tokens=900, cancel=cancel)] in ([], [None])
    assert running(client, 0)


class Recorder:
    """Asks for two tokens, reads all of the answer and notes how much of the prompt was computed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.counts: list[tuple[int, int]] = []

    def models(self) -> list[dict[str, Any]]:
        return self._client.models()

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]:
        return self._client.tokenize(texts, model)

    def complete(self, prompt: str, **options: Any) -> Iterator[Delta]:
        answer = list(self._client.complete(prompt, **{**options, "max_tokens": 2}))
        details = answer[-1].details
        assert details is not None
        self.counts.append((details["prompt_tokens"] - details["cached_tokens"], details["prompt_tokens"]))
        yield from answer


def test_typing_along_a_file_evaluates_few_tokens_a_key(client: Client) -> None:
    text = (ROOT / "assistant" / "skills" / "complete.py").read_text("utf-8")
    start = text.index("def generate(")
    recorder = Recorder(client)
    ghost = Ghost(recorder)
    for end in range(start, start + 12):
        ghost.suggest("complete.py", text[:end] + "\n", end)
    ghost.close()
    (cold, whole), *typed = recorder.counts
    assert 300 < whole <= 1024
    assert cold > whole / 2
    assert len(typed) >= 3
    assert max(evaluated / tokens for evaluated, tokens in typed) <= 0.05
