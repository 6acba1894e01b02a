"""Where single-line completion is asked for: a deterministic choice of lines of held-out files."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from assistant.languages import language_of
from evals.tasks.heldout import HeldOutFile

MAX_CHARACTERS = 160
"""Longer lines are data; they would not fit the answer's tokens either."""
MIN_CHARACTERS = 3

Level = Literal["line", "block", "body"]

_IMPORT = re.compile(
    r"\s*(?:import\b|from\s+\S+\s+import\b|#\s*include\b|using\s|use\s|require\b|package\s|extern\s+crate\b|mod\s+\w+;|export\s+\*)"
)
_COMMENT = re.compile(r"\s*(?:/\*|\*/|\*\s|\*$|//|\"\"\"|'''|<!--)")
_HAS_WORD = re.compile(r"[^\W_]")


@dataclass(frozen=True)
class Place:
    path: str
    line: int
    """From 1."""
    column: int
    """From 1: the first non-blank character of the line."""
    prefix: str
    suffix: str
    """From the end of the line (or of what `expected` holds) on, its newline included."""
    expected: str
    """The line from `column` on, or the block's lines, without trailing blanks."""
    level: Level = "line"


def choose(files: Sequence[HeldOutFile], limit: int, seed: int) -> list[Place]:
    """At most `limit` places, in file and line order; a smaller limit gives a subset of a larger one.

    A line qualifies when it has a letter or digit, is no import and no comment, has `MIN_CHARACTERS` to
    `MAX_CHARACTERS` characters, and some code stands above it.
    """
    ranked = sorted(
        (hashlib.sha256(f"{seed}:{file.path}:{number}".encode()).digest(), index, number)
        for index, file in enumerate(files)
        for number in eligible_lines(file.path, file.text)
    )
    chosen = sorted((index, number) for _, index, number in ranked[:limit])
    return [place(files[index].path, files[index].text, number) for index, number in chosen]


def eligible_lines(path: str, text: str) -> list[int]:
    language = language_of(path)
    comment = language.comment if language else "#"
    numbers, started = [], False
    for number, line in enumerate(text.split("\n"), 1):
        code = line.strip()
        if not code:
            continue
        is_code = not code.startswith(comment) and not _COMMENT.match(line)
        if (
            started
            and is_code
            and MIN_CHARACTERS <= len(code) <= MAX_CHARACTERS
            and _HAS_WORD.search(code)
            and not _IMPORT.match(line)
        ):
            numbers.append(number)
        started = True
    return numbers


def place(path: str, text: str, number: int) -> Place:
    lines = text.split("\n")
    line = lines[number - 1]
    indent = line[: len(line) - len(line.lstrip())]
    before = "".join(above + "\n" for above in lines[: number - 1]) + indent
    below = "".join("\n" + under for under in lines[number:])
    return Place(path, number, len(indent) + 1, before, below, line.strip())
