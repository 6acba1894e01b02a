"""Requests checked, answers and errors written, without a model."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.engines.base import Chunk, InvalidRequestError, Usage
from assistant.errors import EngineError, HoneError, UnknownModel
from assistant.gateway import native, openai, tabby
from assistant.gateway.answers import Answer
from assistant.gateway.failures import BusyError, DeadlineError, error_body, error_headers
from assistant.gateway.fields import BadFieldError
from assistant.gateway.results import Result

HELLO = [{"role": "user", "content": "hello"}]
USAGE = Usage(prompt_tokens=7, cached_tokens=6, completion_tokens=5, prompt_seconds=0.1, completion_seconds=0.2)
DETAILS = {"base": "base", "adapter": None, "context_length": 4096}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": HELLO, "model": 3}, "model"),
        ({"messages": HELLO, "max_tokens": 0}, "max_tokens"),
        ({"messages": HELLO, "max_tokens": True}, "max_tokens"),
        ({"messages": HELLO, "max_completion_tokens": -1}, "max_completion_tokens"),
        ({"messages": HELLO, "temperature": 2.5}, "temperature"),
        ({"messages": HELLO, "temperature": float("nan")}, "temperature"),
        ({"messages": HELLO, "top_p": "high"}, "top_p"),
        ({"messages": HELLO, "seed": 1.5}, "seed"),
        ({"messages": HELLO, "stop": [""]}, "stop"),
        ({"messages": HELLO, "stop": ["x"] * 17}, "stop"),
        ({"messages": HELLO, "stream": "yes"}, "stream"),
        ({"messages": HELLO, "stream_options": True}, "stream_options"),
        ({"messages": HELLO, "n": 17}, "n"),
        ({"messages": HELLO, "n": 0}, "n"),
        ({"messages": HELLO, "n": 2, "best_of": 5}, "best_of"),
        ({"messages": HELLO, "logprobs": 3}, "logprobs"),
        ({"messages": HELLO, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"messages": HELLO, "top_logprobs": 2}, "top_logprobs"),
        ({"messages": HELLO, "frequency_penalty": 3}, "frequency_penalty"),
        ({"messages": HELLO, "tools": [{"type": "function"}]}, "tools"),
        ({"messages": HELLO, "response_format": {"type": "xml"}}, "response_format"),
        ({"messages": HELLO, "logit_bias": {"1": 2}}, "logit_bias"),
    ],
)
def test_a_wrong_field_of_a_chat_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(BadFieldError) as caught:
        openai.parse_chat(body)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, -1]}, "prompt"),
        ({"prompt": [1, True]}, "prompt"),
        ({"prompt": [1], "suffix": "x"}, "suffix"),
        ({"prompt": "x", "suffix": 1}, "suffix"),
        ({"prompt": "x", "echo": True}, "echo"),
        ({"prompt": "x", "parse_special": 1}, "parse_special"),
    ],
)
def test_a_wrong_field_of_a_completion_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(BadFieldError) as caught:
        openai.parse_completion(body)
    assert caught.value.field == field


def test_what_clients_send_is_understood() -> None:
    chat = openai.parse_chat(
        {
            "model": "champion",
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]},
                {"role": "assistant", "content": None, "tool_calls": None},
            ],
            "max_tokens": None,
            "max_completion_tokens": 12,
            "stop": "END",
            "stream": True,
            "stream_options": {"include_usage": True},
            "frequency_penalty": 0,
            "n": 1,
            "unknown": {"anything": 1},
        }
    )
    assert [message["role"] for message in chat.messages] == ["system", "user", "assistant"]
    assert chat.messages[1]["content"] == "hello"
    assert (chat.sampling.max_tokens, chat.sampling.stop, chat.sampling.include_usage) == (12, ("END",), True)
    assert openai.parse_completion({"prompt": ["one"]}).prompt == "one"
    assert openai.parse_completion({"prompt": [[1, 2]]}).prompt == (1, 2)
    assert openai.parse_completion({"prompt": "x", "suffix": ""}).suffix is None
    assert openai.parse_completion({"prompt": "", "suffix": "x"}).prompt == ""
    assert openai.parse_completion({"prompt": "x", "max_tokens": 0}).sampling.max_tokens == 0
    assert openai.parse_completion({"prompt": "x", "logprobs": 0}).sampling.logprobs == 0
    assert openai.parse_chat({"messages": HELLO, "logprobs": True}).sampling.logprobs == 0
    assert openai.parse_chat({"messages": HELLO, "logprobs": True, "top_logprobs": 4}).sampling.logprobs == 4
    assert openai.parse_chat({"messages": HELLO, "logprobs": False}).sampling.logprobs is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_fields = st.sampled_from(
    [
        *("messages", "prompt", "model", "max_tokens", "temperature", "seed", "stop", "stream", "suffix", "texts", "n"),
        *("logprobs", "response_format", "input_prefix", "input_extra", "n_predict", "samplers", "response_fields"),
        *("segments", "type", "completion_id", "elapsed", "t_max_predict_ms"),
    ]
)
_PARSERS: list[Callable[[dict[str, Any]], Any]] = [
    openai.parse_chat,
    openai.parse_completion,
    openai.parse_tokenize,
    native.parse_infill,
    native.parse_raw,
    tabby.parse_segments,
    lambda body: tabby.parse_event(body, {}),
]


@given(st.dictionaries(_fields, _json))
def test_no_body_breaks_the_parsers(body: dict[str, Any]) -> None:
    for parse in _PARSERS:
        try:
            parse(body)
        except BadFieldError as error:
            assert str(error)  # noqa: PT017


@given(st.text())
@pytest.mark.parametrize("kind", ["chat", "text"])
@pytest.mark.parametrize("include_usage", [False, True])
def test_a_text_event_is_one_line_of_json_that_holds_the_text(kind: Any, include_usage: bool, text: str) -> None:
    event = Answer(kind, "id", 'a"model', DETAILS, include_usage, choices=2).piece(1, Chunk(text))
    assert event.startswith("data: ")
    assert event.endswith("\n\n")
    assert "\n" not in event[:-2]
    value = json.loads(event.removeprefix("data: "))
    choice = value["choices"][0]
    assert (choice["delta"]["content"] if kind == "chat" else choice["text"]) == text
    assert (value["id"], value["model"], choice["index"]) == ("id", 'a"model', 1)
    assert ("usage" in value) == include_usage


def test_the_closing_events_carry_reason_details_usage_and_end_mark() -> None:
    answer = Answer("chat", "id", "m", DETAILS, include_usage=True)
    result = Result(reason="length", usage=USAGE)
    events = (answer.ending(0, result) + answer.closing([result])).split("\n\n")
    last, counted = (json.loads(event.removeprefix("data: ")) for event in events[:2])
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["choices"][0]["delta"] == {}
    assert last["hone"]["cached_tokens"] == 6
    assert last["hone"]["tokens_per_second"] == pytest.approx(20)
    assert counted["choices"] == []
    assert counted["usage"]["total_tokens"] == 12
    assert events[2:] == ["data: [DONE]", ""]


def test_the_prompt_of_several_answers_counts_once() -> None:
    results = [Result(["a"], reason="stop", usage=USAGE), Result(["b"], reason="length", usage=USAGE)]
    whole = Answer("text", "id", "m", DETAILS, choices=2).whole(results)
    assert [(choice["index"], choice["text"], choice["finish_reason"]) for choice in whole["choices"]] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]
    assert whole["usage"]["prompt_tokens"] == 7
    assert whole["usage"]["completion_tokens"] == 10


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (UnknownModel("no model"), 404, "invalid_request_error", "model_not_found"),
        (BadFieldError("stop", "bad stop"), 400, "invalid_request_error", None),
        (InvalidRequestError("does not fit the context"), 400, "invalid_request_error", "context_length_exceeded"),
        (EngineError("died"), 500, "server_error", "engine_failed"),
        (BusyError("full", 2), 429, "rate_limit_error", "too_many_requests"),
        (DeadlineError("late"), 504, "timeout_error", "deadline_exceeded"),
        (HoneError("wrong"), 400, "invalid_request_error", None),
    ],
)
def test_errors_have_openais_shape(error: HoneError, status: int, kind: str, code: str | None) -> None:
    found, body = error_body(error)
    assert found == status
    assert body["error"]["message"] == str(error)
    assert (body["error"]["type"], body["error"]["code"]) == (kind, code)
    assert dict(error_headers(error)) == ({b"retry-after": b"2"} if status == 429 else {})
