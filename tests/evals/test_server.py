"""The client of foreign servers, against a server on a real socket."""

import threading
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.engines.remote import base_url
from assistant.errors import EngineError, HoneError, UnknownModel, UsageError
from evals.server import Server, TransientError
from evals.subjects import Connected, StoppedError, connector, first_stop, remote, respond
from evals.tasks.base import Answer, Ask, Message
from tests.evals.fake_openai import FakeServer, serve

PROMPT = Ask("def f():\n", (), (), 16)
CHAT = Ask(None, (Message("user", "hello"),), (), 16)


def ask(server: FakeServer, wanted: Ask = PROMPT, key: str | None = None) -> Answer:
    with closing(Server(server.url, key, "small")) as client:
        stopped = threading.Event()
        return respond(Connected(client, "small", None), wanted, temperature=0.5, seed=7, stopped=stopped)


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://api.example.org/openai/v1", "https://api.example.org/openai/v1"),
        ("http://[::1]:80", "http://[::1]:80/v1"),
    ],
)
def test_an_address_without_a_path_gets_the_usual_one(given_: str, wanted: str) -> None:
    assert base_url(given_) == wanted


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x", "http://", "http://me:secret@host", "http://host/v1?key=1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(HoneError):
        base_url(url)


@pytest.mark.parametrize("wanted", [PROMPT, CHAT], ids=["completion", "chat"])
@pytest.mark.parametrize("chunk", [0, 1, 7])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_an_answer_is_whole_however_it_comes(wanted: Ask, chunk: int, newline: str) -> None:
    text = "naïve \u2028 日本語\n\tend"
    with serve(answer=lambda body: text, chunk=chunk, newline=newline) as server:
        answer = ask(server, wanted)
    assert answer.text == text
    assert answer.finish_reason == "stop"
    assert answer.completion_tokens == len(text.split(" "))
    assert answer.seconds >= (answer.first_token_seconds or 0) > 0


@pytest.mark.parametrize("wanted", [PROMPT, CHAT], ids=["completion", "chat"])
def test_a_server_that_does_not_stream_or_count_is_read_too(wanted: Ask) -> None:
    with serve(streams=False, usage=False, answer=lambda body: "word") as server:
        answer = ask(server, wanted)
    assert (answer.text, answer.finish_reason, answer.completion_tokens) == ("word", "stop", None)


def test_what_is_asked_reaches_the_server() -> None:
    with serve() as server:
        ask(server, Ask("x", (), ("a", "b", "c", "d"), 9), key="secret")
        (request,) = server.requests
    assert request.authorization == "Bearer secret"
    wanted = {"prompt": "x", "model": "small", "max_tokens": 9, "temperature": 0.5, "seed": 7, "top_p": 0.95}
    assert request.body.items() >= wanted.items()
    assert request.body["stop"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("field", ["stream_options", "seed", "top_p", "parse_special"])
def test_a_field_that_a_server_does_not_know_is_left_out(field: str) -> None:
    with serve(refuses=(field,)) as server, closing(Server(server.url, None, "small")) as client:
        for _ in range(2):
            deltas = list(client.complete("x", max_tokens=4, temperature=0.5, seed=1))
            assert deltas[-1].finish_reason == "stop"
        assert client.refused == {field}
        # Found out once.
        assert len(server.requests) == 3


def test_a_chat_that_wants_the_limit_under_its_newer_name_gets_it() -> None:
    with serve(refuses=("max_tokens",), answer=lambda body: " ".join(["w"] * 40)) as server:
        answer = ask(server, CHAT)
    assert answer.finish_reason == "length"
    assert answer.completion_tokens == 16


def test_a_server_says_what_it_serves_and_whether_it_completes() -> None:
    with serve(models=({"id": "a"}, {"id": "b"})) as server:
        subjects = remote(server.url, None, ["b", "a"])
        assert [subject.name for subject in subjects] == ["b", "a"]
        assert len({subject.digest for subject in subjects}) == 2
        assert all(subject.asks == {"prompt", "messages"} for subject in subjects)
        with pytest.raises(UsageError, match=r"serves 2 models \(a, b\); choose by --model"):
            remote(server.url, None, [])
        with pytest.raises(UnknownModel, match="has no model 'c'; it lists a, b"):
            remote(server.url, None, ["c"])
    with serve(chat_only=True) as server:
        (subject,) = remote(server.url, None, [])
        assert subject.asks == {"messages"}


def test_a_server_that_loads_its_model_is_waited_for() -> None:
    with serve(loading=1) as server:
        assert remote(server.url, None, [])[0].asks == {"prompt", "messages"}
        assert len(server.requests) == 2


def test_a_wrong_key_is_told() -> None:
    with serve(key="secret") as server:
        with pytest.raises(HoneError, match="give the server's key by --key"):
            remote(server.url, "other", [])
        assert remote(server.url, "secret", [])[0].name == "small"
        with connector(1)(remote(server.url, "secret", [])[0]) as connected:
            stopped = threading.Event()
            assert respond(connected, PROMPT, temperature=0, seed=0, stopped=stopped).finish_reason == "stop"


def test_a_key_is_in_no_report() -> None:
    with serve(key="secret") as server:
        (subject,) = remote(server.url, "secret", [])
    assert "secret" not in repr(subject)
    assert "secret" not in str(subject.facts)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_failures_that_may_pass_are_told_from_refusals(status: int) -> None:
    with serve(fail=lambda body, number: (status, {"Retry-After": "3"})) as server:
        with pytest.raises(TransientError, match=f"answered {status}: overloaded") as caught:
            ask(server)
        assert caught.value.wait == 3.0


@pytest.mark.parametrize("status", [400, 403, 413, 422, 501])
def test_refusals_are_final(status: int) -> None:
    with serve(fail=lambda body, number: (status, {})) as server, pytest.raises(HoneError) as caught:
        ask(server)
    assert not isinstance(caught.value, EngineError)


def test_an_answer_that_breaks_off_is_no_answer() -> None:
    with serve(fail=lambda body, number: (0, {})) as server, pytest.raises(TransientError, match="in the middle"):
        ask(server)
    with serve(ends=False) as server, pytest.raises(TransientError, match="ended an answer in the middle"):
        ask(server)


def test_a_server_that_is_not_there_is_one_line() -> None:
    with serve() as server:
        url = server.url
    with pytest.raises(TransientError, match=r"the connection to .* broke") as caught:
        remote(url, None, [])
    assert "\n" not in str(caught.value)


def test_a_run_that_ends_leaves_an_answer_alone() -> None:
    stopped = threading.Event()
    stopped.set()
    with serve() as server, closing(Server(server.url, None, "small")) as client, pytest.raises(StoppedError):
        respond(Connected(client, "small", None), PROMPT, temperature=0, seed=0, stopped=stopped)


@given(st.text("ab#\n", max_size=30), st.lists(st.text("a#\n", min_size=1, max_size=3), max_size=3), st.data())
def test_a_stop_string_is_found_wherever_the_pieces_are_cut(text: str, stops: list[str], data: Any) -> None:
    ends = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    wanted = min(ends)[1] if ends else None
    before, found = "", None
    while before != text and found is None:
        size = data.draw(st.integers(1, len(text) - len(before)))
        piece = text[len(before) : len(before) + size]
        found = first_stop(before, piece, stops)
        before += piece
    assert found == wanted
