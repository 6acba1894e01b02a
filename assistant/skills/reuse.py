"""Completions that were made before: found again at the same place, or further on where their text was typed."""

from collections import OrderedDict
from dataclasses import dataclass

_ENTRIES = 512
_BEFORE, _AFTER = 8_192, 2_048
"""Characters on both sides of the cursor that are compared; no prompt shows more."""


@dataclass(frozen=True)
class Place:
    """A cursor in a file, with the text around it."""

    path: str
    model: str
    before: str
    """The last `_BEFORE` characters before the cursor."""
    after: str
    """The first `_AFTER` characters after it."""
    offset: int
    """Characters before the cursor."""
    rest: int
    """Characters after it."""


def place(path: str, model: str, text: str, offset: int) -> Place:
    return Place(
        path, model, text[max(0, offset - _BEFORE) : offset], text[offset : offset + _AFTER], offset, len(text) - offset
    )


@dataclass(frozen=True)
class Reused:
    id: str
    """Of the completion that was made."""
    text: str
    """What is left of it to insert; empty when nothing was suggested there."""
    typed: int
    """Characters of it that are in the file already."""


class Completions:
    """The last completions, least recently used ones forgotten first. Not thread-safe."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[Place, str]] = OrderedDict()

    def add(self, identity: str, where: Place, text: str) -> None:
        self._entries[identity] = (where, text)
        while len(self._entries) > _ENTRIES:
            self._entries.popitem(last=False)

    def forget(self, identity: str) -> None:
        """Nothing is suggested at its place any more."""
        where, _ = self._entries.get(identity, (None, ""))
        if where is not None:
            self._entries[identity] = (where, "")

    def find(self, here: Place) -> Reused | None:
        """The completion whose text was typed farthest up to here; everything else around the cursor is as it was."""
        best: Reused | None = None
        for identity, (where, text) in reversed(self._entries.items()):
            typed = here.offset - where.offset
            if typed < 0 or (typed and typed >= len(text)) or (best is not None and typed <= best.typed):
                continue
            if continues(where, here, text[:typed]):
                best = Reused(identity, text[typed:], typed)
        if best is not None:
            self._entries.move_to_end(best.id)
        return best


def continues(earlier: Place, later: Place, typed: str) -> bool:
    """Whether `later` is `earlier` after `typed` was typed and nothing else."""
    return (
        later.path == earlier.path
        and later.model == earlier.model
        and later.offset == earlier.offset + len(typed)
        and later.rest == earlier.rest
        and later.after == earlier.after
        and (earlier.before + typed).endswith(later.before)
    )
