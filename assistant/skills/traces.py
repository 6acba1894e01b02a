"""The places in the user's own code that an error report names: tracebacks, stack traces, compilers' messages."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import HoneError
from assistant.skills import confine, definitions
from assistant.skills.material import Material
from assistant.skills.mentions import Place, read_text, shown_path

MAX_PLACES = 3
_AROUND = 12
"""Lines above and below, where no definition holds the line."""
_LONGEST_DEFINITION = 120

_PATTERNS = (
    re.compile(r'^\s*File "(?P<path>[^"\n]+)", line (?P<line>\d+)', re.M),  # Python
    re.compile(r"^\s*at .*?\(?(?:file://)?(?P<path>[^\s()]+?):(?P<line>\d+):\d+\)?\s*$", re.M),  # JavaScript
    re.compile(r"^\s*at [\w.$<>]+\((?P<path>[\w$]+\.(?:java|kt|scala)):(?P<line>\d+)\)", re.M),  # Java
    re.compile(r"^\s*(?:-->\s*)?(?P<path>[^\s:()\"'<>|]+\.\w{1,5}):(?P<line>\d+)\b", re.M),  # compilers, pytest, Go
)


@dataclass(frozen=True)
class Frame:
    path: str
    line: int


def frames(report: str) -> list[Frame]:
    """The places that a report names, the one where it happened first, each once.

    Python prints the latest call last, everyone else first.
    """
    found: list[tuple[int, Frame]] = []
    for index, pattern in enumerate(_PATTERNS):
        for match in pattern.finditer(report):
            position = -match.start() if index == 0 else match.start()
            found.append((position, Frame(match["path"], int(match["line"]))))
    return list(dict.fromkeys(frame for _, frame in sorted(found, key=lambda one: one[0])))


def places(report: str, place: Place) -> list[Material]:
    """The definitions (else the lines) of this repository that a report names, where it happened first.

    Raises:
        HoneError: it names none of them.
    """
    materials: list[Material] = []
    for frame in frames(report):
        found = _shown(frame, place)
        if found is not None and not any(_overlap(found, one) for one in materials):
            materials.append(found)
        if len(materials) == MAX_PLACES:
            break
    if not materials:
        raise HoneError(
            "the error names no file of this folder; run it where the code is, or name the code: hone ask fix FILE"
        )
    return materials


def _shown(frame: Frame, place: Place) -> Material | None:
    for path in _candidates(frame.path, place):
        try:
            text = read_text(path, frame.path)
        except HoneError:
            continue
        name = shown_path(path, place)
        lines = text.split("\n")
        if not 1 <= frame.line <= len(lines):
            continue
        first, last = _around(name, text, frame.line, len(lines))
        title = f"{name}, lines {first}-{last} (the error is on line {frame.line})"
        return Material("file", title, "\n".join(lines[first - 1 : last]) + "\n", name, first)
    return None


def _candidates(written: str, place: Place) -> Iterator[Path]:
    """Files of the repository that a report may mean: paths in it may be of another machine or only the end of one."""
    root = place.root.resolve()
    for folder in (place.folder, place.root):
        try:
            path = confine.inside(written, folder, place.root)
        except HoneError:
            continue
        # Libraries inside of the folder are not the user's own code.
        own = path.is_relative_to(root) and not {"site-packages", "node_modules"} & set(path.relative_to(root).parts)
        if own and os.path.isfile(path):
            yield path


def _around(name: str, text: str, line: int, count: int) -> tuple[int, int]:
    holding = [one for one in definitions.in_text(name, text) if one.first <= line <= one.last]
    holding = [one for one in holding if one.last - one.first < _LONGEST_DEFINITION]
    if holding:
        inner = max(holding, key=lambda one: one.first)
        return inner.first, inner.last
    return max(1, line - _AROUND), min(count, line + _AROUND)


def _overlap(one: Material, other: Material) -> bool:
    return one.path == other.path and one.first <= other.last and other.first <= one.last
