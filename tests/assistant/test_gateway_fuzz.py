"""Thousands of requests that no client would send: each is answered, none with a status that means a fault of ours."""

import asyncio
import gc
import json
import tracemalloc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.gateway.admission import Limits
from assistant.gateway.app import Gateway
from assistant.gateway.outcomes import Journal
from assistant.gateway.routes import Endpoints
from tests.assistant.gateway_fakes import FIM, KEY, Caller, FakeServing, ScriptedEngine, gateway

EXPECTED = {200, 400, 401, 403, 404, 405, 413, 429, 504}
ENGINE = ScriptedEngine(lambda request: "one two three four")
APPS = [gateway(ENGINE, tokens, Limits(queue=8)) for tokens in (None, FIM)]

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 2, 16, 17, 2**31, 2**63, 2**64, 10**40]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["fake", "tuned", "user", "assistant", "json_schema", "text", "a.py", FIM.middle, "\ud800", "\0"]),
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
    "/infill": [
        {"input_prefix": "x", "input_suffix": "y", "input_extra": [{"text": "z", "filename": "a"}], "n_predict": 3}
    ],
    "/completion": [{"prompt": "x", "n_predict": 4, "samplers": ["top_k"], "response_fields": ["content"]}],
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
    *("t_max_predict_ms", "parse_special", "id", "event", "type", "completion_id", "lora", "grammar"),
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
        "app": draw(st.sampled_from(APPS)),
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


async def _call(asked: dict[str, Any]) -> int | None:
    headers = asked["headers"] if asked["key"] else {**asked["headers"], "authorization": "Bearer x"}
    caller = Caller(asked["app"], asked["path"], asked["pieces"][0], headers)
    caller.scope |= {"method": asked["method"], "query_string": asked["query"]}
    caller.say(*asked["pieces"])
    if asked["leaves"]:
        caller.leave()
    await asyncio.wait_for(caller.run(), 10)
    for message in caller.sent[1:]:
        message["body"].decode("utf-8")
    return caller.status


@settings(max_examples=2000)
@given(_calls())
def test_every_request_is_answered_and_never_as_a_fault_of_ours(asked: dict[str, Any]) -> None:
    status = asyncio.run(_call(asked))
    assert status in EXPECTED or (status is None and asked["leaves"])
    assert ENGINE.running == 0
    ENGINE.requests.clear()


def test_memory_does_not_grow_with_requests() -> None:
    bodies = [
        *(
            {"prompt": "x" * size, "suffix": "y", "n": 2, "logprobs": 2, "stream": stream}
            for size in (1, 500)
            for stream in (True, False)
        ),
        *({"prompt": "x", "model": model} for model in ("none", "tuned")),
        {"prompt": "x", "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
        {"prompt": "x", "temperature": 99},
        {"segments": {"prefix": "x", "suffix": "y"}},
    ]
    data = [json.dumps(body).encode() for body in bodies]

    endpoints = Endpoints(FakeServing(ENGINE, FIM), Limits())  # type: ignore[arg-type]
    endpoints._journal = Journal(entries=16)
    app = Gateway(endpoints.routes(), endpoints.status, KEY)

    async def many(count: int) -> None:
        for number in range(count):
            caller = Caller(app, "/v1/completions", data[number % len(data)])
            await caller.run()
            ENGINE.requests.clear()

    tracemalloc.start()
    try:
        # Until the journal of answers is full.
        asyncio.run(many(100))
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        asyncio.run(many(400))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # A hundred bytes a request would be 40,000.
    assert grown < 20_000
