"""How much of an adapter is applied: a scale that is made part of its weights, and the choice of one by validation.

The scale goes into B, so the adapter's digest, its GGUF and PEFT's own files all carry it, whatever alpha means to
whoever loads them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.models.peft_files import WEIGHTS, read_configuration

SCALES = (0.5, 0.75, 1.0)


def pick_scale(
    score: Callable[[float], float | None], scales: Sequence[float] = SCALES
) -> tuple[float, dict[float, float | None]]:
    """The scale with the lowest score, and all scores. Of equal ones the largest: it is nearest to what was trained.

    Args:
        score: for instance bits per byte of the validation files at a scale; None where it cannot be measured.

    Returns:
        1.0 when nothing could be measured.
    """
    table = {scale: score(scale) for scale in scales}
    measured = {scale: bits for scale, bits in table.items() if bits is not None and math.isfinite(bits)}
    if not measured:
        return 1.0, table
    best = min(measured.values())
    return max(scale for scale, bits in measured.items() if bits == best), table


@contextmanager
def at_scale(model: Any, scale: float) -> Iterator[None]:
    """The peft model with its adapter at `scale` of what it is, put back bit for bit afterwards."""
    import torch

    factors = _factors(model)
    before = [factor.detach().clone() for factor in factors]
    scale_model(model, scale)
    try:
        yield
    finally:
        with torch.no_grad():
            for factor, value in zip(factors, before, strict=True):
                factor.copy_(value)


def scale_model(model: Any, scale: float) -> None:
    """Makes `scale` part of the peft model's adapter, for good.

    Raises:
        HoneError: a DoRA adapter, which is no multiple of anything.
    """
    import torch

    if any("lora_magnitude_vector" in name for name, _ in model.named_parameters()):
        raise HoneError(_DORA)
    with torch.no_grad():
        for factor in _factors(model):
            factor.mul_(scale)


def scaled(adapter: Path, scale: float, target: Path) -> None:
    """Writes a PEFT adapter's files into the folder `target`, with `scale` made part of the weights.

    Raises:
        HoneError: a DoRA adapter, or one that cannot be read.
    """
    import shutil

    import numpy as np
    from safetensors.numpy import load_file, save_file

    if read_configuration(adapter).get("use_dora"):
        raise HoneError(_DORA)
    weights = load_file(adapter / WEIGHTS)
    changed = {
        name: (value * np.float32(scale)).astype(value.dtype)
        if "lora_B" in name or "lora_embedding_B" in name
        else value
        for name, value in weights.items()
    }
    save_file(changed, target / WEIGHTS, metadata={"format": "pt"})
    shutil.copy(adapter / "adapter_config.json", target / "adapter_config.json")


_DORA = "a DoRA adapter cannot be scaled: its magnitudes belong to the direction they were trained with; use it whole"


def _factors(model: Any) -> list[Any]:
    return [parameter for name, parameter in model.named_parameters() if "lora_B" in name or "lora_embedding_B" in name]
