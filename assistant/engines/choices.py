"""One-token answers within a text: how likely each of a few words is after each of several texts, read from the logits.

The texts follow each other in one context, an answer after each, so the whole is computed once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assistant.engines.base import InvalidRequestError

MAX_CHOICES = 16
MAX_TEXTS = 1024

_GUARDS = ("☺", "\n", ";", "a")
"""Written before a text that continues another, and taken off again."""

Tokenize = Callable[[str], list[int]]
"""Token ids of a text alone, without a beginning token; special tokens spelled in it are plain text."""


@dataclass(frozen=True)
class Questions:
    """Tokens of everything, and where the choices stand."""

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    """Indices in `tokens`: what is there is one of the choices, given all tokens before it."""
    choices: tuple[int, ...]
    """The token of each choice at a position. What the choices begin with in common stands before the position."""


def assemble(
    tokenize: Tokenize, opening: Sequence[int], texts: Sequence[str], choices: Sequence[str], assumed: int
) -> Questions:
    """The tokens of each text followed by `choices[assumed]`, text by text, so that no token crosses a bound.

    Args:
        opening: the beginning token, where the model has one.

    Raises:
        InvalidRequestError: the tokens of one choice are the beginning of another's, or no text is given.
    """
    if not texts or not texts[0]:
        raise InvalidRequestError("choices need a text before the first of them")
    words = [continued(tokenize, choice) for choice in choices]
    shared = next((at for at, tokens in enumerate(zip(*words, strict=False)) if len(set(tokens)) == len(words)), None)
    if shared is None or any(len({word[at] for word in words}) > 1 for at in range(shared)):
        raise InvalidRequestError(f"this model's tokenizer does not tell {' and '.join(choices)!r} apart by one token")
    tokens = [*opening, *tokenize(texts[0])]
    positions = []
    for index, text in enumerate(texts):
        if index:
            tokens += continued(tokenize, text) if text else []
        positions.append(len(tokens) + shared)
        tokens += words[assumed]
    return Questions(tuple(tokens), tuple(positions), tuple(word[shared] for word in words))


def continued(tokenize: Tokenize, text: str) -> list[int]:
    """Token ids of a text that directly follows another one.

    Sentencepiece tokenizers write a space before a text of its own, which a continued one must not have. So it is
    tokenized behind a rare character, which is taken off again (as in Code Llama's `encode_infilling`).

    Raises:
        InvalidRequestError: the tokenizer joins every character that was tried with the text.
    """
    for guard in _GUARDS:
        alone, both = tokenize(guard), tokenize(guard + text)
        if both[: len(alone)] == alone:
            return both[len(alone) :]
    raise InvalidRequestError("the tokenizer gives no token boundary before a continued text")


def opening_of(tokenize: Tokenize, with_special: Tokenize) -> list[int]:
    """What a tokenizer writes before every prompt: the beginning token of the families that have one."""
    bare, whole = tokenize("a"), with_special("a")
    starts = [at for at in range(len(whole) - len(bare) + 1) if whole[at : at + len(bare)] == bare]
    return whole[: starts[0]] if starts else []


def check(texts: Sequence[str], choices: Sequence[str], assumed: int) -> None:
    """
    Raises:
        InvalidRequestError: too many or too few, equal or empty choices, or `assumed` is none of them.
    """
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise InvalidRequestError(f"1 to {MAX_TEXTS} texts can be asked about at once, not {len(texts)}")
    if not 2 <= len(choices) <= MAX_CHOICES or len(set(choices)) != len(choices) or not all(choices):
        raise InvalidRequestError(f"2 to {MAX_CHOICES} different choices are needed, none of them empty")
    if not 0 <= assumed < len(choices):
        raise InvalidRequestError(f"assumed must be the index of a choice, 0 to {len(choices) - 1}")
