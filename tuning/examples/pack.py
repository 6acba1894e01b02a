"""Packs examples into rows of a fixed length, best fit decreasing."""

import bisect
from collections.abc import Sequence

from tuning.examples.plain import Example

Row = tuple[Example, ...]


def pack(examples: Sequence[Example], row_length: int) -> list[Row]:
    """Fills rows of at most `row_length` tokens; no example is cut.

    Best fit decreasing: each example, longest first, goes into the fullest row that still takes it. The order is
    deterministic. Examples longer than a row are a caller's error.

    Raises:
        ValueError: an example is longer than `row_length`.
    """
    rows: list[list[Example]] = []
    # Sorted (free, row) pairs: the first entry with enough room is the tightest fit.
    room: list[tuple[int, int]] = []
    for example in sorted(examples, key=lambda example: (-len(example.tokens), example.tokens)):
        size = len(example.tokens)
        if size > row_length:
            raise ValueError(f"an example of {size} tokens does not fit a row of {row_length}")
        found = bisect.bisect_left(room, (size, -1))
        if found < len(room):
            free, index = room.pop(found)
        else:
            free, index = row_length, len(rows)
            rows.append([])
        rows[index].append(example)
        bisect.insort(room, (free - size, index))
    return [tuple(row) for row in rows]
