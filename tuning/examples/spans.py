"""Where to cut a text for infilling: characters, whole lines, or what a syntax tree says is written at once."""

import re
from random import Random
from typing import Literal

from assistant.syntax import Syntax

Kind = Literal["characters", "lines", "node"]
Span = tuple[int, int]
"""Half-open, in characters of the document."""

MAX_CHARACTERS = 800
"""Of a middle: about 200 tokens of code. Longer answers are not asked of a completion."""
MAX_LINES = 12
_TRIES = 8

# The grammars name their nodes alike: by the ending, or by one of these words.
_WRITTEN_AT_ONCE = re.compile(
    r".*_(?:statement|expression|declaration|definition|item|arm|clause|operator|comprehension|literal|arguments"
    r"|parameters|list|body|block|invocation|assignment|initializer|declarator|spec|case)"
    r"|block|arguments|parameters|call|assignment|list|tuple|dictionary|set|object|array|lambda|pair|string|subscript"
    r"|attribute|decorator|decorated_definition|await|elements|statement_block|body"
)
_HAS_WORD = re.compile(r"[^\W_]")


def choose(
    text: str,
    within: Span,
    syntax: Syntax | None,
    random: Random,
    aligned: float = 0.5,
    max_characters: int = MAX_CHARACTERS,
) -> Span | None:
    """A span of `text` inside `within` that is neither empty nor blank; None when no place was found.

    Args:
        syntax: of the whole text, so that a window's edges are no syntax errors.
        aligned: share of the spans that follow lines or syntax nodes, half and half; the others are any characters.
        max_characters: of the span, at most.
    """
    kind: Kind = "characters"
    if random.random() < aligned:
        kind = "node" if syntax is not None and random.random() < 0.5 else "lines"
    if kind == "node" and syntax is not None:
        node = node_span(syntax, within, random, max_characters)
        if node is not None:
            return node
        kind = "lines"
    if kind == "lines":
        lines = line_span(text, within, random, max_characters)
        if lines is not None:
            return lines
    return character_span(text, within, random, max_characters)


def character_span(text: str, within: Span, random: Random, max_characters: int = MAX_CHARACTERS) -> Span | None:
    """Any characters: a start and a length, each uniform."""
    start, end = within
    for _ in range(_TRIES):
        if start >= end:
            return None
        first = random.randrange(start, end)
        last = first + random.randint(1, min(max_characters, end - first))
        if not _blank(text, first, last):
            return first, last
    return None


def line_span(text: str, within: Span, random: Random, max_characters: int = MAX_CHARACTERS) -> Span | None:
    """Whole lines, from the beginning of one or from its first character after the indentation, to the end of the same
    or a later line without its newline: where a cursor stands, and where a completion ends.

    The number of lines is uniform between 1 and `MAX_LINES`.
    """
    start, end = within
    for _ in range(_TRIES):
        if start >= end:
            return None
        at = random.randrange(start, end)
        first = max(text.rfind("\n", start, at) + 1, start)
        last = _line_end(text, at, end)
        for _ in range(random.randint(1, MAX_LINES) - 1):
            further = _line_end(text, last + 1, end)
            if last + 1 >= end or further - first > max_characters:
                break
            last = further
        if random.random() < 0.5:
            first += len(text[first:last]) - len(text[first:last].lstrip(" \t"))
        if last - first <= max_characters and not _blank(text, first, last):
            return first, last
    return None


def node_span(syntax: Syntax, within: Span, random: Random, max_characters: int = MAX_CHARACTERS) -> Span | None:
    """A syntax node that a person writes at once: an expression, a statement, arguments, a block, a body.

    A place is drawn uniformly, then one of the nodes around it that have no syntax error and fit.
    """
    start, end = within
    for _ in range(_TRIES):
        if start >= end:
            return None
        byte = syntax.byte(random.randrange(start, end))
        node = syntax.root.named_descendant_for_byte_range(byte, byte)
        fitting: list[Span] = []
        while node is not None and node.end_byte - node.start_byte <= 4 * max_characters:
            if _WRITTEN_AT_ONCE.fullmatch(node.type) and not node.has_error:
                first, last = _trimmed(syntax.text, syntax.at(node.start_byte), syntax.at(node.end_byte))
                inside = start <= first and last <= end
                if inside and last - first <= max_characters and _HAS_WORD.search(syntax.text, first, last):
                    fitting.append((first, last))
            node = node.parent
        if fitting:
            return random.choice(sorted(set(fitting)))
    return None


def _trimmed(text: str, start: int, end: int) -> Span:
    """Without blanks at the ends: some grammars count a newline as part of a node."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def _line_end(text: str, at: int, limit: int) -> int:
    newline = text.find("\n", at, limit)
    return newline if newline >= 0 else limit


def _blank(text: str, start: int, end: int) -> bool:
    return not text[start:end].strip()
