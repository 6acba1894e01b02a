"""What a prompt shows to the model besides the words: parts of files, listings, diffs; and how much of it fits."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from assistant.languages import language_of
from assistant.skills import window

Kind = Literal["file", "folder", "diff", "symbol", "input"]
TokenCounts = Callable[[Sequence[str]], list[int]]
"""Token counts of several texts, in order."""
FENCE_TOKENS = 16
"""What the fence around a material takes, at most."""
NOTE_TOKENS = 32
"""What the note on what was cut takes, at most: some tokenizers write every digit as a token."""


@dataclass(frozen=True)
class Material:
    """A text that is shown to the model, with where it comes from."""

    kind: Kind
    title: str
    """As the model and the user see it: `src/app.py, lines 10-40`."""
    text: str
    path: str = ""
    """Of a part of a file: from the repository's root, or absolute."""
    first: int = 0
    """The first line shown, from 1; 0 when it is no part of a file."""
    note: str = ""
    """What was left out of it, and why."""

    @property
    def last(self) -> int:
        """The last line shown; 0 when it is no part of a file."""
        return self.first + max(len(self.text.splitlines()), 1) - 1 if self.first else 0

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if value}


def from_json(value: object) -> Material | None:
    """What `as_json` wrote, None when it is something else."""
    if not isinstance(value, Mapping) or value.get("kind") not in ("file", "folder", "diff", "symbol", "input"):
        return None
    texts = {key: str(value.get(key, "")) for key in ("title", "text", "path", "note")}
    first = value.get("first", 0)
    return Material(value["kind"], **texts, first=first if isinstance(first, int) else 0)


def fenced(text: str, language: str = "") -> str:
    """A code block that nothing in the text can close."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"


def rendered(prompt: str, materials: Sequence[Material]) -> str:
    """The message that the model gets: the prompt, then each material under its title."""
    parts = [prompt.strip("\n")] if prompt.strip() else []
    for material in materials:
        title = f"{material.title}:\n" if material.title else ""
        note = f"\n({material.note})" if material.note else ""
        parts.append(f"{title}{fenced(material.text, _language(material))}{note}")
    return "\n\n".join(parts)


def _language(material: Material) -> str:
    if material.kind == "diff":
        return "diff"
    language = language_of(material.path) if material.path and material.kind != "folder" else None
    return language.name if language else ""


def shares(costs: Sequence[int], budget: int) -> list[int]:
    """How many tokens each of several texts gets: the short ones all they need, the long ones equal parts of the rest.

    Their sum is at most `budget` (or 0), and none is over its cost.
    """
    left = max(budget, 0)
    granted = [0] * len(costs)
    for place, index in enumerate(sorted(range(len(costs)), key=lambda i: (costs[i], i))):
        granted[index] = min(costs[index], left // (len(costs) - place))
        left -= granted[index]
    return granted


def fit(materials: Sequence[Material], budget: int, count: TokenCounts) -> list[Material]:
    """The materials cut to `budget` tokens together, at whole lines; the note of one that was cut says so."""
    if not materials:
        return []
    around = [cost + FENCE_TOKENS for cost in count([f"{one.title} {one.note}" for one in materials])]
    costs = [cost + extra for cost, extra in zip(count([one.text for one in materials]), around, strict=True)]
    return [
        one if granted >= cost else _cut(one, granted - extra - NOTE_TOKENS, count)
        for one, cost, extra, granted in zip(materials, costs, around, shares(costs, budget), strict=True)
    ]


def _cut(material: Material, limit: int, count: TokenCounts) -> Material:
    if not material.text:
        return material
    text = window.fit_suffix(material.text, limit, count) if limit > 0 else ""
    left_out = material.text[len(text) :].count("\n") + (not material.text.endswith("\n"))
    what = f"lines {material.first + text.count(chr(10))}-{material.last}" if material.first else f"{left_out} lines"
    note = f"{what} left out for lack of room"
    return replace(material, text=text, note=f"{material.note}; {note}" if material.note else note)
