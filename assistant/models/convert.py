"""Makes the tuning form of a GGUF: its exact weights, dequantized to fp32 safetensors, with tokenizer and template.

An adapter tuned on that folder is trained against the very weights that llama.cpp serves.
"""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from assistant import paths
from assistant.errors import HoneError
from assistant.models import transfer
from assistant.models.digests import file_digest
from assistant.models.gguf_file import read_header
from assistant.models.store import BaseModel
from assistant.models.transfer import Progress

_BYTES_PER_PARAMETER = 4


def tuning_folder(base: BaseModel, progress: Progress | None = None) -> Path:
    """The cached conversion of `base.gguf`, made now when it is missing.

    Raises:
        HoneError: an architecture or tokenizer that transformers cannot read from GGUF, not enough memory or disk.
    """
    if base.gguf is None:
        raise HoneError(f"{base.name} has no GGUF to convert")
    gguf, what = base.gguf, f"the tuning form of {base.name}"
    size = read_header(gguf).parameters * _BYTES_PER_PARAMETER

    def make(folder: Path) -> None:
        if progress:
            progress(f"converting {base.name} to fp32 for tuning", 0, size)
        _convert_in_child(gguf, folder, what)
        if progress:
            progress(f"converting {base.name} to fp32 for tuning", size, size)

    return transfer.made_once(cached_folder(gguf), what, size + size // 50, make, progress)


def cached_folder(gguf: Path) -> Path:
    """Where the tuning form of a GGUF is, or will be: named by the digest of the file."""
    return paths.models_dir() / "tuning" / file_digest(gguf)[:24]


def _convert_in_child(gguf: Path, folder: Path, what: str) -> None:
    """Converts in a process of its own: its memory (several times the model) is given back, and the progress bars and
    notes of the libraries stay off the terminal."""
    command = [sys.executable, "-P", "-m", "assistant.models.convert", str(gguf), str(folder)]
    environment = {**os.environ, "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True
    )
    try:
        _, errors = child.communicate()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode == 0:
        return
    last = (errors.strip().splitlines() or ["no message"])[-1]
    if child.returncode == -signal.SIGKILL or "MemoryError" in last:
        raise HoneError(f"not enough memory to make {what}; close other programs or choose a smaller model")
    if "os error 28" in errors or "No space left" in errors:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise HoneError(
        f"{what} cannot be made from {gguf}: {last[:300]}; tune from a safetensors version of the model instead"
    )


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    _check_architecture(gguf)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        output_loading_info=True,
    )
    model, loading = loaded
    if loading["missing_keys"]:
        # Such a weight would be random.
        raise ValueError(f"it has no {sorted(loading['missing_keys'])[0]}")
    # save_pretrained refuses a quantized model, and takes this for the mark of one.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if hasattr(model, "hf_quantizer"):
        del model.hf_quantizer
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _check_architecture(gguf: Path) -> None:
    """Compares the model that transformers makes of the metadata with the tensors that are there, before any memory is
    taken: where metadata is missing, transformers falls back to a model of billions of parameters.

    Raises:
        ValueError: they do not agree.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    with torch.device("meta"):
        expected = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    found = read_header(gguf).parameters
    if not 0.8 * found <= expected <= 1.25 * found:
        raise ValueError(f"its metadata describes {expected:,} parameters, its tensors have {found:,}")


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
