"""What every inference engine offers: streamed generation that can be cancelled, and token counts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal, Protocol

from assistant.errors import HoneError

FinishReason = Literal["stop", "length", "cancelled"]


class InvalidRequestError(HoneError):
    """The engine cannot run this request as asked (too long for the context, unknown adapter, bad token ids)."""

    exit_code = 2


@dataclass(frozen=True)
class Request:
    """One generation. Temperature 0 is greedy; `seed` None draws one."""

    prompt: str | tuple[int, ...]
    max_tokens: int = 256
    """0 only computes the prompt, for later requests that begin alike."""
    temperature: float = 0.0
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    """All three penalties look at the last 64 tokens of prompt and answer."""
    samplers: tuple[str, ...] | None = None
    """Which of `Engine.samplers` are applied, in this order; None is all that the fields above ask for."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    adapter: str | None = None
    parse_special: bool = True
    """Whether text such as `<|im_end|>` in a string prompt becomes the special token of that name."""
    verbatim: tuple[tuple[int, int], ...] = ()
    """Parts of such a prompt, by their first character and the one after their last, in which it stays text."""
    json_schema: Mapping[str, Any] | None = None
    """The answer is JSON that conforms to this schema: no other token can be drawn. Cut short only by `max_tokens`."""
    logprobs: int | None = None
    """How many of the likeliest tokens come with each drawn one; None reports no probabilities."""
    min_indent: int = 0
    """The answer ends before a line that is indented by fewer characters."""
    line_seconds: float | None = None
    """Of generation; an answer that takes longer ends with the line under way."""


@dataclass(frozen=True)
class TokenLogprob:
    """A token at its place, with the natural logarithm of the probability that the model gave it: of the whole
    vocabulary, before temperature, grammar and all other samplers."""

    token: int
    text: str
    bytes: tuple[int, ...]
    """Of the token alone; a token may be a part of a character."""
    logprob: float
    top: tuple["TokenLogprob", ...] = ()
    """The likeliest tokens at this place, the best first."""


@dataclass(frozen=True)
class Usage:
    """Token counts and seconds. `prompt_tokens` includes the `cached_tokens` that were not computed again."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    prompt_seconds: float
    completion_seconds: float


@dataclass(frozen=True)
class Chunk:
    """A piece of the answer; the last one has a finish reason and the usage."""

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


Emit = Callable[[Chunk | HoneError], None]
"""Receives the chunks of one request from a thread of the engine; the last call is a chunk with a finish reason or an
error."""

Cancel = Callable[[], None]


class Engine(Protocol):
    """A model that generates. All methods may be called from any thread."""

    @property
    def context_length(self) -> int:
        """The most tokens of prompt and answer together."""

    @property
    def chat_template(self) -> str | None:
        """The tokenizer's Jinja template, None when the model has none."""

    @property
    def special_tokens(self) -> Mapping[str, str]:
        """`bos_token` and `eos_token` as the chat template names them."""

    @property
    def samplers(self) -> frozenset[str]:
        """The names that `Request.samplers` may hold, as llama.cpp spells them."""

    @property
    def enforces_schemas(self) -> bool:
        """Whether it can answer requests with a `json_schema`."""

    def start(self, request: Request, emit: Emit) -> Cancel:
        """Begins a generation and returns at once. Cancelling ends it within one token, with a last chunk whose finish
        reason is `cancelled`; cancelling twice, or after the end, does nothing."""

    def stream(self, request: Request) -> Iterator[Chunk]:
        """The chunks of one generation; closing the iterator cancels it within one token.

        Raises:
            InvalidRequestError: the request does not fit this engine.
            EngineError: the engine failed; the next request may work.
        """

    def tokenize(self, text: str, parse_special: bool = False) -> list[int]:
        """Token ids of `text` alone, without a beginning token."""

    def tokenize_all(self, texts: Sequence[str], parse_special: bool = False) -> list[list[int]]:
        """`tokenize` for each text."""

    def find_token(self, text: str) -> int | None:
        """The id of the one special token spelled `text`, None when the vocabulary has none."""

    def likelihoods(
        self,
        texts: Sequence[str],
        answers: Sequence[str],
        adapter: str | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[list[float]]:
        """For each answer, the natural log-probability of each of its tokens, over the whole vocabulary.

        `texts[i]` stands before `answers[i]`; all follow each other in one context (text 0, answer 0, text 1, ...), so
        each answer is read given everything before it. Text is tokenized piece by piece, so that no token crosses a
        bound, and special tokens that it spells are plain text.

        Args:
            texts: as many as answers; the first is not empty.
            answers: none empty.
            cancelled: asked now and then; True ends it, by an error.

        Raises:
            InvalidRequestError: not as said above, or all is too long for the context.
            EngineError: the engine failed, or it was cancelled.
        """

    def close(self) -> None:
        """Frees the model; running generations end with an error."""


def iterate(start: Callable[[Request, Emit], Cancel], request: Request) -> Iterator[Chunk]:
    """`Engine.stream` in terms of `Engine.start`."""
    received: SimpleQueue[Chunk | HoneError] = SimpleQueue()
    cancel = start(request, received.put)
    try:
        while True:
            item = received.get()
            if isinstance(item, HoneError):
                raise item
            yield item
            if item.finish_reason is not None:
                return
    finally:
        cancel()


def check_request(request: Request, adapters: Sequence[str]) -> None:
    """
    Raises:
        InvalidRequestError: a field is out of range or the adapter is not loaded.
    """
    if not request.prompt:
        raise InvalidRequestError("the prompt is empty")
    if request.max_tokens < 0:
        raise InvalidRequestError(f"max_tokens must not be negative, got {request.max_tokens}")
    if request.adapter is not None and request.adapter not in adapters:
        raise InvalidRequestError(f"the engine has no adapter {request.adapter}")
