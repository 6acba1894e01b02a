"""Plain examples: a document in windows that begin at line starts, each under its path header, as completion asks."""

import bisect
from dataclasses import dataclass, replace
from typing import Any

from assistant import prompts
from tuning.examples import encode

IGNORED = -100
"""Label of a token that is shown but not learnt, as torch's cross entropy names it."""


@dataclass(frozen=True)
class Example:
    tokens: tuple[int, ...]
    supervised: tuple[tuple[int, int], ...]
    """Half-open spans of `tokens` that are learnt, in order; the rest is context."""
    text_bytes: int = 0
    """UTF-8 bytes of the supervised text, the end token not counted."""

    @property
    def labels(self) -> tuple[int, ...]:
        """One per token, not shifted: the token where it is learnt, else `IGNORED`."""
        labels = [IGNORED] * len(self.tokens)
        for start, end in self.supervised:
            labels[start:end] = self.tokens[start:end]
        return tuple(labels)


@dataclass(frozen=True)
class Window:
    start: int
    """Character of the document."""
    text: str
    example: Example


def windows(path: str, text: str, tokenizer: Any, row_length: int, end_token: int) -> list[Example]:
    """The examples of `cut`."""
    return [window.example for window in cut(path, text, tokenizer, row_length, end_token)]


def cut(path: str, text: str, tokenizer: Any, row_length: int, end_token: int) -> list[Window]:
    """Cuts a document into examples of at most `row_length` tokens; the last ends with `end_token`.

    Every character of the text is in exactly one window. Windows end at line ends; only a line longer than a whole
    window is cut inside. A file whose path alone fills half a row gives none.
    """
    opening = encode.opening(tokenizer)
    (named,) = encode.plain(tokenizer, [prompts.header(path)])
    head = len(opening) + len(named)
    if head >= row_length // 2:
        return []
    pieces = _cut(text, _token_ends(tokenizer, text), row_length - 1 - head)
    encoded = encode.plain(tokenizer, [prompts.document(path, piece) for piece in pieces])
    found: list[Window] = []
    start = 0
    for index, (piece, tokens) in enumerate(zip(pieces, encoded, strict=True)):
        last = index == len(pieces) - 1
        if len(opening) + len(tokens) > row_length - 1:
            # Under its header a window can tokenize a little longer than it did inside its document.
            for half in _halves(piece):
                for inner in cut(path, half, tokenizer, row_length, end_token):
                    found.append(replace(_open(inner, end_token), start=start + inner.start))
                start += len(half)
            if last:
                found[-1] = _closed(found[-1], end_token)
            continue
        ids = (*opening, *tokens, end_token) if last else (*opening, *tokens)
        found.append(Window(start, piece, Example(ids, ((head, len(ids)),), len(piece.encode()))))
        start += len(piece)
    return found


def _open(window: Window, end_token: int) -> Window:
    """Without the end token, which the last window of every cut ends with."""
    example = window.example
    return replace(window, example=_of(example.tokens[:-1], example)) if example.tokens[-1] == end_token else window


def _closed(window: Window, end_token: int) -> Window:
    return replace(window, example=_of((*window.example.tokens, end_token), window.example))


def _of(tokens: tuple[int, ...], example: Example) -> Example:
    return Example(tokens, ((example.supervised[0][0], len(tokens)),), example.text_bytes)


def _halves(piece: str) -> tuple[str, str]:
    middle = len(piece) // 2
    at = piece.rfind("\n", 0, middle) + 1 or middle
    return piece[:at], piece[at:]


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
            at = len(text)
        else:
            furthest = token_ends[last - 1]
            at = text.rfind("\n", start, furthest) + 1 or max(furthest, start + 1)
        pieces.append(text[start:at])
        start = at
        first = bisect.bisect_right(token_ends, at)
    return pieces
