"""Which part of a file fits the prompt: whole lines, and a start that stays put while the cursor moves on."""

from collections.abc import Callable, Sequence

TokenCounts = Callable[[Sequence[str]], list[int]]
"""Token counts of several texts, in order; one call to the tokenizer."""

# No tokenizer packs more characters into a token on average over a window; it bounds what is sent for counting.
_MAX_CHARACTERS_PER_TOKEN = 8


def fit_prefix(prefix: str, limit: int, count: TokenCounts, keep: int | None = None) -> str:
    """The end of `prefix` that fits `limit` tokens, cut at a line start.

    A cut is made at one of a few fixed lines of the file, not at the earliest that fits, so that prompts for nearby
    cursors begin alike and the engine's prompt cache answers most of the second one. A cursor line that is itself
    longer than the limit is cut inside (the last resort).

    Args:
        prefix: the file up to the cursor.
        limit: tokens.
        keep: where the window of a nearby cursor began, in characters; this one begins there too while it is a line
            start from which the prefix still fits.
    """
    if keep is not None and _fits_from(prefix, keep, limit, count):
        return prefix[keep:]
    offset = max(0, len(prefix) - limit * _MAX_CHARACTERS_PER_TOKEN)
    if offset:
        newline = prefix.find("\n", offset)
        offset = newline + 1 if newline >= 0 else offset
    lines = lines_of(prefix[offset:])
    # Each line costs a token at least, so no more lines than tokens can fit.
    offset += sum(map(len, lines[: -limit - 1]))
    lines = lines[-limit - 1 :]
    costs = count(lines)
    start, used = len(lines), 0
    while start > 0 and used + costs[start - 1] <= limit:
        start -= 1
        used += costs[start]
    if start == 0:
        return prefix[offset:]
    if start == len(lines):
        return _fit_inside(lines[-1], limit, count)
    position = offset + sum(len(line) for line in lines[:start])
    return prefix[_steady(prefix, position, step=limit) :]


def fit_suffix(suffix: str, limit: int, count: TokenCounts) -> str:
    """The beginning of `suffix` that fits `limit` tokens, whole lines (the first one may be the rest of a line)."""
    lines = lines_of(suffix[: limit * _MAX_CHARACTERS_PER_TOKEN])
    if len(suffix) > limit * _MAX_CHARACTERS_PER_TOKEN:
        lines = lines[:-1]
    kept, used = 0, 0
    for cost in count(lines[:limit]):
        if used + cost > limit:
            break
        kept, used = kept + 1, used + cost
    return "".join(lines[:kept])


def _fits_from(prefix: str, start: int, limit: int, count: TokenCounts) -> bool:
    if start > len(prefix) or (start and prefix[start - 1] != "\n"):
        return False
    if len(prefix) - start > limit * _MAX_CHARACTERS_PER_TOKEN:
        return False
    return sum(count(lines_of(prefix[start:]))) <= limit


def _steady(prefix: str, position: int, step: int) -> int:
    """The first line start, not before `position`, that opens a stretch of `step` characters of the file.

    `position` itself when no later line start is left before the cursor's line.
    """
    last = prefix.rfind("\n") + 1
    boundary = -(-position // step) * step
    newline = prefix.find("\n", max(boundary - 1, 0))
    steady = newline + 1 if newline >= 0 else position
    # A window that would keep less than half of what fits is worth more than the cache.
    return steady if position <= steady <= last and (len(prefix) - steady) * 2 >= len(prefix) - position else position


def _fit_inside(line: str, limit: int, count: TokenCounts) -> str:
    """The longest tried end of one over-long line that fits."""
    sizes = [limit * share // 8 for share in (_MAX_CHARACTERS_PER_TOKEN * 4, 24, 16, 12, 8, 4)]
    ends = [line[-size:] for size in sizes if size > 0]
    for end, cost in zip(ends, count(ends), strict=True):
        if cost <= limit:
            return end
    return line[-1:]


def lines_of(text: str) -> list[str]:
    """Lines with their ends; only a newline ends a line, as in an editor."""
    lines = text.split("\n")
    closed = [line + "\n" for line in lines[:-1]]
    return [*closed, lines[-1]] if lines[-1] else closed
