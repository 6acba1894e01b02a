"""A file of text as the editor holds it: read without losing a byte, written back atomically in its own encoding."""

import codecs
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from assistant import atomic
from assistant.errors import HoneError

MOST_BYTES = 32_000_000
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class Source:
    """What is on disk. The line ends are part of the text."""

    path: Path
    text: str = ""
    encoding: str = "utf-8"
    mark: bytes = b""
    """Byte-order mark."""
    digest: str | None = None
    """Of the bytes; None for a file that does not exist yet."""
    mode: int = 0o644


def read(path: Path) -> Source:
    """Reads text in UTF-8, in what its byte-order mark says, or else in Latin-1, which every byte fits.

    Raises:
        HoneError: no readable regular file, binary, or larger than MOST_BYTES.
    """
    try:
        if not path.exists():
            return Source(path)
        if not path.is_file():
            raise HoneError(f"{path} is no file that can be edited")
        if path.stat().st_size > MOST_BYTES:
            raise HoneError(f"{path} is larger than {MOST_BYTES // 1_000_000} MB; use another editor for it")
        data, mode = path.read_bytes(), path.stat().st_mode & 0o7777
    except OSError as error:
        raise HoneError(f"cannot read {path}: {error.strerror}") from error
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    body = data[len(mark) :]
    if not mark and b"\0" in body:
        raise HoneError(f"{path} is a binary file")
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        if mark:
            raise HoneError(f"{path} is not the {encoding} that its byte-order mark says") from None
        encoding = "latin-1"
        text = body.decode(encoding)
    return Source(path, text, encoding, mark, _digest(data), mode)


def digest(path: Path) -> str | None:
    """Of the bytes on disk now; None when there is no readable file."""
    try:
        return _digest(path.read_bytes())
    except OSError:
        return None


def write(source: Source, text: str) -> Source:
    """Replaces the file by `text` in the file's encoding and with its mode; a symbolic link stays one.

    Raises:
        HoneError: a character that the encoding lacks, or a file or folder that cannot be written.
    """
    try:
        data = source.mark + text.encode(source.encoding)
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        what = f"{text[error.start]!r} (line {line})"
        raise HoneError(f"{source.path} is {source.encoding}, which has no {what}; take it out to save") from error
    target = Path(os.path.realpath(source.path))
    try:
        if target.exists() and not os.access(target, os.W_OK):
            raise HoneError(f"{source.path} is read-only; make it writable to save")
        atomic.write_bytes(target, data, source.mode)
    except OSError as error:
        raise HoneError(f"cannot write {source.path}: {error.strerror}") from error
    return Source(source.path, text, source.encoding, source.mark, _digest(data), source.mode)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
