"""Plain examples: a document in windows that begin at line starts, each under its path header, as completion asks."""

import bisect
from dataclasses import dataclass
from typing import Any

from assistant import prompts

IGNORED = -100
"""Label of a token that is shown but not learnt, as torch's cross entropy names it."""


@dataclass(frozen=True)
class Example:
    tokens: tuple[int, ...]
    supervised_from: int
    """Tokens before this index are context only (the path header)."""
    text_bytes: int = 0
    """UTF-8 bytes of the supervised text, the end token not counted."""

    @property
    def labels(self) -> tuple[int, ...]:
        return (IGNORED,) * self.supervised_from + self.tokens[self.supervised_from :]


def windows(path: str, text: str, tokenizer: Any, row_length: int, end_token: int) -> list[Example]:
    """Cuts a document into examples of at most `row_length` tokens; the last ends with `end_token`.

    Every character of the text is in exactly one window. Windows end at line ends; only a line longer than a whole
    window is cut inside. A file whose path alone fills half a row gives none.
    """
    (head,) = _encode(tokenizer, [prompts.header(path)])
    if len(head) >= row_length // 2:
        return []
    pieces = _cut(text, _token_ends(tokenizer, text), row_length - 1 - len(head))
    encoded = _encode(tokenizer, [prompts.document(path, piece) for piece in pieces])
    examples = []
    for index, (piece, tokens) in enumerate(zip(pieces, encoded, strict=True)):
        last = index == len(pieces) - 1
        if len(tokens) > row_length - 1:
            # Under its header a window can tokenize a little longer than it did inside its document.
            halves = _halves(piece)
            again = [windows(path, half, tokenizer, row_length, end_token) for half in halves]
            inner = [example for part in again for example in part]
            examples += [*(_without_end(example, end_token) for example in inner[:-1]), inner[-1]]
            if not last:
                examples[-1] = _without_end(examples[-1], end_token)
            continue
        examples.append(Example(tuple([*tokens, end_token] if last else tokens), len(head), len(piece.encode())))
    return examples


def _without_end(example: Example, end_token: int) -> Example:
    if example.tokens[-1] != end_token:
        return example
    return Example(example.tokens[:-1], example.supervised_from, example.text_bytes)


def _halves(piece: str) -> tuple[str, str]:
    middle = len(piece) // 2
    cut = piece.rfind("\n", 0, middle) + 1 or middle
    return piece[:cut], piece[cut:]


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of source texts; special tokens that a file happens to spell are plain text in it."""
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, split_special_tokens=True).input_ids
    return ids


def _token_ends(tokenizer: Any, text: str) -> list[int]:
    """The character position at which each token of the text ends."""
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    return [end for _, end in encoded.offset_mapping]


def _cut(text: str, token_ends: list[int], budget: int) -> list[str]:
    """Pieces of at most `budget` tokens (as counted inside the document) that end at line ends where they can."""
    pieces = []
    start = first = 0
    while start < len(text):
        last = first + budget
        if last >= len(token_ends):
            cut = len(text)
        else:
            furthest = token_ends[last - 1]
            cut = text.rfind("\n", start, furthest) + 1 or max(furthest, start + 1)
        pieces.append(text[start:cut])
        start = cut
        first = bisect.bisect_right(token_ends, cut)
    return pieces
