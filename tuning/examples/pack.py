"""Packs examples into rows of a fixed length, best fit decreasing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuning.examples.plain import Example

if TYPE_CHECKING:
    import numpy as np

Row = tuple[Example, ...]


def pack(examples: Sequence[Example], row_length: int) -> list[Row]:
    """`pack_lengths` of examples in memory."""
    import numpy as np

    lengths = np.fromiter((len(example.tokens) for example in examples), np.int64, len(examples))
    return [tuple(examples[index] for index in row) for row in pack_lengths(lengths, row_length)]


def pack_lengths(lengths: "np.ndarray", row_length: int) -> list[list[int]]:
    """Fills rows of at most `row_length` tokens; no example is cut.

    Best fit decreasing: each example, longest first and then in the order given, goes into a fullest row that still
    takes it. Time grows with the number of examples alone: the free rows lie in one stack per size of their room, and
    the bits of one integer say which stacks hold any.

    Args:
        lengths: tokens of each example, integers of shape (examples,).

    Returns:
        The indices of the examples of each row, in the order in which rows were opened.

    Raises:
        ValueError: an example is longer than `row_length`.
    """
    import numpy as np

    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    if len(order) and lengths[order[0]] > row_length:
        raise ValueError(f"an example of {lengths[order[0]]} tokens does not fit a row of {row_length}")
    rows: list[list[int]] = []
    stacks: list[list[int]] = [[] for _ in range(row_length + 1)]
    filled = 0
    for index, size in zip(order.tolist(), lengths[order].tolist(), strict=True):
        fits = filled >> size
        if fits:
            free = size + (fits & -fits).bit_length() - 1
            row = stacks[free].pop()
            if not stacks[free]:
                filled ^= 1 << free
        else:
            free, row = row_length, len(rows)
            rows.append([])
        rows[row].append(index)
        left = free - size
        stacks[left].append(row)
        filled |= 1 << left
    return rows
