"""From logits to a token and from tokens to text, for the torch engine; samplers as llama.cpp defines them."""

from collections.abc import Sequence
from typing import Any

from assistant.engines.base import Request, TokenLogprob

SAMPLERS = frozenset({"penalties", "top_k", "top_p", "min_p", "temperature"})
_DEFAULT = ("penalties", "top_k", "top_p", "min_p", "temperature")
_PENALIZED = 64
"""Last tokens of prompt and answer that penalties look at."""


class StopText:
    """Text from tokens as they come: whole characters only, and nothing that may be the beginning of a stop string."""

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._tokens: list[int] = []
        self._sent = 0
        self.stopped = False
        self.lines = 0
        """Line ends so far."""

    def add(self, token: int) -> str:
        self._tokens.append(token)
        text = self._decode()
        if text.endswith("\ufffd"):
            return ""
        self.lines = text.count("\n")
        ends = [at for stop in self._stop if (at := text.find(stop, max(0, self._sent - len(stop)))) >= 0]
        if ends:
            self.stopped = True
            return self._send(text[: min(ends)])
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        return self._send(text[: len(text) - held])

    def rest(self) -> str:
        """What was held back, once no more tokens come."""
        return "" if self.stopped else self._send(self._decode().rstrip("\ufffd"))

    def _decode(self) -> str:
        return str(self._tokenizer.decode(self._tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _send(self, text: str) -> str:
        piece = text[self._sent :]
        self._sent = max(self._sent, len(text))
        return piece


def _overlap(text: str, stop: str) -> int:
    """Length of the longest beginning of `stop` that `text` ends with."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


def sample(logits: Any, request: Request, prompt: Sequence[int], made: Sequence[int], generator: Any) -> int:
    """One token from the logits over the vocabulary, of shape (vocabulary,); the samplers come in llama.cpp's own order
    whatever `request.samplers` says."""
    import torch

    used = _DEFAULT if request.samplers is None else request.samplers
    if "penalties" in used:
        logits = _penalized(logits, request, [*prompt, *made][-_PENALIZED:])
    temperature = request.temperature if "temperature" in used else 1.0
    if temperature == 0:
        return int(logits.argmax())
    top_k = request.top_k if "top_k" in used else 0
    top_p = request.top_p if "top_p" in used else 1.0
    min_p = request.min_p if "min_p" in used else 0.0
    count = min(top_k, logits.numel()) if top_k > 0 else logits.numel()
    values, indices = torch.topk(logits, count)
    probabilities = torch.softmax(values, 0)
    keep = probabilities.cumsum(0) - probabilities < top_p
    keep &= probabilities >= min_p * probabilities[0]
    keep[0] = True
    values = (values / temperature).masked_fill(~keep, float("-inf"))
    return int(indices[torch.multinomial(torch.softmax(values, 0), 1, generator=generator)])


def _penalized(logits: Any, request: Request, recent: Sequence[int]) -> Any:
    import torch

    if request.repeat_penalty == 1.0 and request.frequency_penalty == 0.0 and request.presence_penalty == 0.0:
        return logits
    # Tensors of inference mode cannot be changed outside of it.
    logits = logits.clone()
    tokens, counts = torch.tensor(recent).unique(return_counts=True)
    chosen = logits[tokens]
    chosen = torch.where(chosen > 0, chosen / request.repeat_penalty, chosen * request.repeat_penalty)
    logits[tokens] = chosen - counts * request.frequency_penalty - request.presence_penalty
    return logits


def logprob_of(logits: Any, token: int, top: int, tokenizer: Any) -> TokenLogprob:
    """What the logits over the vocabulary, of shape (vocabulary,), say about a token and the `top` likeliest ones."""
    import torch

    scores = torch.log_softmax(logits, 0)

    def entry(number: int, others: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        text = tokenizer.decode([number], clean_up_tokenization_spaces=False)
        return TokenLogprob(number, text, tuple(text.encode()), float(scores[number]), others)

    likeliest = scores.topk(min(top, scores.numel())).indices.tolist() if top else []
    return entry(token, tuple(entry(number) for number in likeliest))
