"""Writes a GGUF anew from another one: metadata, tokenizer and chat template are copied, weights stored in other types.

So llama.cpp reads what is written as it reads the original.
"""

import errno
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assistant.errors import HoneError
from assistant.models.transfer import Progress

Kind = Literal["F16", "Q8_0", "Q4_1"]

_OUTSIDE_BLOCKS = ("token_embd.weight", "output.weight")
"""The embedding and the head, to which 4 bits do the most harm: Q4_1 files keep them in 8, as llama.cpp's own tool
keeps them in more bits than the rest (llama.cpp, llama-quant.cpp, llama_tensor_get_type)."""
_NOT_COPIED = (
    "GGUF.",
    "quantize.imatrix.",
    "split.",
    "general.name",
    "general.file_type",
    "general.quantization_version",
)


@dataclass(frozen=True)
class Written:
    types: dict[str, int]
    """Tensors by type."""
    fallbacks: tuple[str, ...]
    """Tensors whose rows the wanted type's blocks do not divide, stored as F16."""


def type_of(name: str, shape: tuple[int, ...], kind: Kind) -> str:
    """The type in which a tensor is stored: `F32`, or one of `Kind`.

    Args:
        shape: [..., row], numpy's order.
    """
    if len(shape) < 2 or name.endswith("_norm.weight"):
        return "F32"
    wanted = "Q8_0" if kind == "Q4_1" and name in _OUTSIDE_BLOCKS else kind
    return wanted if wanted == "F16" or shape[-1] % 32 == 0 else "F16"


def rewrite(
    base: Path,
    kind: Kind,
    target: Path,
    name: str,
    changed: Mapping[str, Callable[[Any], Any]] | None = None,
    progress: Progress | None = None,
) -> Written:
    """Writes `target`: the GGUF `base` in another type.

    A tensor that is not changed and already has its type is copied byte for byte.

    Args:
        name: the model's name in the file.
        changed: what becomes of a tensor's weights, by its name: fp32 of numpy's shape to the same.

    Raises:
        HoneError: the base is in several files, or of a type that cannot be read here.
    """
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType

    changed = changed or {}
    reader = GGUFReader(base)
    if "split.count" in reader.fields:
        raise HoneError(f"{base} is one of several files; join them with llama.cpp's gguf-split, then tune and export")
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    _copy_metadata(reader, writer)
    writer.add_name(name)
    file_types = {
        "F16": LlamaFileType.MOSTLY_F16,
        "Q8_0": LlamaFileType.MOSTLY_Q8_0,
        "Q4_1": LlamaFileType.MOSTLY_Q4_1,
    }
    writer.add_file_type(file_types[kind])
    if kind != "F16":
        writer.add_quantization_version(2)
    chosen = []
    for tensor in reader.tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
        stored = GGMLQuantizationType[type_of(tensor.name, shape, kind)]
        chosen.append((tensor, shape, stored))
        _announce(writer, tensor.name, shape, stored)
    total, done = sum(tensor.n_elements for tensor, _, _ in chosen), 0
    # A file that is still open when the disk is full could not be removed with its disk.
    with closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor, shape, stored in chosen:
            _write(writer, _stored(tensor, shape, stored, changed.get(tensor.name)))
            done += tensor.n_elements
            if progress:
                progress(f"writing {target.name}", done * target_bytes(kind) // 32, total * target_bytes(kind) // 32)
    return Written(
        types=dict(Counter(stored.name for _, _, stored in chosen)),
        fallbacks=tuple(
            tensor.name for tensor, shape, stored in chosen if kind != "F16" and stored == GGMLQuantizationType.F16
        ),
    )


def target_bytes(kind: Kind) -> int:
    """Bytes of 32 weights."""
    return {"F16": 64, "Q8_0": 34, "Q4_1": 20}[kind]


def _write(writer: Any, data: Any) -> None:
    try:
        writer.write_tensor_data(data)
    except OSError as error:
        # numpy reports a file that takes no more bytes without saying why; a full disk is why.
        raise error if error.errno is not None else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _copy_metadata(reader: Any, writer: Any) -> None:
    from gguf import GGUFValueType

    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith(_NOT_COPIED):
            continue
        if field.name == "general.alignment":
            writer.add_custom_alignment(int(field.contents()))
            continue
        kind = field.types[0]
        value = field.contents()
        if kind == GGUFValueType.ARRAY and not value:
            # The reader does not know the type of what is not there, and nothing is lost.
            continue
        writer.add_key_value(field.name, value, kind, sub_type=field.types[-1] if kind == GGUFValueType.ARRAY else None)


def _announce(writer: Any, name: str, shape: tuple[int, ...], stored: Any) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType
    from gguf.quants import quant_shape_to_byte_shape

    if stored == GGMLQuantizationType.F32:
        writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * int(np.prod(shape)))
    elif stored == GGMLQuantizationType.F16:
        writer.add_tensor_info(name, shape, np.dtype(np.float16), 2 * int(np.prod(shape)))
    else:
        in_bytes = quant_shape_to_byte_shape(shape, stored)
        writer.add_tensor_info(name, in_bytes, np.dtype(np.uint8), int(np.prod(in_bytes)), stored)


def _stored(tensor: Any, shape: tuple[int, ...], stored: Any, change: Callable[[Any], Any] | None) -> Any:
    """A tensor's data as it goes into the file."""
    import numpy as np
    from gguf.quants import dequantize, quantize

    if change is None and tensor.tensor_type == stored:
        return np.ascontiguousarray(tensor.data)
    try:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False).reshape(shape)
    except NotImplementedError as error:
        raise HoneError(f"{tensor.name} is stored as {tensor.tensor_type.name}, which cannot be read here") from error
    if change is not None:
        weight = change(weight)
    return np.ascontiguousarray(quantize(np.ascontiguousarray(weight), stored))
