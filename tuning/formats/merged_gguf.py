"""A base GGUF with an adapter merged into its weights, written in F16, Q8_0 or Q4_1.

The base's own GGUF is the template: metadata, tokenizer and chat template are copied, so llama.cpp reads the merged
model as it reads the base.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from assistant.errors import HoneError
from assistant.models.gguf_write import Kind, Written, rewrite
from assistant.models.transfer import Progress
from tuning.export import Layout, layout_of
from tuning.formats.adapter import LoraPair, merged_weight, read_pairs


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

    Args:
        pairs: by the name of the GGUF's tensor (`blk.0.attn_q.weight`).
        name: the model's name in the file.

    Raises:
        HoneError: the base is of another architecture, in several files, or of a type that cannot be read here, or
            lacks a tensor that the adapter changes.
    """
    from gguf import GGUFReader

    reader = GGUFReader(base)
    architecture = reader.fields["general.architecture"].contents()
    if architecture != layout.architecture:
        raise HoneError(f"{base} is of architecture {architecture}, its tuning form of {layout.architecture}")
    missing = sorted(set(pairs) - {tensor.name for tensor in reader.tensors})
    # One of several files lacks tensors too, and is told so when it is written.
    if missing and "split.count" not in reader.fields:
        raise HoneError(f"{base} has no {missing[0]}, which the adapter changes, so it cannot be merged; train without")
    changed = {tensor: partial(merged_weight, pair=in_order(pair, layout)) for tensor, pair in pairs.items()}
    return rewrite(base, kind, target, name, changed, progress)


def pairs_by_tensor(adapter: Path, base_folder: Path, permute: bool = True) -> tuple[Layout, dict[str, LoraPair]]:
    """An adapter's layers by the names of the base GGUF's tensors.

    Raises:
        HoneError: as `layout_of` and `read_pairs`.
    """
    layout = layout_of(json.loads((base_folder / "config.json").read_text("utf-8")), permute)
    return layout, {f"{layout.name(pair.module)}.weight": pair for pair in read_pairs(adapter)}


def stored_types(gguf: Path) -> dict[str, str]:
    """The type of each tensor of a GGUF."""
    from gguf import GGUFReader

    return {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(gguf).tensors}


def in_order(pair: LoraPair, layout: Layout) -> LoraPair:
    """The pair with its output rows in the order of the GGUF."""
    from dataclasses import replace

    magnitude = None if pair.magnitude is None else layout.rows(pair.module, pair.magnitude)
    return replace(pair, b=layout.rows(pair.module, pair.b), magnitude=magnitude)
