"""Measures of one completion against the code that was really there."""

import keyword
import re
from collections.abc import Sequence

from assistant.languages import language_of
from assistant.syntax import parse

_WORD = re.compile(r"[^\W\d]\w*")
_PYTHON_WORDS = frozenset(keyword.kwlist)
"""A keyword whose statement is cut short may be read as a name."""


def levenshtein(left: str, right: str) -> int:
    """The fewest single-character insertions, deletions and substitutions that turn one text into the other.

    A column of the table is held as two bit vectors (Myers, 1999, in the form of Hyyrö, 2003), so that bodies of
    functions take a millisecond.
    """
    if not left or not right:
        return len(left) + len(right)
    positions: dict[str, int] = {}
    for number, character in enumerate(left):
        positions[character] = positions.get(character, 0) | 1 << number
    every, last = (1 << len(left)) - 1, 1 << (len(left) - 1)
    higher, lower, distance = every, 0, len(left)
    for character in right:
        equal = positions.get(character, 0)
        vertical = equal | lower
        horizontal = (((equal & higher) + higher) ^ higher) | equal
        up = lower | ~(horizontal | higher) & every
        down = higher & horizontal
        if up & last:
            distance += 1
        elif down & last:
            distance -= 1
        up, down = (up << 1 | 1) & every, (down << 1) & every
        higher = down | ~(vertical | up) & every
        lower = up & vertical
    return distance


def edit_similarity(answer: str, expected: str) -> float:
    """1 - levenshtein / length of the longer one, in [0, 1]; blanks at line ends do not count, empty texts give 1."""
    answer, expected = _without_trailing_blanks(answer), _without_trailing_blanks(expected)
    longest = max(len(answer), len(expected))
    return 1.0 - levenshtein(answer, expected) / longest if longest else 1.0


def exact_match(answer: str, expected: str) -> bool:
    """Equal but for blanks at line ends and at the end."""
    return _without_trailing_blanks(answer) == _without_trailing_blanks(expected)


def identifiers(text: str, path: str) -> frozenset[str]:
    """The names in a piece of a file: no keywords, nothing in strings and comments.

    By the grammar of the path's language, which reads incomplete code too; every word where there is no grammar.
    """
    language = language_of(path)
    syntax = parse(text, language.name) if language else None
    if syntax is None:
        return frozenset(_WORD.findall(text))
    found: set[str] = set()
    pending = [syntax.root]
    while pending:
        node = pending.pop()
        if node.type.endswith("identifier") and not node.named_child_count:
            found.add(node.text.decode())
        pending += node.named_children
    return frozenset(found) - (_PYTHON_WORDS if language and language.name == "python" else frozenset())


def identifier_f1(answer: frozenset[str], expected: frozenset[str]) -> float | None:
    """The harmonic mean of precision and recall of the distinct names, as CrossCodeEval (Ding et al., 2023) has it.

    None when the right answer names nothing.
    """
    return 2 * len(answer & expected) / (len(answer) + len(expected)) if expected else None


def stopped(finish_reason: str) -> bool:
    """Whether a completion ended where code does, by the model or by a filter: not at the token limit, and not since it
    went round in circles."""
    return finish_reason not in ("length", "repetition")


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value with at least `share` (0 to 1) of the values at or below it.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a percentile needs at least one value")
    ordered = sorted(values)
    rank = -(-len(ordered) * round(share * 10_000) // 10_000)
    return ordered[max(rank, 1) - 1]


def _without_trailing_blanks(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip()
