"""What the locale says of characters: a stream may lack those that Hone prints."""

import codecs
import io
from typing import TextIO

_ESCAPES = "hone.escapes"


def is_utf8(stream: TextIO | None) -> bool:
    return codecs.lookup(getattr(stream, "encoding", None) or "utf-8").name == "utf-8"


def tolerate(*streams: TextIO | None) -> None:
    """From now on a character that a stream's encoding lacks is written as JSON writes it, `\\u2192`, and no error."""
    codecs.register_error(_ESCAPES, _escaped)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=_ESCAPES)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end
