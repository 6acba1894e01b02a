"""A gateway client that answers from a script, for tests of what happens around the model."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from assistant.client import Cancellation

# Every piece is a token; joined pieces give the text back.
_PIECE = re.compile(r"\s|\w{1,4}|[^\w\s]")


@dataclass
class FakeDelta:
    text: str = ""
    finish_reason: str | None = None
    details: dict[str, Any] | None = None


@dataclass
class FakeClient:
    """Answers `answer` token by token, whatever is asked, or `answers(prompt)` when that is given."""

    answer: str = ""
    answers: Any = None
    fim_tokens: dict[str, Any] | None = None
    context_length: int = 4096
    names: tuple[str, ...] = ("fake",)
    adapter: str | None = None
    prompts: list[str] = field(default_factory=list)
    special: list[bool] = field(default_factory=list)
    verbatim: list[tuple[tuple[int, int], ...]] = field(default_factory=list)
    before_token: Callable[[], None] | None = None
    tokenized: list[str] = field(default_factory=list)
    produced: int = 0
    closed: int = 0

    def models(self) -> list[dict[str, Any]]:
        return [
            {
                "id": name,
                "name": name,
                "adapter": self.adapter,
                "completion_mode": "fim" if self.fim_tokens else "prefix",
                "fim_tokens": self.fim_tokens,
                "context_length": self.context_length,
            }
            for name in self.names
        ]

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]:
        self.tokenized += texts
        return [[len(piece) for piece in _PIECE.findall(text)] for text in texts]

    def complete(
        self,
        prompt: str,
        model: str | None = None,
        *,
        max_tokens: int = 64,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        parse_special: bool = False,
        verbatim: Sequence[tuple[int, int]] = (),
        cancel: Cancellation | None = None,
    ) -> Iterator[FakeDelta]:
        self.prompts.append(prompt)
        self.special.append(parse_special)
        self.verbatim.append(tuple(verbatim))
        text = self.answers(prompt) if self.answers else self.answer
        cut = min((text.find(end) for end in stop if end in text), default=len(text))
        pieces = _PIECE.findall(text[:cut])
        details = {"model": model, "adapter": None, "prompt_tokens": len(prompt), "cached_tokens": 0}
        try:
            for piece in pieces[:max_tokens]:
                if self.before_token is not None:
                    self.before_token()
                if cancel is not None and cancel.cancelled:
                    return
                self.produced += 1
                yield FakeDelta(piece)
            finish = "stop" if len(pieces) <= max_tokens else "length"
            yield FakeDelta("", finish, details | {"completion_tokens": min(len(pieces), max_tokens)})
        finally:
            self.closed += 1
