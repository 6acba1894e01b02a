"""Reads a PEFT LoRA from its folder, with the scaling that peft computes for each module."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.models.peft_files import WEIGHTS, read_configuration

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class LoraPair:
    """The adapter of one linear layer; its change of the weight is `scaling * b @ a`."""

    module: str
    """As transformers names it, `model.layers.0.self_attn.q_proj`."""
    a: Any
    """[rank, in], fp32."""
    b: Any
    """[out, rank], fp32."""
    scaling: float
    magnitude: Any = None
    """[out], DoRA's norm of each output row; None for a LoRA without it."""

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])


def shared_configuration(adapter: Path, base_name: str) -> dict[str, Any]:
    """The configuration with the base's name in place of the folder that peft found it in, which is this machine's."""
    name = Path(base_name).name if Path(base_name).is_absolute() else base_name
    return {**read_configuration(adapter), "base_model_name_or_path": name}


def read_pairs(adapter: Path) -> list[LoraPair]:
    """Every adapted layer, by name.

    Raises:
        HoneError: unreadable, or it holds tensors that are no LoRA of a linear layer (embeddings, biases, whole
            modules), which no format but PEFT's own can carry.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    configuration = read_configuration(adapter)
    try:
        weights = load_file(adapter / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise HoneError(f"cannot read {adapter / WEIGHTS}: {error}") from error
    pairs = []
    used = 0
    for name in sorted(weights):
        if not name.endswith(".lora_A.weight"):
            continue
        stem = name.removesuffix(".lora_A.weight")
        a, b = weights[name], weights.get(f"{stem}.lora_B.weight")
        if b is None:
            raise HoneError(f"{adapter / WEIGHTS} has {name} but no lora_B beside it; tune again")
        magnitude = weights.get(f"{stem}.lora_magnitude_vector")
        used += 2 if magnitude is None else 3
        module = stem.removeprefix(_PREFIX)
        pairs.append(
            LoraPair(
                module=module,
                a=np.ascontiguousarray(a, dtype=np.float32),
                b=np.ascontiguousarray(b, dtype=np.float32),
                scaling=scaling_of(configuration, module, a.shape[0]),
                magnitude=None if magnitude is None else np.asarray(magnitude, dtype=np.float32).reshape(-1),
            )
        )
    if used != len(weights):
        raise HoneError(
            f"{len(weights) - used} tensors of the adapter are not LoRA pairs of linear layers; the export would lose "
            "them"
        )
    return pairs


def scaling_of(configuration: dict[str, Any], module: str, rank: int) -> float:
    """What peft multiplies `b @ a` with: alpha / rank, or alpha / sqrt(rank) with rank-stabilized LoRA."""
    alpha = float(configuration["lora_alpha"])
    if patterns := configuration.get("alpha_pattern"):
        from peft.utils.other import get_pattern_key

        alpha = float(patterns.get(get_pattern_key(patterns.keys(), module), alpha))
    return alpha / (math.sqrt(rank) if configuration.get("use_rslora") else rank)


def merged_weight(weight: Any, pair: LoraPair) -> Any:
    """The weight [out, in] with the adapter in it, as peft merges it, in fp32."""
    import numpy as np

    changed = weight + np.float32(pair.scaling) * (pair.b @ pair.a)
    if pair.magnitude is not None:
        norms = np.linalg.norm(changed, axis=1, keepdims=True)
        changed = changed * (pair.magnitude[:, None] / norms)
    return changed
