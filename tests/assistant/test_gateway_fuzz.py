"""Two thousand requests that no client would send: each is answered, none with a status that means a fault of ours."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.gateway.admission import Limits
from assistant.gateway.app import Gateway
from assistant.gateway.outcomes import Given, Journal
from assistant.gateway.routes import Endpoints
from assistant.prompts import FimTokens
from tests.assistant.gateway_fakes import FIM, KEY, MODEL, Caller, FakeServing, ScriptedEngine

EXPECTED = {200, 400, 401, 403, 404, 405, 413, 429, 504}
GIVEN = "cmpl-given"
"""An answer that feedback can be about."""
ENGINE = ScriptedEngine(lambda request: "one two three four", control=frozenset({"<|end|>"}))


def _app(tokens: FimTokens | None, journal: int = 10_000) -> Gateway:
    """By default it forgets none of the answers below."""
    endpoints = Endpoints(FakeServing(ENGINE, tokens), Limits(queue=8))  # type: ignore[arg-type]
    endpoints._journal = Journal(entries=journal)
    endpoints._journal.add(GIVEN, Given(MODEL, None, "complete", "python", "x", ("one two",)))
    return Gateway(endpoints.routes(), endpoints.status, KEY)


APPS = [_app(None), _app(FIM)]

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 2, 16, 17, 2**31, 2**63, 2**64, 10**40]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["fake", "tuned", "user", "assistant", "json_schema", "text", "a.py", FIM.middle, "\ud800", "\0"]),
    st.sampled_from(["<|end|>", "x<|end|><|end|>", "accepted", GIVEN]),
)
_json = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "schema", "filename", "body", "filepath", "$ref", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_VALID: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [{"messages": [{"role": "user", "content": "x"}], "logprobs": True, "top_logprobs": 2}],
    "/v1/completions": [
        {"prompt": "x", "suffix": "y", "n": 2, "logprobs": 3, "seed": 1, "stop": ["b"], "temperature": 0.5},
        {"language": "python", "segments": {"prefix": "x", "suffix": "y", "declarations": []}},
    ],
    "/v1/fim/completions": [{"prompt": "x", "suffix": "y", "stream": True, "max_tokens": 4}],
    "/v1/tokenize": [{"texts": ["x"], "parse_special": True}],
    "/apply-template": [{"messages": [{"role": "user", "content": "x<|end|>"}]}],
    "/infill": [
        {"input_prefix": "x", "input_suffix": "y", "input_extra": [{"text": "z", "filename": "a"}], "n_predict": 3}
    ],
    "/completion": [{"prompt": "x", "n_predict": 4, "samplers": ["top_k"], "response_fields": ["content"]}],
    "/v1/likelihoods": [{"texts": ["x", ""], "answers": [" ok", " wrong"]}],
    "/v1/feedback": [{"id": GIVEN, "kind": "edited", "choice": 0, "text": "x", "survival": 0.5, "seconds": 2}],
    "/v1/events": [{"type": "select", "completion_id": GIVEN, "choice_index": 0, "select_kind": "line", "elapsed": 9}],
}
_FURTHER = (
    *(
        "model",
        "stream",
        "stream_options",
        "response_format",
        "max_tokens",
        "max_completion_tokens",
        "deadline",
        "tools",
    ),
    *("top_p", "top_k", "min_p", "repeat_penalty", "frequency_penalty", "logit_bias", "best_of", "echo", "n_indent"),
    *("t_max_predict_ms", "parse_special", "id", "event", "type", "completion_id", "lora", "grammar", "kind"),
)


@st.composite
def _bodies(draw: Any, path: str) -> bytes:
    known = _VALID.get(path, [{}])
    body: Any = dict(draw(st.sampled_from(known)))
    for name in draw(st.lists(st.sampled_from([*body, *_FURTHER]), max_size=3)):
        body[name] = draw(_json)
    for name in draw(st.lists(st.sampled_from([*body, ""]), max_size=1)):
        body.pop(name, None)
    body = draw(st.sampled_from([body, body, body, body, draw(_json)]))
    data = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 3)) :]
    return data


@st.composite
def _calls(draw: Any) -> dict[str, Any]:
    routes = list(APPS[0].routes)
    path = draw(st.sampled_from([*_VALID, *_VALID, *routes, "/v1/nothing"]))
    data = draw(_bodies(path))
    cut = draw(st.integers(0, len(data)))
    return {
        "method": draw(st.sampled_from(["POST"] * 8 + ["GET", "PUT"])),
        "path": path,
        "query": draw(st.binary(max_size=6)) if draw(st.integers(0, 9)) == 0 else b"",
        "pieces": draw(st.sampled_from([[data], [data[:cut], data[cut:]]])),
        "leaves": draw(st.integers(0, 19)) == 0,
        "headers": draw(
            st.dictionaries(
                st.sampled_from(["content-length", "x-hone-deadline", "content-type", "host", "expect"]),
                st.sampled_from(["0", "5", "-1", "0.01", "nan", "localhost", "[::1]", "[", "text/xml", "9" * 30]),
                max_size=1,
            )
        ),
        "key": draw(st.integers(0, 29)) > 0,
    }


async def _call(app: Gateway, asked: dict[str, Any]) -> int | None:
    headers = asked["headers"] if asked["key"] else {**asked["headers"], "authorization": "Bearer x"}
    caller = Caller(app, asked["path"], asked["pieces"][0], headers)
    caller.scope |= {"method": asked["method"], "query_string": asked["query"]}
    caller.say(*asked["pieces"])
    if asked["leaves"]:
        caller.leave()
    await asyncio.wait_for(caller.run(), 60)
    for message in caller.sent[1:]:
        message["body"].decode("utf-8")
    return caller.status


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[asyncio.Runner]:
    """One for all requests, as in a gateway; feedback goes to a folder of its own."""
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.setenv("HONE_HOME", str(tmp_path_factory.mktemp("home")))
        yield runner


@settings(max_examples=1000)
@given(asked=_calls())
def test_every_request_is_answered_and_never_as_a_fault_of_ours(loop: asyncio.Runner, asked: dict[str, Any]) -> None:
    # To draw a request takes ten times as long as to answer it.
    for app in APPS:
        status = loop.run(_call(app, asked))
        assert status in EXPECTED or (status is None and asked["leaves"])
        assert ENGINE.running == 0
    ENGINE.requests.clear()


@pytest.mark.parametrize("path", _VALID)
def test_what_is_varied_is_a_request_that_is_answered(loop: asyncio.Runner, path: str) -> None:
    """That the requests above get beyond the first check."""
    for app in APPS:
        for body in _VALID[path]:
            caller = Caller(app, path, json.dumps(body).encode())
            loop.run(caller.run())
            assert caller.status == 200, caller.sent


@pytest.fixture(scope="module")
def drawn() -> list[dict[str, Any]]:
    """Requests like those above, always the same."""
    calls: list[dict[str, Any]] = []

    @settings(max_examples=250, derandomize=True)
    @given(asked=_calls())
    def draw(asked: dict[str, Any]) -> None:
        calls.append(asked)

    draw()
    return calls


def test_memory_does_not_grow_with_requests(loop: asyncio.Runner, drawn: list[dict[str, Any]]) -> None:
    app = _app(FIM, journal=16)

    def used_after_all() -> int:
        loop.run(ask_all())
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    async def ask_all() -> None:
        for asked in drawn * 2:
            await _call(app, asked)
            ENGINE.requests.clear()

    tracemalloc.start()
    try:
        used = [used_after_all() for _ in range(6)]
    finally:
        tracemalloc.stop()
    # Caches are filled in one round or the other; what is kept of each request grows in all of them, by fifty bytes
    # at least.
    assert min(later - earlier for earlier, later in pairwise(used[1:])) < 10 * 2 * len(drawn)
    assert len(drawn) >= 200
