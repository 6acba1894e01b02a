"""A base GGUF with an adapter merged into its weights, written in F16, Q8_0 or Q4_1.

The base's own GGUF is the template: metadata, tokenizer and chat template are copied, so llama.cpp reads the merged
model as it reads the base.
"""

import errno
import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assistant.errors import HoneError
from assistant.models.transfer import Progress
from tuning.export import Layout, layout_of
from tuning.formats.adapter import LoraPair, merged_weight, read_pairs

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
    """The type in which a tensor of the merged file is stored: `F32`, or one of `Kind`.

    Args:
        shape: [..., row], numpy's order.
    """
    if len(shape) < 2 or name.endswith("_norm.weight"):
        return "F32"
    wanted = "Q8_0" if kind == "Q4_1" and name in _OUTSIDE_BLOCKS else kind
    return wanted if wanted == "F16" or shape[-1] % 32 == 0 else "F16"


def write_merged(
    base: Path,
    pairs: Mapping[str, LoraPair],
    layout: Layout,
    kind: Kind,
    target: Path,
    name: str,
    progress: Progress | None = None,
) -> Written:
    """Writes `target`: the GGUF `base` with `pairs` merged into it.

    A tensor that is not adapted and already has its type is copied byte for byte.

    Args:
        pairs: by the name of the GGUF's tensor (`blk.0.attn_q.weight`).
        name: the model's name in the file.

    Raises:
        HoneError: the base is of another architecture, in several files, or of a type that cannot be read here, or
            lacks a tensor that the adapter changes.
    """
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType

    reader = GGUFReader(base)
    architecture = reader.fields["general.architecture"].contents()
    if architecture != layout.architecture:
        raise HoneError(f"{base} is of architecture {architecture}, its tuning form of {layout.architecture}")
    if "split.count" in reader.fields:
        raise HoneError(f"{base} is one of several files; join them with llama.cpp's gguf-split, then tune and export")
    missing = sorted(set(pairs) - {tensor.name for tensor in reader.tensors})
    if missing:
        raise HoneError(f"{base} has no {missing[0]}, which the adapter changes, so it cannot be merged; train without")

    writer = GGUFWriter(target, architecture)
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
            _write(writer, _stored(tensor, shape, stored, pairs.get(tensor.name), layout))
            done += tensor.n_elements
            if progress:
                progress(f"writing {target.name}", done * target_bytes(kind) // 32, total * target_bytes(kind) // 32)
    return Written(
        types=dict(Counter(stored.name for _, _, stored in chosen)),
        fallbacks=tuple(
            tensor.name for tensor, shape, stored in chosen if kind != "F16" and stored == GGMLQuantizationType.F16
        ),
    )


def _write(writer: Any, data: Any) -> None:
    try:
        writer.write_tensor_data(data)
    except OSError as error:
        # numpy reports a file that takes no more bytes without saying why; a full disk is why.
        raise error if error.errno is not None else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def pairs_by_tensor(adapter: Path, base_folder: Path, permute: bool = True) -> tuple[Layout, dict[str, LoraPair]]:
    """An adapter's layers by the names of the base GGUF's tensors.

    Raises:
        HoneError: as `layout_of` and `read_pairs`.
    """
    layout = layout_of(json.loads((base_folder / "config.json").read_text("utf-8")), permute)
    return layout, {f"{layout.name(pair.module)}.weight": pair for pair in read_pairs(adapter)}


def target_bytes(kind: Kind) -> int:
    """Bytes of 32 weights."""
    return {"F16": 64, "Q8_0": 34, "Q4_1": 20}[kind]


def stored_types(gguf: Path) -> dict[str, str]:
    """The type of each tensor of a GGUF."""
    from gguf import GGUFReader

    return {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(gguf).tensors}


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


def _stored(tensor: Any, shape: tuple[int, ...], stored: Any, pair: LoraPair | None, layout: Layout) -> Any:
    """A tensor's data as it goes into the file."""
    import numpy as np
    from gguf.quants import dequantize, quantize

    if pair is None and tensor.tensor_type == stored:
        return np.ascontiguousarray(tensor.data)
    try:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False).reshape(shape)
    except NotImplementedError as error:
        raise HoneError(f"{tensor.name} is stored as {tensor.tensor_type.name}, which cannot be read here") from error
    if pair is not None:
        weight = merged_weight(weight, in_order(pair, layout))
    return np.ascontiguousarray(quantize(np.ascontiguousarray(weight), stored))


def in_order(pair: LoraPair, layout: Layout) -> LoraPair:
    """The pair with its output rows in the order of the GGUF."""
    from dataclasses import replace

    magnitude = None if pair.magnitude is None else layout.rows(pair.module, pair.magnitude)
    return replace(pair, b=layout.rows(pair.module, pair.b), magnitude=magnitude)
