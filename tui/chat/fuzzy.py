"""Which names a few typed letters mean: the letters in their order, best where they begin a word or stand together."""

import re
from collections.abc import Iterable

_SEPARATORS = re.compile(r"[/._\-\s]")


def ranked(query: str, names: Iterable[str], limit: int) -> list[str]:
    """The names that hold the letters of `query` in order (case does not matter), best first; ties as given."""
    wanted = query.lower()
    scored = ((score, index, name) for index, name in enumerate(names) if (score := _score(wanted, name)) is not None)
    return [name for _, _, name in sorted(scored)[:limit]]


def _score(wanted: str, name: str) -> tuple[int, int] | None:
    """Lower is better; None does not match. The last part of a path counts most, then shorter names."""
    lower = name.lower()
    last = lower.rstrip("/").rpartition("/")[2]
    depth = lower.count("/")
    if not wanted:
        return depth, len(name)
    if last.startswith(wanted):
        return 0, len(name)
    if lower.startswith(wanted):
        return 1, len(name)
    if wanted in last:
        boundary = any(part.startswith(wanted) for part in _SEPARATORS.split(last))
        return (2 if boundary else 3), len(name)
    if wanted in lower:
        return 4, len(name)
    if _holds_in_order(wanted, last):
        return 5, len(name)
    return (6, len(name)) if _holds_in_order(wanted, lower) else None


def _holds_in_order(wanted: str, text: str) -> bool:
    position = 0
    for letter in wanted:
        position = text.find(letter, position) + 1
        if not position:
            return False
    return True
