"""What vLLM serves of an adapter, and the command that serves it.

Sources: vLLM's documentation of LoRA adapters and its `vllm/lora/peft_helper.py` and `vllm/config/lora.py`, read in
November 2026: no DoRA, no fully trained modules, no biases; `--max-lora-rank` takes a few values only.
"""

import shlex
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.models.peft_files import read_configuration
from assistant.models.registry import AdapterVersion

MAX_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` can be."""


def refuse_unservable(adapter: AdapterVersion) -> int:
    """The greatest rank of the adapter's layers, when vLLM can serve it.

    Raises:
        HoneError: it cannot, or the adapter's configuration is not readable.
    """
    return _servable_rank(adapter.id, read_configuration(adapter.folder))


def _servable_rank(name: str, configuration: dict[str, Any]) -> int:
    if configuration.get("use_dora"):
        raise HoneError(f"vLLM serves no DoRA, and {name} is one; export it merged, to safetensors")
    if configuration.get("modules_to_save"):
        raise HoneError(f"vLLM serves no fully trained modules, and {name} has some; export it merged, to safetensors")
    if configuration.get("bias", "none") != "none":
        raise HoneError(f"vLLM serves no trained biases, and {name} has some; export it merged, to safetensors")
    ranks = [configuration.get("r"), *(configuration.get("rank_pattern") or {}).values()]
    if not all(type(rank) is int and rank > 0 for rank in ranks):
        raise HoneError(f"the configuration of {name} names no rank")
    greatest = max(ranks)
    if greatest > MAX_RANKS[-1]:
        raise HoneError(
            f"vLLM serves ranks up to {MAX_RANKS[-1]}, and {name} has {greatest}; export it merged, to safetensors"
        )
    return int(greatest)


def serve_command(adapter: AdapterVersion, base: Path, folder: Path) -> str:
    """The shell command that serves the base under its name here and the adapter under its immutable name.

    Args:
        base: the base's safetensors folder, the very weights that the adapter was trained on.
        folder: the adapter's, as exported.

    Raises:
        HoneError: vLLM cannot serve it.
    """
    rank = next(most for most in MAX_RANKS if most >= refuse_unservable(adapter))
    arguments = ["vllm", "serve", str(base), "--served-model-name", adapter.base_name, "--enable-lora"]
    arguments += ["--max-lora-rank", str(rank), "--lora-modules", f"{adapter.id}={folder}"]
    return shlex.join(arguments)
