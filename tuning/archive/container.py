"""The file that an archive is: an uncompressed tar of a few plain files with known names.

Uncompressed and read strictly, so it cannot be larger inside than outside, and nothing in it can name a place outside
of it: a header of any other kind than a plain file of a known name ends the reading. Format: POSIX.1-1988 ustar, see
IEEE Std 1003.1, pax, "ustar Interchange Format".
"""

import hashlib
import io
import tarfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from assistant.errors import HoneError

_BLOCK = 512
_PIECE = 4 << 20
_TRAILER = 10240
"""tarfile fills up to a record of so many bytes with zeros."""


@dataclass(frozen=True)
class Member:
    name: str
    offset: int
    size: int
    """Bytes, both."""


def write(path: Path, files: Mapping[str, Path | bytes]) -> None:
    """Writes the files in their order; the same files give the same bytes.

    Raises:
        OSError: the disk refuses.
        HoneError: a file is larger than such a tar can hold (8 GiB).
    """
    with path.open("wb") as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, source in files.items():
            info = tarfile.TarInfo(name)
            try:
                if isinstance(source, bytes):
                    info.size = len(source)
                    tar.addfile(info, io.BytesIO(source))
                else:
                    info.size = source.stat().st_size
                    with source.open("rb") as opened:
                        tar.addfile(info, opened)
            except ValueError as error:
                raise HoneError(f"{name} is too large for an archive: {error}") from error


def members(path: Path, known: Collection[str]) -> dict[str, Member]:
    """What the file holds, by name, in its order. Only headers are read.

    Args:
        known: the names that may be in it.

    Raises:
        HoneError: it is no such file, is cut short, or holds anything else.
        OSError: it cannot be read.
    """
    found: dict[str, Member] = {}
    if not path.is_file():
        raise HoneError(f"{path} is not a file")
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while (info := _header(file, at, path)) is not None:
            # Not isreg(), for which a sparse file is one too.
            if info.type != tarfile.REGTYPE or info.name not in known or info.name in found:
                raise HoneError(
                    f"{path} holds {info.name!r}, which is no part of an adapter's archive; nothing was taken from it"
                )
            start, end = at + _BLOCK, at + _BLOCK + info.size
            if info.size < 0 or end > size:
                raise HoneError(f"{path} is cut short or damaged at {info.name}; get it again")
            found[info.name] = Member(info.name, start, info.size)
            at = end + -info.size % _BLOCK
        if size - at > _TRAILER + _BLOCK or any(file.read(_TRAILER + _BLOCK)):
            raise HoneError(f"{path} goes on after its end; nothing was taken from it")
    return found


def read(path: Path, member: Member, most: int) -> bytes:
    """
    Raises:
        HoneError: it is longer than `most` bytes.
        OSError: it cannot be read.
    """
    if member.size > most:
        raise HoneError(f"{member.name} in {path} is {member.size:,} bytes long; at most {most:,} make sense")
    with path.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


def extract(path: Path, member: Member, target: Path) -> str:
    """Writes one file; returns its sha256 (hex).

    Raises:
        OSError: the archive cannot be read, or the disk refuses.
        HoneError: the archive became shorter.
    """
    digest, left = hashlib.sha256(), member.size
    with path.open("rb") as source, target.open("wb") as file:
        source.seek(member.offset)
        while left:
            piece = source.read(min(left, _PIECE))
            if not piece:
                raise HoneError(f"{path} became shorter while it was read")
            digest.update(piece)
            file.write(piece)
            left -= len(piece)
    return digest.hexdigest()


def _header(file: BinaryIO, at: int, path: Path) -> tarfile.TarInfo | None:
    """None at the end."""
    file.seek(at)
    block = file.read(_BLOCK)
    if block == bytes(_BLOCK):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        what = "an adapter's archive" if at == 0 else "whole"
        raise HoneError(f"{path} is not {what} ({error}); `hone models export NAME --to archive` makes one") from error
