"""A line of fields, most of which may go when the terminal is narrow."""

from collections.abc import Sequence

from textual.content import Content

Field = tuple[int, Content]
"""Its rank and what it says: the higher the rank, the sooner it goes."""


def fitted(fields: Sequence[Field], width: int) -> Content:
    """The fields side by side in at most `width` cells: those of the highest rank are left out first."""
    kept = [field for field in fields if field[1]]
    while len(kept) > 1 and _joined(kept).cell_length > width:
        kept.remove(max(kept, key=lambda field: field[0]))
    return _joined(kept).truncate(max(width, 1), ellipsis=True)


def _joined(fields: Sequence[Field]) -> Content:
    return Content(" │ ").stylize("$text-disabled").join([content for _, content in fields])
