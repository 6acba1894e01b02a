"""Random LoRA adapters for the embedded model, in PEFT's form and in GGUF, computing the same function."""

import json
from pathlib import Path

import numpy as np

RANK = 4
ALPHA = 8
# Shapes (out, in) of SmolLM2-135M's layers; these two are stored alike by transformers and llama.cpp.
_LAYERS = 30
_TARGETS = {"self_attn.v_proj": ("attn_v", 192, 576), "mlp.down_proj": ("ffn_down", 576, 1536)}


def write_adapter(folder: Path, seed: int, size: float = 0.05) -> Path:
    """An adapter folder with adapter_model.safetensors, adapter_config.json and adapter.gguf."""
    import gguf
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(folder / "adapter.gguf", "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    tensors: dict[str, np.ndarray] = {}
    for layer in range(_LAYERS):
        for module, (name, rows, columns) in _TARGETS.items():
            a = random.normal(0, size, (RANK, columns)).astype(np.float32)
            b = random.normal(0, size, (rows, RANK)).astype(np.float32)
            writer.add_tensor(f"blk.{layer}.{name}.weight.lora_a", a)
            writer.add_tensor(f"blk.{layer}.{name}.weight.lora_b", b)
            tensors[f"base_model.model.model.layers.{layer}.{module}.lora_A.weight"] = a
            tensors[f"base_model.model.model.layers.{layer}.{module}.lora_B.weight"] = b
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [module.split(".")[1] for module in _TARGETS],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def register_adapter(name: str, seed: int):
    """Puts a random adapter of the embedded model into the registry of the current HONE_HOME."""
    from assistant import paths
    from assistant.models import identity, registry, store

    base = store.find("smollm2-135m")
    assert base is not None
    base_digest = identity.base_identity(base).digest
    folder = write_adapter(paths.adapters_dir() / name / f"seed{seed}", seed)
    digest = identity.adapter_digest(folder, base_digest)
    version = registry.AdapterVersion(name, digest, base.name, base_digest, folder, "2026-01-01T00:00:00+00:00")
    registry.Registry().register(version)
    return version
