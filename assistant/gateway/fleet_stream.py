"""Answers of other servers as they pass through: whole events, and the texts in them."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_BYTES = 32 * 1024 * 1024
"""Of an answer, or of one event in it; a server that sends more has gone wrong."""
_END = "[DONE]"


class OversizeError(Exception):
    """More than `MOST_BYTES`."""


@dataclass
class Passed:
    """What has been passed on of one answer.

    Args:
        texts: pieces by the number of the choice.
        identifier: by which the answer calls itself.
        ended: the server said that this is all.
        failure: what the server said went wrong in the middle.
    """

    texts: dict[int, list[str]] = field(default_factory=dict)
    identifier: str | None = None
    ended: bool = False
    failure: str | None = None
    completion_tokens: int | None = None
    cut: int = 0
    """Choices that ended at their token limit."""

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple("".join(self.texts[index]) for index in sorted(self.texts))

    def add(self, answer: Any) -> None:
        """An event's object, or a whole answer: in OpenAI's, Tabby's or llama.cpp's shape."""
        if not isinstance(answer, Mapping):
            return
        if self.identifier is None and isinstance(answer.get("id"), str):
            self.identifier = answer["id"]
        if "error" in answer:
            error = answer["error"]
            told = error.get("message") if isinstance(error, Mapping) else error
            self.failure = " ".join(str(told).split())[:300]
        self._add_counts(answer)
        if isinstance(answer.get("content"), str):
            self.texts.setdefault(0, []).append(answer["content"])
            self.ended = self.ended or answer.get("stop") is True
            self.cut += answer.get("stop_type") == "limit"
        choices = answer.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping):
                self._add_choice(choice)

    def _add_counts(self, answer: Mapping[str, Any]) -> None:
        """The usage is of all choices; Hone also tells the tokens of each when it ends."""
        usage, ending = (_tokens(answer.get(name)) for name in ("usage", "hone"))
        if usage is not None:
            self.completion_tokens = usage
        elif ending is not None:
            self.completion_tokens = (self.completion_tokens or 0) + ending

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        part = choice.get("delta") or choice.get("message")
        text = part.get("content") if isinstance(part, Mapping) else choice.get("text")
        index = choice.get("index")
        self.cut += choice.get("finish_reason") == "length"
        if isinstance(text, str) and text:
            self.texts.setdefault(index if type(index) is int else 0, []).append(text)

    def add_events(self, block: bytes) -> None:
        for data in _data(block):
            if data == _END:
                self.ended = True
                continue
            try:
                self.add(json.loads(data))
            except ValueError:
                self.failure = "it sent an event that is not JSON"


async def event_blocks(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Whole server-sent events, as many at a time as have come, as they were sent. Comments between them are left out.

    What comes after the last whole event is dropped: it was cut off.

    Raises:
        OversizeError: an event does not end.
    """
    buffer = b""
    async for piece in pieces:
        # Servers end lines with either; a carriage return in JSON is always escaped.
        buffer = (buffer + piece).replace(b"\r\n", b"\n")
        whole, end, rest = buffer.rpartition(b"\n\n")
        if end:
            buffer = rest
            events = [event for event in whole.split(b"\n\n") if _data(event)]
            if events:
                yield b"".join(event + b"\n\n" for event in events)
        if len(buffer) > MOST_BYTES:
            raise OversizeError


def _tokens(counts: Any) -> int | None:
    tokens = counts.get("completion_tokens") if isinstance(counts, Mapping) else None
    return tokens if type(tokens) is int else None


def _data(block: bytes) -> list[str]:
    """What the `data:` lines hold; each of these servers' events has one line."""
    lines = block.decode("utf-8", "replace").split("\n")
    return [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]
