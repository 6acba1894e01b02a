"""What a change looks like: the difference of two texts, a run of added lines, a variable under a former name."""

import difflib
import random
import re
from collections.abc import Iterator, Sequence

from tuning.examples.mutate_edit import shared_ends

_GOES_ON = re.compile(r"\s*([})\]]|else\b|elif\b|except\b|finally\b|catch\b|case\b)")
"""A line that belongs to the statement above it though it is indented no more."""


def difference(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Unified markers and lines."""
    # Matching takes quadratic time, and most of a changed file is the same before and after the change.
    head, tail = shared_ends(old, new)
    yield from ((" ", line) for line in new[:head])
    one, two = old[head : len(old) - tail], new[head : len(new) - tail]
    for tag, low, high, start, end in difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from ((" ", line) for line in two[start:end])
            continue
        yield from (("-", line) for line in one[low:high])
        yield from (("+", line) for line in two[start:end])
    yield from ((" ", line) for line in new[len(new) - tail :])


def changes(old: Sequence[str], new: Sequence[str], top: int) -> tuple[set[int], dict[int, list[str]]]:
    """Added line numbers, and removed lines by the number of the new line after them; `top` numbers the first."""
    added: set[int] = set()
    removed: dict[int, list[str]] = {}
    number = top
    for marker, line in difference(old, new):
        if marker == "-":
            removed.setdefault(number, []).append(line)
            continue
        if marker == "+":
            added.add(number)
        number += 1
    return added, removed


def block(
    lines: Sequence[str], first: int, last: int, bounds: tuple[int, int], generator: random.Random
) -> tuple[int, int]:
    """A run of lines around [first, last] that begins and ends with whole statements, by their indentation; half-open.

    Lines count from 1. The run stays within `bounds` (both inclusive), except for [first, last] itself.
    """
    low = max(first - generator.randrange(5), min(bounds[0], first))
    high = min(last + generator.randrange(5), max(bounds[1], last))
    depth = min(_depth(line) for line in lines[low - 1 : high])
    while low > bounds[0] and (not lines[low - 1].strip() or _depth(lines[low - 1]) > depth):
        low -= 1
    while low < first and not lines[low - 1].strip():
        low += 1
    while high < min(bounds[1], len(lines)) and (_depth(lines[high]) > depth or _GOES_ON.match(lines[high])):
        high += 1
    while high > last and not lines[high - 1].strip():
        high -= 1
    return low, high + 1


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip()) if line.strip() else 10_000


def renamed(lines: Sequence[str], generator: random.Random) -> list[str] | None:
    """The lines with a local variable under a former name, None where no variable is found."""
    text = "\n".join(lines)
    assigned = re.findall(
        r"^\s*(?:const |let |var |auto |int |final )*([a-z_][a-z0-9_]{2,})(?:, \w+)* :?= ", text, re.M
    )
    looped = re.findall(r"^\s*for \(?(?:const |let |var |auto |int )?([a-z_][a-z0-9_]{2,})\b", text, re.MULTILINE)
    names = sorted(set(assigned + looped) - {"self", "this", "int", "let", "var", "auto", "const", "range"})
    if not names:
        return None
    name = generator.choice(names)
    former = [name[0], name[:3], name.split("_")[-1], name + "_", "tmp", "val", "item", "res"]
    free = [other for other in former if other != name and not re.search(rf"\b{re.escape(other)}\b", text)]
    keywords = {"in", "is", "as", "or", "if", "do", "for", "def", "del", "try", "not", "int", "new", "let", "var", "fn"}
    free = [other for other in free if other not in keywords and other.isidentifier()]
    if not free:
        return None
    other = generator.choice(free)
    return [re.sub(rf"(?<![\w.'\"]){re.escape(name)}\b(?!['\"])", other, line) for line in lines]
