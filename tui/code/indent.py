"""How a file is indented, and how far the next line is."""

import re
from collections.abc import Sequence
from itertools import islice

_OPENS = re.compile(r"[:({\[]\s*(#.*|//.*)?$")
_MOST_LINES = 2_000


def unit_of(lines: Sequence[str]) -> str:
    """One step of indentation: a tab, or two to eight spaces; four where the file does not tell."""
    steps: dict[int, int] = {}
    tabs = 0
    before = 0
    for line in islice(lines, _MOST_LINES):
        if not line.strip():
            continue
        tabs += line.startswith("\t")
        depth = len(line) - len(line.lstrip(" "))
        if 2 <= depth - before <= 8:
            steps[depth - before] = steps.get(depth - before, 0) + 1
        before = depth
    if tabs > sum(steps.values()):
        return "\t"
    return " " * max(steps, key=lambda step: (steps[step], -step)) if steps else " " * 4


def next_line(before: str, unit: str) -> str:
    """The indentation below a line that is broken after `before`."""
    own = before[: len(before) - len(before.lstrip())]
    return own + (unit if _OPENS.search(before) else "")


def dedented(line: str, unit: str) -> str:
    """The line one step further to the left."""
    if line.startswith(unit):
        return line[len(unit) :]
    blank = len(line) - len(line.lstrip(" "))
    return line[1:] if line.startswith("\t") else line[min(blank, len(unit)) :]
