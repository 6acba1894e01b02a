"""Loads a base model for tuning, scoring or the proof, in one way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from assistant.errors import HoneError
from tuning.distributed import agreed, is_sharded

Quantize = Literal["none", "4bit", "8bit"]
Dtype = Literal["auto", "float32", "bfloat16"]


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder; a file that spells one of its control tokens stays text."""
    from transformers import AutoTokenizer

    from tuning.examples.encode import protect

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    protect(tokenizer.backend_tokenizer)
    return tokenizer


def load_base(folder: Path, dtype: torch.dtype, attention: str = "sdpa", quantize: Quantize = "none") -> Any:
    """The base model from a safetensors folder, frozen.

    Args:
        attention: an attention implementation known to transformers; `tuning.model.attention.NAME` for packed rows.
        quantize: as `Plan.quantize`; ask `check_quantize` before. A quantized model is on its GPU already.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    quantized: dict[str, Any] = {}
    if quantize != "none":
        from accelerate.state import PartialState

        quantized = {
            "quantization_config": quantization(quantize, dtype),
            "device_map": {"": PartialState().device},
        }
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation=attention,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        **quantized,
    )
    model.requires_grad_(False)
    return model


def quantization(quantize: Quantize, dtype: torch.dtype) -> Any:
    """How bitsandbytes keeps the frozen linear layers: NF4 with doubly quantized scales (QLoRA, Dettmers et al. 2023),
    or LLM.int8. The head stays in `dtype`, in which everything is computed."""
    from transformers import BitsAndBytesConfig

    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def check_quantize(quantize: Quantize, accelerator: Any) -> None:
    """
    Raises:
        HoneError: the machine or the installation cannot train on a quantized base.
    """
    from importlib.util import find_spec

    if quantize == "none":
        return
    asked = f'quantize = "{quantize}"'
    if accelerator.device.type != "cuda":
        raise HoneError(f"{asked} needs a CUDA GPU and this run is on the {accelerator.device.type}; leave it out")
    if find_spec("bitsandbytes") is None:
        raise HoneError(f"{asked} needs a package that is not installed: pip install bitsandbytes")
    if is_sharded(accelerator):
        raise HoneError(f"{asked} and FSDP do not go together; leave one of them out")


def dtype_for(asked: Dtype, accelerator: Any, note: Callable[[str], None]) -> torch.dtype:
    """The number format to train in, the same in every process.

    Args:
        asked: as `Plan.dtype`.
        note: told when what was asked for is slower here than float32.

    Raises:
        HoneError: the GPU has no bfloat16.
    """
    device = accelerator.device
    if asked == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise HoneError("this GPU has no bfloat16; leave out dtype, or set it to float32")
    if asked == "float32":
        return torch.float32
    # Measured by each process, decided by the first: a run in two formats is none.
    bfloat16 = bool(agreed(accelerator, float(fastest_dtype(device) is torch.bfloat16))[0])
    if asked == "bfloat16" and not bfloat16:
        note("dtype bfloat16 as asked for, though this machine computes as fast or faster in float32")
    return torch.bfloat16 if asked == "bfloat16" or bfloat16 else torch.float32


def best_device() -> torch.device:
    """The GPU, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
