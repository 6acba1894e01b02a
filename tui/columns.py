"""Lines of a list with columns: as many as the terminal has room for."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content


@dataclass(frozen=True)
class Column:
    title: str
    width: int
    least: int
    """The list's width from which on it is shown."""
    right: bool = False


def fit(text: Content, width: int, right: bool = False) -> Content:
    """The text in exactly `width` cells."""
    cut = text.truncate(width, ellipsis=True)
    if right:
        return Content(" " * (width - cut.cell_length)) + cut
    return cut.pad_right(width - cut.cell_length)


def joined(cells: Sequence[Content], width: int) -> Content:
    """The cells as one line of at most `width` cells."""
    return Content("  ").join(cells).truncate(max(width, 1), ellipsis=True)
