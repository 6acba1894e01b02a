"""The OpenAI API's shapes: requests checked and turned into engine requests, answers and errors written back.

Fields that the API knows and this gateway cannot honour are refused, unknown ones are ignored, and only the fields
named here ever reach an engine.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from assistant.engines.base import InvalidRequestError, Usage
from assistant.errors import EngineError, HoneError, UnknownModel
from assistant.gateway.fields import BadFieldError, boolean, integer, model_name, number, stop_strings
from assistant.gateway.response_format import parse_response_format

MAX_TEXTS = 4096
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Sampling:
    """What both generating endpoints share. `max_tokens` None is as many as the context holds."""

    model: str | None
    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repeat_penalty: float
    seed: int | None
    stop: tuple[str, ...]
    json_schema: Mapping[str, Any] | None
    stream: bool
    include_usage: bool


@dataclass(frozen=True)
class ChatRequest:
    sampling: Sampling
    messages: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class CompletionRequest:
    sampling: Sampling
    prompt: str | tuple[int, ...]
    suffix: str | None
    parse_special: bool


@dataclass(frozen=True)
class TokenizeRequest:
    model: str | None
    texts: tuple[str, ...]
    parse_special: bool


def parse_chat(body: Mapping[str, Any]) -> ChatRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadFieldError("messages", "messages must be a list with at least one message")
    if body.get("tools") and body.get("tool_choice") != "none":
        raise BadFieldError("tools", "tools are not supported by this gateway")
    limit = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    return ChatRequest(
        _sampling(body, limit, None, temperature=0.7),
        tuple(_message(message, index) for index, message in enumerate(messages)),
    )


def parse_completion(body: Mapping[str, Any]) -> CompletionRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, list):
        if not all(type(token) is int and token >= 0 for token in prompt):
            raise BadFieldError("prompt", "prompt must be one string or one list of token ids")
        prompt = tuple(prompt)
    elif not isinstance(prompt, str):
        raise BadFieldError("prompt", "prompt must be one string or one list of token ids")
    if not prompt:
        raise BadFieldError("prompt", "prompt is empty")
    suffix = body.get("suffix")
    if suffix is not None and not isinstance(suffix, str):
        raise BadFieldError("suffix", "suffix must be a string")
    if suffix and not isinstance(prompt, str):
        raise BadFieldError("suffix", "suffix needs a prompt of text, not of token ids")
    if body.get("echo"):
        raise BadFieldError("echo", "echo is not supported by this gateway")
    sampling = _sampling(body, "max_tokens", 16, temperature=1.0)
    return CompletionRequest(sampling, prompt, suffix or None, boolean(body, "parse_special", True))


def parse_tokenize(body: Mapping[str, Any]) -> TokenizeRequest:
    """
    Raises:
        BadFieldError: naming the first field that is wrong.
    """
    texts = body.get("texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadFieldError("texts", "texts must be a list of strings")
    if len(texts) > MAX_TEXTS:
        raise BadFieldError("texts", f"texts has {len(texts)} entries, at most {MAX_TEXTS} are taken at once")
    return TokenizeRequest(model_name(body), tuple(texts), boolean(body, "parse_special", False))


def _sampling(body: Mapping[str, Any], limit: str, default_limit: int | None, temperature: float) -> Sampling:
    for field in ("n", "best_of"):
        if body.get(field) not in (None, 1):
            raise BadFieldError(field, f"{field} must be 1: this gateway gives one answer per request")
    if body.get("logprobs"):
        raise BadFieldError("logprobs", "logprobs are not supported by this gateway")
    for field in ("frequency_penalty", "presence_penalty", "logit_bias"):
        if body.get(field):
            raise BadFieldError(field, f"{field} is not supported by this gateway; repeat_penalty is")
    stream = boolean(body, "stream", False)
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise BadFieldError("stream_options", "stream_options must be an object")
    max_tokens = integer(body, limit, 1, 2**31 - 1)
    seed = integer(body, "seed", -(2**63), 2**64)
    return Sampling(
        model=model_name(body),
        max_tokens=default_limit if max_tokens is None else max_tokens,
        temperature=number(body, "temperature", temperature, 0.0, 2.0),
        top_p=number(body, "top_p", 0.95, 0.0, 1.0),
        top_k=_or(integer(body, "top_k", 0, 2**31 - 1), 40),
        min_p=number(body, "min_p", 0.05, 0.0, 1.0),
        repeat_penalty=number(body, "repeat_penalty", 1.0, 0.1, 10.0),
        seed=seed,
        stop=stop_strings(body),
        json_schema=parse_response_format(body),
        stream=stream,
        include_usage=bool(options and boolean(options, "include_usage", False)),
    )


def _message(message: Any, index: int) -> dict[str, str]:
    field = f"messages[{index}]"
    if not isinstance(message, dict):
        raise BadFieldError(field, f"{field} must be an object with role and content")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadFieldError(f"{field}.role", f"{field}.role must be one of {', '.join(_ROLES)}, got {role!r}")
    content = message.get("content")
    if isinstance(content, list):
        parts = []
        for part in content:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise BadFieldError(f"{field}.content", f"{field}.content: only parts of type text are supported")
            parts.append(part["text"])
        content = "".join(parts)
    if content is None and role == "assistant":
        content = ""
    if not isinstance(content, str):
        raise BadFieldError(f"{field}.content", f"{field}.content must be text")
    return {"role": _ROLES[role], "content": content}


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


Kind = Literal["chat", "text"]


class Answer:
    """Writes one answer, whole or as server-sent events.

    Args:
        kind: of `/v1/chat/completions` or of `/v1/completions`.
        model: the immutable name of what answers.
        details: base, adapter and context length, for the `hone` field.
    """

    def __init__(self, kind: Kind, model: str, include_usage: bool, details: Mapping[str, Any]) -> None:
        self.kind = kind
        self.model = model
        self.include_usage = include_usage
        self.details = details
        self.id = ("chatcmpl-" if kind == "chat" else "cmpl-") + secrets.token_hex(12)
        self.created = int(time.time())
        null_usage = ',"usage":null' if include_usage else ""
        delta = '"delta":{"content":' if kind == "chat" else '"text":'
        head = f'"choices":[{{"index":0,"logprobs":null,"finish_reason":null,{delta}'
        # Everything about a token's event but its text is the same for all tokens.
        self._before = f"data: {self._envelope_text(stream=True)}{null_usage},{head}"
        self._after = ("}}]}" if kind == "chat" else "}]}") + "\n\n"

    def _envelope(self, stream: bool) -> dict[str, Any]:
        kinds = ("chat.completion", "chat.completion.chunk") if self.kind == "chat" else ("text_completion",) * 2
        return {"id": self.id, "object": kinds[stream], "created": self.created, "model": self.model}

    def _envelope_text(self, stream: bool) -> str:
        return json.dumps(self._envelope(stream), separators=(",", ":"))[:-1]

    def opening_event(self) -> str:
        """Before the first text: the role, for chat."""
        if self.kind != "chat":
            return ""
        choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        return _event({**self._envelope(stream=True), **self._no_usage(), "choices": [choice]})

    def text_event(self, text: str) -> str:
        return f"{self._before}{json.dumps(text)}{self._after}"

    def closing_events(self, reason: str, usage: Usage) -> str:
        """The finish reason with the `hone` details, the usage when it was asked for, and the end mark."""
        empty: dict[str, Any] = {"delta": {}} if self.kind == "chat" else {"text": ""}
        choice = {"index": 0, **empty, "logprobs": None, "finish_reason": reason}
        envelope = self._envelope(stream=True)
        last = _event({**envelope, **self._no_usage(), "choices": [choice], "hone": self._hone(usage)})
        if self.include_usage:
            last += _event({**envelope, "choices": [], "usage": _usage(usage)})
        return last + "data: [DONE]\n\n"

    def whole(self, text: str, reason: str, usage: Usage) -> dict[str, Any]:
        content = {"message": {"role": "assistant", "content": text}} if self.kind == "chat" else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": reason}
        return {
            **self._envelope(stream=False),
            "choices": [choice],
            "usage": _usage(usage),
            "hone": self._hone(usage),
        }

    def _no_usage(self) -> dict[str, None]:
        return {"usage": None} if self.include_usage else {}

    def _hone(self, usage: Usage) -> dict[str, Any]:
        # The first token comes out of the prompt's last batch, so n tokens are n - 1 steps.
        steps = max(usage.completion_tokens - 1, 0)
        speed = steps / usage.completion_seconds if steps and usage.completion_seconds > 0 else None
        return {
            "model": self.model,
            **self.details,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
            "tokens_per_second": None if speed is None else round(speed, 2),
            "prompt_seconds": round(usage.prompt_seconds, 4),
        }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def error_event(error: HoneError) -> str:
    """For a failure after the stream began; OpenAI's clients raise it."""
    return _event(error_body(error)[1])


def error_body(error: HoneError) -> tuple[int, dict[str, Any]]:
    """HTTP status and body of an error, in OpenAI's shape."""
    status, kind, code = 400, "invalid_request_error", None
    if isinstance(error, UnknownModel):
        status, code = 404, "model_not_found"
    elif isinstance(error, EngineError):
        status, kind, code = 500, "server_error", "engine_failed"
    elif isinstance(error, InvalidRequestError) and "context" in str(error):
        code = "context_length_exceeded"
    param = error.field if isinstance(error, BadFieldError) else None
    return status, failure(str(error), kind, code, param)


def failure(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def model_list(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": [{"object": "model", "owned_by": "hone", **entry} for entry in entries]}


def _event(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"
