"""Highlights code piece by piece: what a piece shows no longer depends on what comes after it."""

import re
from itertools import islice

from textual.content import Content
from textual.highlight import highlight

PIECE_LINES = 30
_LONGEST_PIECE = 120
_LONGEST_LINE = 2_000


def highlighted(code: str, language: str) -> Content:
    """Code in the theme's colours; an unknown language, or a line too long to lex in time, stays plain."""
    body = code.removesuffix("\n")
    if not language or any(len(line) > _LONGEST_LINE for line in body.split("\n")):
        return Content(body)
    return highlight(body, language=language)


def piece_end(code: str, language: str) -> int:
    """Where the first piece of code that is still growing can be cut off for good, as an offset; 0 for not yet.

    A cut never falls inside a string or comment of several lines, except in one longer than any piece may be.
    """
    ends = [match.end() for match in islice(re.finditer("\n", code), _LONGEST_PIECE)]
    if len(ends) < PIECE_LINES or ends[PIECE_LINES - 1] == len(code):
        return 0
    inside = _line_starts_inside_tokens(code[: ends[-1]], language)
    outside = [index for index, end in enumerate(ends) if end not in inside and index >= PIECE_LINES // 2]
    early = [index for index in outside if index < PIECE_LINES]
    if early or outside:
        return ends[early[-1] if early else outside[0]]
    return ends[-1] if len(ends) == _LONGEST_PIECE else 0


def _line_starts_inside_tokens(code: str, language: str) -> set[int]:
    from pygments.lexers import get_lexer_by_name
    from pygments.token import Comment, String
    from pygments.util import ClassNotFound

    if not language:
        return set()
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return set()
    inside: set[int] = set()
    run_end = -1  # a string comes as several tokens in a row: quotes, escapes and text between
    for start, kind, text in lexer.get_tokens_unprocessed(code):
        if kind in String or kind in Comment.Multiline:
            if start == run_end:
                inside.add(start)
            run_end = start + len(text)
            position = text.find("\n")
            while 0 <= position < len(text) - 1:
                inside.add(start + position + 1)
                position = text.find("\n", position + 1)
        else:
            run_end = -1
    return inside
