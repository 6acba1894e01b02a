"""The likelihood of given texts: the log-probability of each token of them, read from the logits.

Other texts stand before and between them. All follow each other in one context, so the whole is computed once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assistant.engines.base import InvalidRequestError

MAX_TEXTS = 1024

_GUARDS = ("☺", "\n", ";", "a")
"""Written before a text that continues another, and taken off again."""

Tokenize = Callable[[str], list[int]]
"""Token ids of a text alone, without a beginning token; special tokens spelled in it are plain text."""


Span = tuple[int, int]
"""Of tokens: the first, and the one after the last."""


@dataclass(frozen=True)
class Reading:
    """Tokens of everything, and where the answers stand."""

    tokens: tuple[int, ...]
    spans: tuple[Span, ...]
    """Of each answer, in `tokens`."""


def assemble(tokenize: Tokenize, opening: Sequence[int], texts: Sequence[str], answers: Sequence[str]) -> Reading:
    """The tokens of each text followed by those of its answer, piece by piece, so that no token crosses a bound.

    Args:
        opening: the beginning token, where the model has one.

    Raises:
        InvalidRequestError: the tokenizer gives no boundary between two pieces, or nothing before the first answer.
    """
    tokens = [*opening, *tokenize(texts[0])]
    if not tokens:
        raise InvalidRequestError("the tokenizer gives no token before the first answer")
    spans = []
    for index, (text, answer) in enumerate(zip(texts, answers, strict=True)):
        if index and text:
            tokens += continued(tokenize, text)
        start = len(tokens)
        tokens += continued(tokenize, answer)
        spans.append((start, len(tokens)))
    return Reading(tuple(tokens), tuple(spans))


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


def check(texts: Sequence[str], answers: Sequence[str]) -> None:
    """
    Raises:
        InvalidRequestError: too many or too few of either, no first text, or an empty answer.
    """
    check_texts(texts)
    check_answers(texts, answers)


def check_texts(texts: Sequence[str]) -> None:
    """
    Raises:
        InvalidRequestError: as `check`.
    """
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise InvalidRequestError(f"1 to {MAX_TEXTS} texts can be read at once, not {len(texts)}")
    if not texts[0]:
        raise InvalidRequestError("the first text is empty, so nothing stands before the first answer")


def check_answers(texts: Sequence[str], answers: Sequence[str]) -> None:
    """
    Raises:
        InvalidRequestError: as `check`.
    """
    if len(answers) != len(texts):
        raise InvalidRequestError(f"as many answers as texts are needed: {len(texts)}, not {len(answers)}")
    if not all(answers):
        raise InvalidRequestError(f"answers[{[bool(answer) for answer in answers].index(False)}] is empty")


def check_room(reading: Reading, context_length: int) -> None:
    """
    Raises:
        InvalidRequestError: the context does not hold everything and one token more.
    """
    if len(reading.tokens) >= context_length:
        raise InvalidRequestError(
            f"the texts have {len(reading.tokens)} tokens and the context of this model holds {context_length}"
        )
