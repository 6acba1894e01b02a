"""Whether an answer has run into a loop: small models at low temperatures may write the same until their limit."""

from collections.abc import Callable

LEAST_REPEATS = 4
LEAST_CHARACTERS = 600
"""Of all the repeats together: tables, rules and lists of equal numbers are repetitive too, and shorter."""
_TAIL = 3_000
_CHECKED_EVERY = 200
"""Characters; finding a loop takes about a millisecond."""


def looping(text: str) -> bool:
    """Whether the end of `text` is one piece `LEAST_REPEATS` times in a row or more, at least `LEAST_CHARACTERS`."""
    tail = text[: -_TAIL - 1 : -1]
    # Knuth, Morris and Pratt's failure function of the reversed end: `at + 1 - borders[at]` is the smallest period of
    # its first `at + 1` characters.
    borders = [0] * len(tail)
    border = 0
    for at in range(1, len(tail)):
        while border and tail[at] != tail[border]:
            border = borders[border - 1]
        border += tail[at] == tail[border]
        borders[at] = border
        length = at + 1
        if length >= LEAST_CHARACTERS and (length - border) * LEAST_REPEATS <= length:
            return True
    return False


def watch() -> Callable[[str], bool]:
    """A function that takes an answer piece by piece and says whether it has run into a loop."""
    text, unchecked = "", 0

    def add(piece: str) -> bool:
        nonlocal text, unchecked
        text = text[-_TAIL:] + piece
        unchecked += len(piece)
        if unchecked < _CHECKED_EVERY:
            return False
        unchecked = 0
        return looping(text)

    return add
