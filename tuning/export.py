"""PEFT adapter to GGUF LoRA."""

import json
from pathlib import Path
from typing import Any

from assistant.errors import HoneError

# llama.cpp rotates q and k in an interleaved order for these architectures, so their rows are permuted in the GGUF
# and LoRA's B has to follow (llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute). Others keep their order.
_PERMUTED = frozenset({"llama", "mistral"})
_UNPERMUTED = {"qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "starcoder2": "starcoder2", "phi3": "phi3"}
_PREFIX = "base_model.model."


def gguf_lora(adapter: Path, base_config: dict[str, Any], target: Path, permute: bool = True) -> int:
    """Writes `target`, a GGUF LoRA of the PEFT adapter in the folder `adapter`; returns how many matrices it adapts.

    Args:
        base_config: the base model's config.json.
        permute: False leaves q and k in transformers' order, which llama.cpp computes wrongly; only a test wants it.

    Raises:
        HoneError: an architecture or adapter that this export does not know to be right.
    """
    import numpy as np
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFWriter, get_tensor_name_map
    from safetensors.numpy import load_file

    model_type = base_config["model_type"]
    if model_type in _PERMUTED:
        architecture = "llama"
    elif model_type in _UNPERMUTED:
        architecture = _UNPERMUTED[model_type]
    else:
        raise HoneError(f"no GGUF export for {model_type} models yet; the PEFT adapter in {adapter} is complete")
    configuration = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    unsupported = [key for key in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern") if configuration.get(key)]
    if unsupported:
        raise HoneError(
            f"a GGUF LoRA cannot hold {', '.join(unsupported)}; train a plain LoRA to serve it with llama.cpp"
        )
    kind = next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(MODEL_ARCH(kind), base_config["num_hidden_layers"])
    heads = base_config["num_attention_heads"]
    key_value_heads = base_config.get("num_key_value_heads") or heads

    writer = GGUFWriter(target, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(configuration["lora_alpha"]))
    weights = load_file(adapter / "adapter_model.safetensors")
    matrices = 0
    for name in sorted(weights):
        if not name.endswith(".lora_A.weight"):
            continue
        module = name.removesuffix(".lora_A.weight")
        a, b = weights[name], weights[f"{module}.lora_B.weight"]
        gguf_name = names.get_name(module.removeprefix(_PREFIX))
        if gguf_name is None:
            raise HoneError(f"llama.cpp has no name for {module}; the GGUF export would lose it")
        if architecture == "llama" and permute:
            if module.endswith("q_proj"):
                b = permuted(b, heads)
            elif module.endswith("k_proj"):
                b = permuted(b, key_value_heads)
        writer.add_tensor(f"{gguf_name}.weight.lora_a", np.ascontiguousarray(a, dtype=np.float32))
        writer.add_tensor(f"{gguf_name}.weight.lora_b", np.ascontiguousarray(b, dtype=np.float32))
        matrices += 1
    if 2 * matrices != len(weights):
        raise HoneError(
            f"{len(weights) - 2 * matrices} tensors of the adapter are not LoRA pairs; the GGUF export would lose them"
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return matrices


def permuted(rows: Any, heads: int) -> Any:
    """Output rows [heads * head_dim, ...] from transformers' half-split rotary order to llama.cpp's interleaved one."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
