"""Where the verdicts of a change are read from the logits: the tokens that training shows, with ok at every line."""

import re
from dataclasses import dataclass
from typing import Any

from assistant import review_prompt
from assistant.errors import HoneError
from assistant.review_prompt import Hunk
from tuning.examples import encode
from tuning.examples.review import Written, tokenized

_GIVEN = re.compile(rf"(?<= =>)({review_prompt.FINE})(?=\n)")
"""A verdict above the one that is asked for."""


@dataclass(frozen=True)
class Asked:
    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    """Of the token that tells the verdict, for each of `hunk.changed`; what stands before it is what it depends on."""
    choices: tuple[int, int]
    """The tokens of fine and of wrong."""


def ask(hunk: Hunk, tokenizer: Any, end_token: int) -> Asked:
    """
    Raises:
        HoneError: the tokens of one verdict are the beginning of the other's.
    """
    text, spans = review_prompt.verdicts(hunk)
    example = tokenized(Written(text, spans), tokenizer, end_token)
    fine, wrong = (encode.continuation(tokenizer, verdict) for verdict in (review_prompt.FINE, review_prompt.WRONG))
    # A tokenizer may write the space that both begin with apart.
    shared = next((index for index, (one, two) in enumerate(zip(fine, wrong, strict=False)) if one != two), None)
    if shared is None:
        raise HoneError("this tokenizer does not tell the verdicts ok and wrong apart, so none can be read")
    positions = tuple(start + shared for start, _ in example.supervised[: len(spans)])
    return Asked(example.tokens, positions, (fine[shared], wrong[shared]))


def before(question: str, tokenizer: Any) -> list[int]:
    """Tokens of what stands before a verdict, cut where `tokenized` cuts: at the bounds of all verdicts.

    Args:
        question: the beginning of a text of `review_prompt.verdicts` with ok at every line.
    """
    head, *rest = _GIVEN.split(question)
    tokens = [*encode.opening(tokenizer), *encode.plain(tokenizer, [head])[0]]
    for text in rest:
        tokens += encode.continuation(tokenizer, text)
    return tokens
