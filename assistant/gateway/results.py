"""What the engine made of one request of a client, and who writes it in the shape of which API."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from assistant.engines.base import Chunk, TokenLogprob, Usage

_NOTHING = Usage(0, 0, 0, 0.0, 0.0)


@dataclass
class Result:
    """One of the answers, while it grows."""

    pieces: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: str | None = None
    """`stop` or `length`, None while it is not finished."""
    usage: Usage = _NOTHING
    late: bool = False
    """It was cut off by its deadline."""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Writer(Protocol):
    """An API's shape of an answer, whole or as server-sent events."""

    def opening(self) -> str:
        """Events before the first text."""

    def piece(self, index: int, chunk: Chunk) -> str:
        """The event of a piece of the answer `index`."""

    def ending(self, index: int, result: Result) -> str:
        """The event that ends the answer `index`."""

    def closing(self, results: Sequence[Result]) -> str:
        """Events after the end of all answers."""

    def whole(self, results: Sequence[Result]) -> dict[str, Any]:
        """Everything in one object."""


def measured(usage: Usage) -> dict[str, Any]:
    """Counts and speed for the `hone` field."""
    # The first token comes out of the prompt's last batch, so n tokens are n - 1 steps.
    steps = max(usage.completion_tokens - 1, 0)
    speed = steps / usage.completion_seconds if steps and usage.completion_seconds > 0 else None
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "tokens_per_second": None if speed is None else round(speed, 2),
        "prompt_seconds": round(usage.prompt_seconds, 4),
    }
