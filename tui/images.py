"""Pictures in terminals that draw them: kitty's graphics protocol with Unicode placeholders, which kitty (0.28 on) and
Ghostty have.

A picture is sent once, unseen; it appears where placeholder characters in the colour of its number are written. They
are text to everything else, so what lies over a picture, scrolls it or draws a part of the screen anew needs no care.
Nothing is asked of the terminal: its answer could be taken for keys, and Konsole answers yes and draws no placeholders.
"""

import base64
import fcntl
import os
import struct
import termios
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from tuning.jobs import own_table

_TERMS = ("xterm-kitty", "xterm-ghostty")
_BETWEEN = ("TMUX", "STY", "ZELLIJ")
"""Set by what stands between the app and the terminal, and passes no pictures on."""
_CHUNK = 4096
_PLACEHOLDER = "\U0010eeee"
# The marks that number rows and columns, of kitty's rowcolumn-diacritics.txt.
_MARKS = (
    "305 30d-30e 310 312 33d-33f 346 34a-34c 350-352 357 35b 363-36f 483-487 592-595 597-599 59c-5a1 5a8-5a9 "
    "5ab-5ac 5af 5c4 610-617 657-65b 65d-65e 6d6-6dc 6df-6e2 6e4 6e7-6e8 6eb-6ec 730 732-733 735-736 73a 73d "
    "73f-741 743 745 747 749-74a 7eb-7f1 7f3 816-819 81b-823 825-827 829-82d 951 953-954 f82-f83 f86-f87 "
    "135d-135f 17dd 193a 1a17 1a75-1a7c 1b6b 1b6d-1b73 1cd0-1cd2 1cda-1cdb 1ce0 1dc0-1dc1 1dc3-1dc9 1dcb-1dcc "
    "1dd1-1de6 1dfe 20d0-20d1 20d4-20d7 20db-20dc 20e1 20e7 20e9 20f0 2cef-2cf1 2de0-2dff a66f a67c-a67d "
    "a6f0-a6f1 a8e0-a8f1 aab0 aab2-aab3 aab7-aab8 aabe-aabf aac1 fe20-fe26 10a0f 10a38 1d185-1d189 1d1aa-1d1ad "
    "1d242-1d244"
)


def _numbered(ranges: str) -> str:
    ends = [part.partition("-") for part in ranges.split()]
    return "".join(chr(code) for low, _, high in ends for code in range(int(low, 16), int(high or low, 16) + 1))


_DIACRITICS = _numbered(_MARKS)
MOST_CELLS = len(_DIACRITICS)
"""Rows, and columns, of a picture."""


@dataclass(frozen=True)
class AppSettings:
    """The table `[app]` of the user's configuration file."""

    images: bool | None = None
    """Draw curves as pictures; None: in terminals that are known to show them."""


@dataclass(frozen=True)
class Decision:
    cell: tuple[int, int] | None
    """Width and height of a cell in pixels; None: no pictures."""
    refused: str = ""
    """Why there are none although the user wants them."""


def load() -> AppSettings:
    """
    Raises:
        HoneError: as `own_table.load`.
    """
    return own_table.load("app", AppSettings, {}, {})


def decide(
    wanted: bool | None, environment: Mapping[str, str], cell: tuple[int, int] | None, colours: str | None
) -> Decision:
    """Whether to draw pictures.

    Args:
        cell: the size of a cell in pixels, where the terminal says it.
        colours: rich's name of the terminal's colours.
    """
    known = environment.get("TERM", "").startswith(_TERMS)
    if wanted is False or (wanted is None and not known):
        return Decision(None)
    between = next((name for name in _BETWEEN if environment.get(name)), None)
    if between is not None:
        why = "inside tmux, screen and zellij there are none"
    elif environment.get("NO_COLOR"):
        why = "NO_COLOR is set"
    elif colours != "truecolor":
        why = "the terminal has no 24-bit colours (COLORTERM=truecolor says that it has)"
    elif cell is None:
        why = "the terminal does not say how many pixels it has"
    else:
        return Decision(cell)
    return Decision(None, f"[app] images is true, but {why}: curves are drawn in text" if wanted else "")


def cell_size(terminal: int) -> tuple[int, int] | None:
    """Width and height in pixels, as the kernel has them from the terminal; None where it does not know.

    Args:
        terminal: the descriptor that is written to.
    """
    try:
        told = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    rows, columns, width, height = struct.unpack("HHHH", told)
    if not (rows and columns) or width < columns or height < rows:
        return None
    return width // columns, height // rows


def new_number() -> int:
    """Of a picture: 24 bits, as a colour has. It is even, and the odd one behind it is the same picture's too."""
    return int.from_bytes(os.urandom(3), "big") & 0xFFFFFE | 0x010000


def sent(number: int, pixels: bytes, width: int, height: int, columns: int, rows: int) -> str:
    """What gives the terminal a picture to show in so many cells; in place of an earlier one with this number.

    Args:
        pixels: red, green, blue and opacity of each, a byte each, row by row.
    """
    assert len(pixels) == 4 * width * height
    data = base64.standard_b64encode(zlib.compress(pixels, 1)).decode()
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    # q=2: the terminal answers nothing, not even errors.
    first = f"a=T,U=1,q=2,f=32,o=z,t=d,i={number},s={width},v={height},c={columns},r={rows},"
    parts = []
    for index, chunk in enumerate(chunks):
        keys = f"{'q=2,' if index else first}m={int(index < len(chunks) - 1)}"
        parts.append(f"\x1b_G{keys};{chunk}\x1b\\")
    return "".join(parts)


def forgotten(number: int) -> str:
    """What makes the terminal drop a picture."""
    return f"\x1b_Ga=d,d=I,q=2,i={number}\x1b\\"


def placeholders(columns: int, rows: int) -> list[str]:
    """The rows of text that a picture appears in; every cell says where it is, so that each can be drawn alone."""
    return [
        "".join(_PLACEHOLDER + _DIACRITICS[row] + _DIACRITICS[column] for column in range(columns))
        for row in range(rows)
    ]


def colour(number: int) -> str:
    """The foreground of its placeholders."""
    return f"#{number:06x}"
