"""Prompts of which some parts stay text, though they spell control tokens that the rest of the prompt means."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from assistant.engines.likelihoods import continued

Span = tuple[int, int]
"""Of a text: its first character, and the one after its last."""

Tokenize = Callable[[str, bool, bool], list[int]]
"""Token ids of a text; whether control tokens that it spells are read as those; whether the beginning token, where the
tokenizer has one, is written in front."""


def encode(prompt: str, spans: Sequence[Span], begin: bool, tokenize: Tokenize) -> list[int]:
    """Token ids of a prompt whose control tokens are read as such outside of `spans` and stay text inside.

    Args:
        spans: one at least, in order, none empty or over another.
        begin: write the beginning token in front.

    Raises:
        InvalidRequestError: the tokenizer joins what is inside of a span with what is outside.
    """

    def meant(text: str) -> list[int]:
        return tokenize(text, True, False)

    def spelled(text: str) -> list[int]:
        return tokenize(text, False, False)

    bounds = [*(at for span in spans for at in span), len(prompt)]
    tokens = tokenize(prompt[: bounds[0]], True, begin)
    for number, (start, end) in enumerate(pairwise(bounds)):
        if start < end:
            tokens += continued(meant if number % 2 else spelled, prompt[start:end])
    return tokens
