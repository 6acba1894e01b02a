"""Makes llama.cpp generate given tokens, so that it tells their probabilities.

Its server tells none of a prompt's tokens. A grammar that names tokens by their ids forces it to draw just these.
"""

from collections.abc import Callable, Sequence
from typing import Any

from assistant.engines.likelihoods import Reading, Span

Complete = Callable[[dict[str, Any]], dict[str, Any]]
"""Asks the server's `/completion`."""

_LIKELIEST = 1024
_ALL = 10_000_000
"""How many of a place's tokens are listed with their probabilities: a thousand cost nothing, all of 49,152 half a
second."""

MOST = 64
"""Tokens of a run; a reading is cancelled between two of them. Computed one by one, as any answer is."""

GAP = 3
"""Tokens of a text between two answers that are rather forced than read in the next prompt.

A request costs about a token more, but a prompt's tokens are computed many at a time. Measured with 12 such texts, one
thread and the embedded model, in seconds, forced and in prompts: of 2 tokens 2.1 and 2.1, of 4 tokens 2.6 and 2.4, of 8
tokens 3.8 and 2.5.
"""


def runs(reading: Reading, unnamed: frozenset[int]) -> list[Span]:
    """Runs in `reading.tokens` that hold all answers, in order, none over another.

    Args:
        unnamed: tokens that no grammar can force; each one in an answer is a run of its own, none is in another.
    """
    found: list[Span] = []
    open_ended = False
    for position in (position for start, end in reading.spans for position in range(start, end)):
        named = reading.tokens[position] not in unnamed
        start, end = found[-1] if found else (0, 0)
        near = position - end <= GAP and position < start + MOST
        if open_ended and named and near and unnamed.isdisjoint(reading.tokens[end:position]):
            found[-1] = (start, position + 1)
        else:
            found.append((position, position + 1))
        open_ended = named
    return found


def drawn(complete: Complete, fields: dict[str, Any], tokens: Sequence[int]) -> list[float]:
    """The log-probabilities of tokens after the prompt in `fields`, before the grammar and all samplers.

    Raises:
        RuntimeError: the server drew others.
    """
    return [float(one["logprob"]) for one in _drawn(complete, fields, tokens, 1)]


def listed(complete: Complete, fields: dict[str, Any], token: int, other: int) -> float:
    """The log-probability of one token: looked up beside that of another one, which is drawn in its place.

    Raises:
        RuntimeError: the server drew neither, or does not list it.
    """
    for count in (_LIKELIEST, _ALL):
        (entry,) = _drawn(complete, fields, [other], count)
        for one in entry["top_logprobs"]:
            if one["id"] == token:
                return float(one["logprob"])
    raise RuntimeError(f"it lists no token {token}")


def _drawn(complete: Complete, fields: dict[str, Any], tokens: Sequence[int], count: int) -> list[dict[str, Any]]:
    asked = {**fields, "grammar": grammar_of(tokens), "n_probs": count, "stream": False}
    found: list[dict[str, Any]] = complete(asked)["completion_probabilities"]
    if [one["id"] for one in found] != list(tokens):
        raise RuntimeError("it drew other tokens than those that it was to read")
    return found


def grammar_of(tokens: Sequence[int]) -> str:
    """In llama.cpp's notation: these tokens and no others."""
    return "root ::= " + " ".join(f"<[{token}]>" for token in tokens)
