"""Answers in the OpenAI API's shapes."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from assistant.engines.base import Chunk, TokenLogprob, Usage
from assistant.gateway.failures import event
from assistant.gateway.results import Result, measured

Kind = Literal["chat", "text"]


class Answer:
    """Writes the answers to one request, whole or as server-sent events.

    Args:
        kind: of `/v1/chat/completions` or of `/v1/completions`.
        model: the immutable name of what answers.
        details: base, adapter, context length and what else the `hone` field holds.
        choices: how many answers there are.
    """

    def __init__(
        self,
        kind: Kind,
        identifier: str,
        model: str,
        details: Mapping[str, Any],
        include_usage: bool = False,
        choices: int = 1,
    ) -> None:
        self._kind = kind
        self._id = identifier
        self._model = model
        self._details = details
        self._include_usage = include_usage
        self._choices = choices
        self._created = int(time.time())
        self._characters = [0] * choices
        null_usage = ',"usage":null' if include_usage else ""
        envelope = json.dumps(self._envelope(stream=True), separators=(",", ":"))[:-1]
        # Everything about a token's event but its number and text is the same for all tokens.
        self._before = f'data: {envelope}{null_usage},"choices":[{{"index":'
        content = '"delta":{"content":' if kind == "chat" else '"text":'
        self._between = f',"logprobs":null,"finish_reason":null,{content}'
        self._after = ("}}]}" if kind == "chat" else "}]}") + "\n\n"

    def opening(self) -> str:
        """The role, for chat."""
        if self._kind != "chat":
            return ""
        delta = {"delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        return "".join(self._chunk([{"index": index, **delta}]) for index in range(self._choices))

    def piece(self, index: int, chunk: Chunk) -> str:
        if not chunk.logprobs:
            return f"{self._before}{index}{self._between}{json.dumps(chunk.text)}{self._after}"
        content: dict[str, Any] = {"delta": {"content": chunk.text}} if self._kind == "chat" else {"text": chunk.text}
        told = self._logprobs(chunk.logprobs, self._characters[index])
        self._characters[index] += sum(len(entry.text) for entry in chunk.logprobs)
        return self._chunk([{"index": index, **content, "logprobs": told, "finish_reason": None}])

    def ending(self, index: int, result: Result) -> str:
        empty: dict[str, Any] = {"delta": {}} if self._kind == "chat" else {"text": ""}
        choice = {"index": index, **empty, "logprobs": None, "finish_reason": result.reason}
        return self._chunk([choice], hone=self._hone(result))

    def closing(self, results: Sequence[Result]) -> str:
        """The usage when it was asked for, and the end mark."""
        last = "data: [DONE]\n\n"
        if not self._include_usage:
            return last
        return event({**self._envelope(stream=True), "choices": [], "usage": usage_of(results)}) + last

    def whole(self, results: Sequence[Result]) -> dict[str, Any]:
        return {
            **self._envelope(stream=False),
            "choices": [self._choice(index, result) for index, result in enumerate(results)],
            "usage": usage_of(results),
            "hone": self._hone(results[0]),
        }

    def _choice(self, index: int, result: Result) -> dict[str, Any]:
        text = result.text
        content = {"message": {"role": "assistant", "content": text}} if self._kind == "chat" else {"text": text}
        told = self._logprobs(result.logprobs, 0) if result.logprobs else None
        return {"index": index, **content, "logprobs": told, "finish_reason": result.reason}

    def _chunk(self, choices: list[dict[str, Any]], **further: Any) -> str:
        usage = {"usage": None} if self._include_usage else {}
        return event({**self._envelope(stream=True), **usage, "choices": choices, **further})

    def _envelope(self, stream: bool) -> dict[str, Any]:
        kinds = ("chat.completion", "chat.completion.chunk") if self._kind == "chat" else ("text_completion",) * 2
        return {"id": self._id, "object": kinds[stream], "created": self._created, "model": self._model}

    def _logprobs(self, entries: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
        if self._kind == "chat":
            return {"content": [_content(entry) for entry in entries], "refusal": None}
        return _legacy(entries, offset)

    def _hone(self, result: Result) -> dict[str, Any]:
        late = {"deadline_exceeded": True} if result.late else {}
        return {"model": self._model, **self._details, **measured(result.usage), **late}


def usage_of(results: Sequence[Result]) -> dict[str, Any]:
    """The prompt counts once, however many answers it has."""
    first: Usage = results[0].usage
    completion = sum(result.usage.completion_tokens for result in results)
    return {
        "prompt_tokens": first.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": first.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": first.cached_tokens},
    }


def _content(entry: TokenLogprob) -> dict[str, Any]:
    return {**_entry(entry), "top_logprobs": [_entry(other) for other in entry.top]}


def _entry(entry: TokenLogprob) -> dict[str, Any]:
    # The token's number is no part of OpenAI's shape; clients ignore it, measurements need it.
    return {"token": entry.text, "logprob": entry.logprob, "bytes": list(entry.bytes), "id": entry.token}


def _legacy(entries: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    offsets = []
    for entry in entries:
        offsets.append(offset)
        offset += len(entry.text)
    return {
        "tokens": [entry.text for entry in entries],
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [{other.text: other.logprob for other in entry.top} for entry in entries],
        "text_offset": offsets,
        # Not in OpenAI's shape, where tokens of the same spelling fall together.
        "content": [_content(entry) for entry in entries],
    }
