"""Small but real model files: they have the formats of models, not the weights of any."""

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save, save_file

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
TOKENS = ["<unk>", "<s>", "</s>", "a", "b", "ab"]


def write_gguf(path: Path, template: str = TEMPLATE, seed: int = 0, tokens: list[str] | None = None) -> Path:
    """A GGUF with a tokenizer, a template and three tensors (one quantized)."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_license("mit")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens or TOKENS)
    writer.add_token_types([1] * len(tokens or TOKENS))
    writer.add_token_merges(["a b"])
    writer.add_chat_template(template)
    writer.add_tensor("token_embd.weight", random.standard_normal((6, 64)).astype(np.float32))
    writer.add_tensor("output_norm.weight", np.ones(64, dtype=np.float32))
    blocks = gguf.quantize(random.standard_normal((4, 64)).astype(np.float32), gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("blk.0.attn_q.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def folder_files(seed: int = 0, weights: int = 4096, **config: object) -> dict[str, bytes]:
    """The files of a safetensors model; `weights` counts fp32 numbers."""
    random = np.random.default_rng(seed)
    settings = {"model_type": "llama", "max_position_embeddings": 1024, **config}
    tokenizer = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}
    return {
        "config.json": json.dumps(settings).encode(),
        "tokenizer.json": json.dumps(tokenizer).encode(),
        "tokenizer_config.json": json.dumps({"chat_template": TEMPLATE, "eos_token": "b"}).encode(),
        "model.safetensors": save({"embed": random.standard_normal(weights).astype(np.float32)}),
    }


def write_folder(folder: Path, seed: int = 0, **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in folder_files(seed, **config).items():
        (folder / name).write_bytes(data)
    return folder


def write_adapter(folder: Path, seed: int = 0, **configuration: object) -> Path:
    """The two files that make an adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    save_file(
        {"q.lora_A.weight": random.standard_normal((2, 8)).astype(np.float32)}, folder / "adapter_model.safetensors"
    )
    settings = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "bias": "none", **configuration}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder
