"""Checks on a folder of model files before anything loads them: safetensors only, whole files, no code to run."""

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from assistant.errors import HoneError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
CONFIG_FILES = ("config.json", "generation_config.json")
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def weight_files(names: Iterable[str]) -> list[str]:
    """The safetensors to load among a model's file names: the shards, or `model.safetensors`, or what there is.

    Some repositories carry the weights twice (`consolidated.safetensors`); adapters are no model weights.
    """
    tensors = sorted(name for name in names if name.endswith(".safetensors") and not name.startswith("adapter_"))
    shards = [name for name in tensors if name.startswith("model-")]
    whole = [name for name in tensors if name == "model.safetensors"]
    return whole or shards or tensors


def refuse_pickles(names: Iterable[str], what: str) -> None:
    """Raises HoneError naming the pickled weights when a model has no other weights."""
    pickles = sorted(name for name in names if name.endswith(_PICKLE_SUFFIXES))
    found = f" ({pickles[0]})" if pickles else ""
    if pickles:
        raise HoneError(
            f"{what} has only pickled weights{found}, which can run code when loaded; use a safetensors or GGUF version"
        )
    raise HoneError(f"{what} has no model weights; Hone reads safetensors and GGUF")


def refuse_code(config: Path, what: str) -> dict[str, Any]:
    """The parsed JSON of a configuration file that asks for no code of its own.

    Raises:
        HoneError: not JSON, or it has `auto_map` (code that would be run by transformers).
    """
    try:
        loaded = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HoneError(f"{what}: {config.name} is missing or not valid JSON") from error
    if not isinstance(loaded, dict):
        raise HoneError(f"{what}: {config.name} is not a JSON object")
    if "auto_map" in loaded:
        raise HoneError(
            f"{what} needs its own Python code (auto_map in {config.name}), which Hone never runs; "
            "choose a model that transformers supports itself"
        )
    return loaded


def check_folder(folder: Path) -> dict[str, Any]:
    """Checks a safetensors folder and returns its config.

    Raises:
        HoneError: no config, no tokenizer, pickled or no weights, `auto_map`, or a file that is cut short.
    """
    names = [path.name for path in folder.iterdir()]
    config = refuse_code(folder / "config.json", str(folder))
    if "tokenizer_config.json" in names:
        refuse_code(folder / "tokenizer_config.json", str(folder))
    weights = weight_files(names)
    if not weights:
        refuse_pickles(names, str(folder))
    if not any(name in names for name in _VOCABULARIES):
        raise HoneError(f"{folder} has no tokenizer (tokenizer.json, tokenizer.model or vocab.json)")
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            wanted = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HoneError(f"{folder}: {index.name} is not a safetensors index") from error
        missing = sorted(str(name) for name in wanted - set(names))
        if missing:
            raise HoneError(f"{folder} lacks {missing[0]}, which {index.name} names; fetch the model again")
    for name in weights:
        check_safetensors(folder / name)
    return config


def check_safetensors(path: Path) -> None:
    """Raises HoneError when the file is not safetensors or shorter than its header says."""
    size = path.stat().st_size
    damaged = HoneError(f"{path} is damaged or not safetensors; fetch it again")
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise damaged
        (length,) = struct.unpack("<Q", start)
        if length > size - 8:
            raise damaged
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            needed = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise damaged from error
    if needed > size:
        raise HoneError(f"{path} is cut short: {size:,} bytes of {needed:,}; fetch it again")


def context_length(config: dict[str, Any]) -> int:
    """Tokens the model was trained for, 2048 when its config does not say."""
    nested = config.get("text_config")
    for source in (config, nested if isinstance(nested, dict) else {}):
        for key in ("max_position_embeddings", "n_positions", "seq_length"):
            if isinstance(source.get(key), int):
                return int(source[key])
    return 2048
