"""Digests that say exactly which weights, tokenizer and template an adapter was trained on, and which adapter it is."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.models import formats
from assistant.models.digests import file_digest, remembered
from assistant.models.gguf_file import read_header
from assistant.models.store import BaseModel
from assistant.models.transfer import sha256_of

# What changes the function an adapter computes; the rest of adapter_config.json (paths, versions) does not.
_FUNCTION_KEYS = (
    "r",
    "lora_alpha",
    "target_modules",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "bias",
)
_VOLATILE_CONFIG_KEYS = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")


@dataclass(frozen=True)
class BaseIdentity:
    """sha256 (hex) of a base model's weights, tokenizer and chat template."""

    weights: str
    tokenizer: str
    template: str

    @property
    def digest(self) -> str:
        """One sha256 (hex) over the three."""
        return hashlib.sha256(f"{self.weights}\n{self.tokenizer}\n{self.template}\n".encode()).hexdigest()


def base_identity(base: BaseModel) -> BaseIdentity:
    """The identity of a base model.

    Weights: the GGUF file's sha256, or one over the safetensors and what matters in config.json. Tokenizer and template
    come from the GGUF's metadata, or from the folder's files.

    Raises:
        HoneError: its files cannot be read.
    """
    try:
        if base.gguf:
            gguf = base.gguf
            return BaseIdentity(**remembered(gguf, "gguf", lambda: _gguf_identity(gguf)))
        if base.folder:
            return _folder_identity(base.folder)
    except OSError as error:
        raise HoneError(f"cannot read {base.name}: {error.strerror}; fetch it again with `hone models pull`") from error
    raise HoneError(f"{base.name} has neither a GGUF nor a safetensors folder")


def adapter_digest(adapter: Path, base_digest: str) -> str:
    """sha256 (hex) of an adapter together with the base it belongs to.

    Args:
        adapter: a folder with adapter_model.safetensors and adapter_config.json, and the adapter.gguf that llama.cpp
            serves where it was exported.
        base_digest: `BaseIdentity.digest` of its base.

    Raises:
        HoneError: the folder lacks one of the two files, or the configuration is not JSON.
    """
    try:
        weights = file_digest(adapter / "adapter_model.safetensors")
        served = file_digest(adapter / "adapter.gguf") if (adapter / "adapter.gguf").exists() else ""
        loaded = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HoneError(
            f"{adapter} is not a whole adapter (adapter_model.safetensors and adapter_config.json): {error}"
        ) from error
    configuration = _canonical({key: _sorted_names(key, loaded.get(key)) for key in _FUNCTION_KEYS})
    return hashlib.sha256(f"{weights}\n{served}\n{configuration}\n{base_digest}\n".encode()).hexdigest()


def _sorted_names(key: str, value: Any) -> Any:
    # peft writes a set here, in no stable order.
    return sorted(value) if key == "target_modules" and isinstance(value, list) else value


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _gguf_identity(gguf: Path) -> dict[str, str]:
    header = read_header(gguf)
    template = hashlib.sha256(header.chat_template.encode()).hexdigest()
    return {"weights": sha256_of(gguf), "tokenizer": header.tokenizer, "template": template}


def _folder_identity(folder: Path) -> BaseIdentity:
    config = formats.refuse_code(folder / "config.json", str(folder))
    weights = hashlib.sha256(_canonical({k: v for k, v in config.items() if k not in _VOLATILE_CONFIG_KEYS}).encode())
    for name in formats.weight_files(path.name for path in folder.iterdir()):
        weights.update(f"{name}\0{file_digest(folder / name)}\n".encode())
    tokenizer, settings = hashlib.sha256(), folder / "tokenizer_config.json"
    written: dict[str, Any] = formats.refuse_code(settings, str(folder)) if settings.exists() else {}
    template = folder / "chat_template.jinja"
    chat_template = template.read_text("utf-8") if template.exists() else written.get("chat_template") or ""
    written = {key: value for key, value in written.items() if key != "chat_template"}
    tokenizer.update(_canonical(written).encode())
    for name in formats.TOKENIZER_FILES:
        if name != settings.name and (folder / name).exists():
            tokenizer.update(f"{name}\0{file_digest(folder / name)}\n".encode())
    spelled = chat_template if isinstance(chat_template, str) else _canonical(chat_template)
    return BaseIdentity(weights.hexdigest(), tokenizer.hexdigest(), hashlib.sha256(spelled.encode()).hexdigest())
