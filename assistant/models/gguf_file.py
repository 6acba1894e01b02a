"""What a GGUF file says about itself: its metadata, its tokenizer and whether it is all there.

Read with bounds checks before any native code sees the file. Arrays are kept as raw bytes: a vocabulary has hundreds
of thousands of entries that nobody here needs as objects.
"""

import hashlib
import struct
from dataclasses import dataclass
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path

from assistant.errors import HoneError

MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_TEMPLATE_KEY = "tokenizer.chat_template"


@dataclass(frozen=True)
class GgufHeader:
    """The header of one GGUF file.

    `values` holds scalars and strings by key; `tokenizer` is the sha256 (hex) over every `tokenizer.*` entry but the
    chat template; `parameters` counts the elements of all tensors.
    """

    values: dict[str, int | float | bool | str]
    tokenizer: str
    parameters: int

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))

    @property
    def context_length(self) -> int:
        """Tokens the model was trained for; 0 when the file does not say."""
        length = self.values.get(f"{self.architecture}.context_length")
        return length if isinstance(length, int) else 0

    @property
    def chat_template(self) -> str:
        return str(self.values.get(_TEMPLATE_KEY, ""))

    @property
    def licence(self) -> str | None:
        licence = self.values.get("general.license")
        return str(licence) if licence else None


def read_header(path: Path) -> GgufHeader:
    """Reads and checks a GGUF file's header and that the file is long enough for its tensors.

    Raises:
        HoneError: not readable, not GGUF, an unknown version, damaged, or shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise HoneError(
                    f"{path} is not a GGUF file (its first bytes differ); give a .gguf model or a safetensors folder"
                )
            with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                return _parse(_Reader(data), len(data), path)
    except OSError as error:
        raise HoneError(f"cannot read {path}: {error.strerror}") from error
    except (struct.error, _DamagedError, UnicodeDecodeError, OverflowError) as error:
        raise HoneError(f"{path} is damaged or cut short inside its header; download it again") from error


class _DamagedError(Exception):
    pass


class _Reader:
    def __init__(self, data: mmap) -> None:
        self.data = data
        self.at = 4

    def number(self, code: str) -> int:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def skip(self, length: int) -> bytes:
        if length < 0 or self.at + length > len(self.data):
            raise _DamagedError
        piece = self.data[self.at : self.at + length]
        self.at += length
        return piece

    def text(self) -> str:
        return self.skip(self.number("Q")).decode("utf-8")


def _parse(reader: _Reader, size: int, path: Path) -> GgufHeader:
    version = reader.number("I")
    if version not in (2, 3):
        raise HoneError(f"{path} is GGUF version {version}; Hone reads versions 2 and 3")
    tensors, entries = reader.number("Q"), reader.number("Q")
    if tensors > size or entries > size:
        raise _DamagedError
    values: dict[str, int | float | bool | str] = {}
    raw: dict[str, bytes] = {}
    for _ in range(entries):
        key = reader.text()
        start = reader.at
        kind = reader.number("I")
        if kind == _STRING:
            values[key] = reader.text()
        elif kind == _ARRAY:
            _skip_array(reader)
        elif kind in _SCALARS:
            values[key] = reader.number(_SCALARS[kind])
        else:
            raise _DamagedError
        if key.startswith("tokenizer.") and key != _TEMPLATE_KEY:
            raw[key] = hashlib.sha256(reader.data[start : reader.at]).digest()
    needed, parameters = _measure_tensors(reader, tensors)
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise _DamagedError
    needed += -(-reader.at // alignment) * alignment
    if needed > size:
        raise HoneError(f"{path} is cut short: {size:,} bytes of {needed:,}; download it again")
    digest = hashlib.sha256()
    for key in sorted(raw):
        digest.update(key.encode() + b"\0" + raw[key])
    return GgufHeader(values, digest.hexdigest(), parameters)


def _skip_array(reader: _Reader) -> None:
    kind, count = reader.number("I"), reader.number("Q")
    if kind in _SCALARS:
        reader.skip(count * struct.calcsize("<" + _SCALARS[kind]))
    elif kind == _STRING:
        data, at, end = reader.data, reader.at, len(reader.data)
        unpack = struct.Struct("<Q").unpack_from
        for _ in range(count):
            at += 8 + unpack(data, at)[0]
            if at > end:
                raise _DamagedError
        reader.at = at
    else:
        raise _DamagedError


def _measure_tensors(reader: _Reader, count: int) -> tuple[int, int]:
    """The bytes that the data section must have, and the elements of all tensors."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    end = parameters = 0
    for _ in range(count):
        reader.text()
        dimensions = reader.number("I")
        if dimensions > 8:
            raise _DamagedError
        elements = prod(reader.number("Q") for _ in range(dimensions))
        kind, offset = reader.number("I"), reader.number("Q")
        try:
            block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            # A quantization newer than the `gguf` package: where it starts is all that can be checked.
            block, block_bytes = 1, 0
        end = max(end, offset + elements // block * block_bytes)
        parameters += elements
    return end, parameters
