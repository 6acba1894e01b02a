"""How much memory a run will take, estimated before anything is loaded, and how much there is."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assistant.errors import HoneError
from tuning import control_groups
from tuning.model.loss import CHUNK, GPU_CHUNK

SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
"""What `config.json` says of a Llama-like model."""

RUNTIME = 400_000_000
"""Bytes of a Python process with torch, transformers and peft imported, before any model."""

UNUSABLE = 0.15
"""Of the activations: room between freed tensors that the allocator finds no use for."""

MARGIN = 1.3
"""The estimate lies within this factor of what single runs of SmolLM2-135M held on a CPU (float32 and bfloat16, rows of
256 to 2,048 tokens, with and without activation checkpointing: 0.91 to 1.27 times it)."""


@dataclass(frozen=True)
class Footprint:
    """Bytes."""

    weights: int
    """Of the frozen base."""
    adapter: int
    """Its weights, gradients, the optimizer's two moments and the copy of the best: all in fp32."""
    activations: int
    """Of one pass, the longest time held; passes of a step follow each other, so more of them take no more."""
    runtime: int

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.activations + self.runtime

    def describe(self) -> str:
        return (
            f"about {gigabytes(self.total)}: base {gigabytes(self.weights)}, adapter and optimizer "
            f"{gigabytes(self.adapter)}, activations of a pass {gigabytes(self.activations)}"
        )


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def estimate(
    folder: Path,
    *,
    pass_tokens: int,
    rank: int,
    bytes_per_number: int,
    quantize: Literal["none", "4bit", "8bit"] = "none",
    recompute: bool = False,
    on_gpu: bool = False,
) -> Footprint | None:
    """None for a model whose layers are not like Llama's, which nothing here knows how to count.

    Args:
        folder: of the base model, with `config.json` and safetensors files, of which only the headers are read.
        pass_tokens: computed at once, see `Plan.pass_tokens`.
        bytes_per_number: 4 for float32, 2 for bfloat16.
        recompute: activation checkpointing.

    Raises:
        HoneError: the folder holds no model.
    """
    configuration = _configuration(folder)
    if any(key not in configuration for key in SIZES):
        return None
    shapes = _shapes(folder)
    linear = [shape for name, shape in shapes.items() if len(shape) == 2 and not _is_embedding(name)]
    others = sum(math.prod(shape) for shape in shapes.values()) - sum(out * ins for out, ins in linear)
    return of_sizes(
        configuration,
        linear,
        others,
        pass_tokens=pass_tokens,
        rank=rank,
        bytes_per_number=bytes_per_number,
        quantize=quantize,
        recompute=recompute,
        on_gpu=on_gpu,
    )


def of_sizes(
    configuration: Mapping[str, Any],
    linear: Sequence[Sequence[int]],
    others: int,
    *,
    pass_tokens: int,
    rank: int,
    bytes_per_number: int,
    quantize: Literal["none", "4bit", "8bit"] = "none",
    recompute: bool = False,
    on_gpu: bool = False,
) -> Footprint:
    """The same from sizes alone.

    Args:
        configuration: the keys of `SIZES`, and `head_dim` and `num_key_value_heads` where they are not the usual ones.
        linear: (out, in) of every layer that gets an adapter.
        others: how many numbers the base has besides.
    """
    in_linear = sum(out * ins for out, ins in linear)
    # NF4 has 4 bits and, doubly quantized, 0.127 for the scales.
    packed = {"none": float(bytes_per_number), "4bit": 4.127 / 8, "8bit": 1.0}[quantize]
    adapter = sum(rank * (out + ins) for out, ins in linear)
    return Footprint(
        weights=int(in_linear * packed) + others * bytes_per_number,
        adapter=adapter * 4 * 5,
        activations=_activations(
            configuration, pass_tokens, rank, bytes_per_number, recompute, GPU_CHUNK if on_gpu else CHUNK
        ),
        runtime=0 if on_gpu else RUNTIME,
    )


def _activations(
    configuration: Mapping[str, Any], tokens: int, rank: int, bytes_per_number: int, recompute: bool, chunk: int
) -> int:
    """What the fast paths keep of a Llama-like layer for the backward pass, counted tensor by tensor."""
    hidden, layers = configuration["hidden_size"], configuration["num_hidden_layers"]
    heads = configuration["num_attention_heads"]
    size = configuration.get("head_dim") or hidden // heads
    keys = size * (configuration.get("num_key_value_heads") or heads)
    inner, vocabulary = configuration["intermediate_size"], configuration["vocab_size"]
    # The inputs of two norms and what they give; projected and turned q, k and v; what attention gives, twice.
    attention = 4 * hidden + 2 * size * heads + 3 * keys + 2 * size * heads
    # Gate and up together, and their product; the low-rank products of seven linear layers.
    layer = attention + 3 * inner + 7 * rank
    held = layers * hidden + layer if recompute else layers * layer
    # The gradients that the backward pass of one layer has in hand.
    passing = 6 * inner + 4 * hidden
    return int(bytes_per_number * (tokens * (held + passing) * (1 + UNUSABLE) + 3 * min(chunk, tokens) * vocabulary))


def check_fits(footprint: Footprint, available: int) -> str | None:
    """None if it fits, a warning if it may not.

    Raises:
        HoneError: it certainly does not.
    """
    help_ = "a smaller row_length, a lower rank or activation_checkpointing takes less"
    line = f"this run needs {footprint.describe()}; {gigabytes(available)} are free"
    if footprint.total / MARGIN > available:
        raise HoneError(f"{line}; {help_}")
    return f"{line}: it may not fit; {help_}" if footprint.total > 0.9 * available else None


def available_memory(device_type: str = "cpu") -> int:
    """Bytes that this process can still take: of the GPU, or of the machine and the control group it is in."""
    if device_type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    import psutil

    free = int(psutil.virtual_memory().available)
    return min([free, *(limit.free for limit in control_groups.limits())])


def _configuration(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HoneError(f"{folder} holds no model: {error}") from error
    return content


def _shapes(folder: Path) -> dict[str, list[int]]:
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise HoneError(f"{folder} holds no safetensors file")
    shapes: dict[str, list[int]] = {}
    try:
        for file in files:
            with safe_open(file, framework="numpy") as opened:
                shapes |= {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise HoneError(f"cannot read {file}: {error}") from error
    return shapes


def _is_embedding(name: str) -> bool:
    return "embed" in name or "lm_head" in name or "wte" in name or "wpe" in name
