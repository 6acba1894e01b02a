"""Loads a base model for tuning, scoring or the proof, in one way."""

from pathlib import Path
from typing import Any

import torch


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_base(folder: Path, dtype: torch.dtype, attention: str = "sdpa") -> Any:
    """The base model from a safetensors folder, frozen.

    Args:
        attention: an attention implementation known to transformers; `tuning.model.attention.NAME` for packed rows.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation=attention,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    model.requires_grad_(False)
    return model


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where a matrix product is at least 1.5 times as fast in it as in float32, measured now; else float32."""
    import time

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.randn(1024, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype)
        torch.nn.functional.linear(a, b)
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            torch.nn.functional.linear(a, b)
            best = min(best, time.perf_counter() - start)
        return best

    return torch.bfloat16 if seconds(torch.float32) > 1.5 * seconds(torch.bfloat16) else torch.float32
