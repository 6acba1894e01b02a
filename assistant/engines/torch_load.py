"""Models and tokenizers for inference by transformers and peft, from folders on this disk."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.errors import HoneError


def load_tokenizer(folder: Path) -> Any:
    """
    Raises:
        HoneError: the folder has no usable tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise HoneError(f"cannot load the tokenizer in {folder}: {_line(error)}") from error


def load_model(folder: Path, adapters: Mapping[str, Path], threads: int | None, dtype: str = "float32") -> Any:
    """A model for inference, peft's when there are adapters, on a CUDA GPU where there is one.

    Args:
        dtype: of weights and adapters, as torch names it.

    Raises:
        HoneError: it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if threads is not None:
        torch.set_num_threads(threads)
    logging.disable_progress_bar()
    # peft asks for a property that transformers has renamed; nobody here can do anything about it.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        model, information = loaded
        # transformers would go on with random ones.
        if missing := sorted(information["missing_keys"]):
            raise ValueError(f"it lacks {len(missing)} of the model's weights, among them {missing[0]}")
        if adapters:
            from peft import PeftModel

            for name, adapter in adapters.items():
                if isinstance(model, PeftModel):
                    model.load_adapter(str(adapter), adapter_name=name, use_safetensors=True)
                else:
                    model = PeftModel.from_pretrained(model, str(adapter), adapter_name=name, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise HoneError(f"cannot load the model in {folder}: {_line(error)}") from error
    # peft adds fp32 adapters to whatever base.
    return model.to(device="cuda" if torch.cuda.is_available() else "cpu", dtype=getattr(torch, dtype)).eval()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
