"""Where the lines of a change are read from the logits: the tokens that training shows, with each line as it stands."""

import re
from dataclasses import dataclass
from typing import Any

from assistant.review_prompt import Hunk
from assistant.review_rewriting import QUESTION, rewriting
from tuning.examples import encode
from tuning.examples.review import Written, tokenized

_LINE = re.compile(r"(?m)^(\d+)(?= )")


@dataclass(frozen=True)
class Asked:
    tokens: tuple[int, ...]
    lines: tuple[int, ...]
    """Indices in `Hunk.lines` of the lines that are written again."""
    spans: tuple[tuple[int, int], ...]
    """Of each of them, half-open, in `tokens`."""


def ask(hunk: Hunk, tokenizer: Any, end_token: int) -> Asked:
    """Both `lines` and `spans` are empty where the hunk has no line to judge."""
    made = rewriting(hunk)
    example = tokenized(Written(made.text, made.spans), tokenizer, end_token)
    # The end token, which is learnt with the last line, is no part of it.
    last = len(example.tokens) - 1
    spans = tuple((start, min(end, last)) for start, end in example.supervised[: len(made.spans)])
    return Asked(example.tokens, made.asked, spans)


def before(question: str, tokenizer: Any) -> list[int]:
    """Tokens of what stands before a line that is written again, cut where `tokenized` cuts: at the bounds of all.

    Args:
        question: the beginning of the text of a `Rewriting`, up to one of its spans.
    """
    head, found, rest = question.rpartition("\n" + QUESTION)
    # Numbers follow the question alone: in what stands above it, a number may be code.
    texts = _LINE.split(rest)
    opened = head + found + texts[0] + "".join(texts[1:2])
    tokens = [*encode.opening(tokenizer), *encode.plain(tokenizer, [opened])[0]]
    for text in texts[2:]:
        tokens += encode.continuation(tokenizer, text)
    return tokens
