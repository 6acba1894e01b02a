"""PEFT adapter to GGUF LoRA, and how llama.cpp names and orders what transformers has."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.models.peft_files import read_configuration
from tuning.formats.adapter import read_pairs

# llama.cpp rotates q and k in an interleaved order for these architectures, so their rows are permuted in the GGUF
# and LoRA's B has to follow (llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute). Others keep their order.
_PERMUTED = frozenset({"llama", "mistral"})
_UNPERMUTED = {"qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "starcoder2": "starcoder2", "phi3": "phi3"}


@dataclass(frozen=True)
class Layout:
    """How one architecture's GGUF names its tensors and orders their rows."""

    architecture: str
    heads: dict[str, int]
    """Heads by the last part of a module's name, for the modules whose rows are permuted."""
    _name: Callable[[str], str | None]

    def find(self, module: str) -> str | None:
        """`model.layers.0.self_attn.q_proj` -> `blk.0.attn_q`; None for what llama.cpp does not know."""
        return self._name(module)

    def name(self, module: str) -> str:
        """
        Raises:
            HoneError: llama.cpp has no name for the module.
        """
        name = self.find(module)
        if name is None:
            raise HoneError(f"llama.cpp has no name for {module}; the GGUF export would lose it")
        return name

    def rows(self, module: str, rows: Any) -> Any:
        """`rows` [out, ...] of a module in the order of the GGUF."""
        heads = self.heads.get(module.rpartition(".")[2])
        return rows if heads is None else permuted(rows, heads)


def layout_of(base_config: dict[str, Any], permute: bool = True) -> Layout:
    """
    Args:
        base_config: the base model's config.json.
        permute: False leaves q and k in transformers' order, which llama.cpp computes wrongly; only a test wants it.

    Raises:
        HoneError: an architecture whose GGUF this export does not know to be right.
    """
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    model_type = base_config["model_type"]
    if model_type in _PERMUTED:
        architecture = "llama"
    elif model_type in _UNPERMUTED:
        architecture = _UNPERMUTED[model_type]
    else:
        raise HoneError(f"no GGUF export for {model_type} models yet; export to peft or safetensors")
    kind = next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(MODEL_ARCH(kind), base_config["num_hidden_layers"])
    heads = base_config["num_attention_heads"]
    permuted_heads = {"q_proj": heads, "k_proj": base_config.get("num_key_value_heads") or heads}
    return Layout(architecture, permuted_heads if architecture == "llama" and permute else {}, names.get_name)


def gguf_lora(adapter: Path, base_config: dict[str, Any], target: Path, permute: bool = True) -> int:
    """Writes `target`, a GGUF LoRA of the PEFT adapter in the folder `adapter`; returns how many matrices it adapts.

    llama.cpp scales each matrix by the file's one alpha over the matrix's own rank; any other scaling of peft (alpha
    patterns, rank-stabilized LoRA) goes into B.

    Args:
        base_config: the base model's config.json.
        permute: as for `layout_of`.

    Raises:
        HoneError: an architecture or adapter that this export does not know to be right.
    """
    import numpy as np
    from gguf import GGUFWriter

    layout = layout_of(base_config, permute)
    configuration = read_configuration(adapter)
    pairs = read_pairs(adapter)
    if any(pair.magnitude is not None for pair in pairs):
        raise HoneError(
            "a GGUF LoRA cannot hold DoRA's magnitudes; export a merged model (gguf-f16), or train without DoRA"
        )
    alpha = float(configuration["lora_alpha"]) or 1.0

    writer = GGUFWriter(target, layout.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for pair in pairs:
        name = layout.name(pair.module)
        rest = pair.scaling * pair.rank / alpha
        b = layout.rows(pair.module, pair.b if rest == 1 else pair.b * np.float32(rest))
        writer.add_tensor(f"{name}.weight.lora_a", pair.a)
        writer.add_tensor(f"{name}.weight.lora_b", np.ascontiguousarray(b, dtype=np.float32))
    with closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    return len(pairs)


def permuted(rows: Any, heads: int) -> Any:
    """Output rows [heads * head_dim, ...] from transformers' half-split rotary order to llama.cpp's interleaved one."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
