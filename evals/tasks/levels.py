"""Where completion is asked for: at a line, at a block, at the body of a function of held-out files.

A block is what a statement holds (a loop's body, a branch), a body what a declared function holds, both found by
tree-sitter. The cursor stands at the first statement, after a docstring; the answer is all that follows in the block.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from assistant import syntax as trees
from assistant.errors import UsageError
from assistant.languages import language_of
from evals.tasks import places
from evals.tasks.heldout import HeldOutFile
from evals.tasks.places import Level, Place
from tuning.examples import spans

LEVELS: tuple[Level, ...] = ("line", "block", "body")
MAX_TOKENS: dict[Level, int] = {"line": 48, "block": 160, "body": 320}
"""Of an answer. Code has three characters a token and more, so that the longest right answer fits."""
MAX_CHARACTERS: dict[Level, int] = {"line": places.MAX_CHARACTERS, "block": 400, "body": spans.MAX_CHARACTERS}

_BLOCKS = {"block", "statement_block", "compound_statement", "constructor_body"}
_FUNCTIONS = {
    "function_declaration",
    "generator_function_declaration",
    "method_definition",
    "method_declaration",
    "constructor_declaration",
    "function_item",
    "function_definition",
}
_NO_CODE_ABOVE = {"class_definition"}
"""What Python writes with a block too, and which is neither a statement's nor a function's."""
_COMMENTS = {"comment", "line_comment", "block_comment"}
_STUB = re.compile(
    r"pass|\.\.\.|return;?|raise NotImplementedError\b.*|todo!\(.*\);?|unimplemented!\(.*\);?|throw new .*", re.DOTALL
)
_HAS_WORD = re.compile(r"[^\W_]")


def parse(names: str) -> tuple[Level, ...]:
    """Reads levels as the command line has them: `line,body`.

    Raises:
        UsageError: there is no such level, or `line` is not among them.
    """
    asked = {name.strip() for name in names.split(",")}
    unknown = sorted(asked - {*LEVELS})
    if unknown:
        raise UsageError(f"there is no level {unknown[0]!r}; there are: {', '.join(LEVELS)}")
    if "line" not in asked:
        raise UsageError("the line is always completed; name it too, as in line,body")
    return tuple(level for level in LEVELS if level in asked)


def choose(files: Sequence[HeldOutFile], level: Level, limit: int, seed: int) -> list[Place]:
    """At most `limit` places of one level, in file and line order; a smaller limit gives a subset of a larger one.

    Lines are those of `places.choose`. A block or body qualifies when its language has a grammar, no syntax error is
    in it, it begins and ends on lines of its own, is no stub, has at most `MAX_CHARACTERS`, and no line of it is
    indented less than the first (text in a string). A block has no blank line inside, since completion ends at one;
    a body is not inside another function.
    """
    if level == "line":
        return places.choose(files, limit, seed)
    ranked = sorted(
        (hashlib.sha256(f"{seed}:{level}:{file.path}:{start}".encode()).digest(), index, (start, end))
        for index, file in enumerate(files)
        for start, end in eligible_spans(file.path, file.text, level)
    )
    chosen = sorted((index, span) for _, index, span in ranked[:limit])
    return [place(files[index].path, files[index].text, span, level) for index, span in chosen]


def eligible_spans(path: str, text: str, level: Level) -> list[spans.Span]:
    """The blocks or bodies of a file that qualify, as half-open character ranges, in order."""
    language = language_of(path)
    syntax = trees.parse(text, language.name) if language else None
    if syntax is None:
        return []
    return sorted(
        span
        for block in _blocks(syntax.root, level)
        if (span := _content(syntax, block)) is not None and _qualifies(text, span, level)
    )


def place(path: str, text: str, span: spans.Span, level: Level) -> Place:
    start, end = span
    line_start = text.rfind("\n", 0, start) + 1
    return Place(
        path=path,
        line=text.count("\n", 0, start) + 1,
        column=start - line_start + 1,
        prefix=text[:start],
        suffix=text[end:],
        expected=text[start:end],
        level=level,
    )


def _blocks(root: Any, level: Level) -> Iterator[Any]:
    pending: list[tuple[Any, bool]] = [(root, False)]
    while pending:
        node, inside = pending.pop()
        is_function = node.type in _FUNCTIONS
        for child in node.named_children:
            sound = child.type in _BLOCKS and not child.has_error
            if sound and _level_of(node) == level and (level == "block" or not inside):
                yield child
            pending.append((child, inside or is_function))


def _level_of(parent: Any) -> Level | None:
    if parent.type in _FUNCTIONS:
        return "body"
    return None if parent.type in _NO_CODE_ABOVE or parent.type in _BLOCKS else "block"


def _content(syntax: trees.Syntax, block: Any) -> spans.Span | None:
    """From a block's first statement to its end, braces left out; None when it does not stand on lines of its own."""
    statements = [child for child in block.named_children if child.type not in _COMMENTS]
    if statements and block.parent.type in _FUNCTIONS and _is_docstring(statements[0]):
        statements = statements[1:]
    if not statements:
        return None
    text, start = syntax.text, syntax.at(statements[0].start_byte)
    line_start = text.rfind("\n", 0, start) + 1
    if text[line_start:start].strip():
        return None
    end = syntax.at(block.end_byte)
    if syntax.data[block.start_byte : block.start_byte + 1] == b"{":
        closing = text[start : end - 1]
        if "\n" not in closing[len(closing.rstrip()) :]:
            return None
        return start, start + len(closing.rstrip())
    end = start + len(text[start:end].rstrip())
    newline = text.find("\n", end)
    # A comment at the end of the last line belongs to it.
    line = text[start:] if newline < 0 else text[start:newline]
    return start, start + len(line.rstrip())


def _is_docstring(statement: Any) -> bool:
    inner = statement.named_children
    return statement.type == "expression_statement" and len(inner) == 1 and inner[0].type == "string"


def _qualifies(text: str, span: spans.Span, level: Level) -> bool:
    start, end = span
    content = text[start:end]
    if len(content) > MAX_CHARACTERS[level] or not _HAS_WORD.search(content) or _STUB.fullmatch(content):
        return False
    indent = text[text.rfind("\n", 0, start) + 1 : start]
    lines = content.split("\n")[1:]
    if level == "block" and not all(line.strip() for line in lines):
        return False
    return all(line.startswith(indent) for line in lines if line.strip())
