"""The tiny random Llama as a GGUF that llama.cpp loads, and adapters of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assistant import prompts
from tests.tuning.tiny import SIZES, make_tokenizer

MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_base(path: Path, kind: str = "F32", fim: prompts.FimTokens | None = None, **sizes: Any) -> Path:
    """A GGUF of a random model; its linear layers are stored as `kind`.

    Args:
        fim: tokens to add to the vocabulary, as llama.cpp's converter names them.
    """
    import gguf
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**{**SIZES, **sizes})
    # Initialized ten times wider than by default: the next token is then not a matter of rounding.
    config.initializer_range = 0.2
    model = LlamaForCausalLM(config)
    tokenizer = make_tokenizer()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1 if kind == "Q4_1" else gguf.LlamaFileType.ALL_F32)
    writer.add_license("mit")
    writer.add_array("general.languages", ["en", "de"])
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    # Training may end with fewer merges than asked for; the model keeps the rows.
    tokens += [f"<unused{number}>" for number in range(config.vocab_size - len(tokens))]
    marks = {"pre": fim.prefix, "suf": fim.suffix, "mid": fim.middle} if fim else {}
    for place, (role, mark) in enumerate(marks.items(), config.vocab_size - len(marks)):
        assert tokens[place].startswith("<unused")
        tokens[place] = mark
        writer.add_uint32(f"tokenizer.ggml.fim_{role}_token_id", place)
    special = {"<|endoftext|>", *marks.values()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special or token.startswith("<unused") else 1 for token in tokens])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(vocabulary["<|endoftext|>"])
    writer.add_bos_token_id(vocabulary["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
        "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"])
    for layer in range(config.num_hidden_layers):
        stem = f"model.layers.{layer}"
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", weights[f"{stem}.input_layernorm.weight"])
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", weights[f"{stem}.post_attention_layernorm.weight"])
        for module, name in MODULES.items():
            weight = weights[f"{stem}.{module}.weight"]
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name)
            if heads:
                weight = interleaved(weight, heads)
            stored = gguf.GGMLQuantizationType[kind if weight.shape[1] % 32 == 0 else "F32"]
            writer.add_tensor(f"blk.{layer}.{name}.weight", gguf.quantize(weight, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def ready_base(path: Path, kind: str = "F32", fim: prompts.FimTokens | None = None, **sizes: Any) -> str:
    """What `write_base` writes, as a base is named, with its tuning form made already."""
    from assistant.models import store

    base = store.find(str(write_base(path, kind, fim, **sizes)))
    tuning_form(base)
    return str(path)


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Row by row: in each head, row i of the first half and row i of the second stand side by side."""
    size = weight.shape[0] // heads
    order = [
        head * size + half * (size // 2) + row for head in range(heads) for row in range(size // 2) for half in (0, 1)
    ]
    return np.ascontiguousarray(weight[order])


def tuning_form(base: Any) -> Path:
    """The tuning form of a base, made in this process: a child would import torch and transformers anew."""
    from assistant import atomic
    from assistant.models import convert

    target = convert.cached_folder(base.gguf)
    if not target.exists():
        with atomic.new_folder(target) as staging:
            convert._convert(base.gguf, staging)
    return target


def make_adapter(folder: Path, base: Path, seed: int = 0, size: float = 0.1, **options: Any) -> Path:
    """A PEFT adapter with random A and B and its GGUF LoRA, of the safetensors folder `base`.

    Args:
        options: of peft's LoraConfig.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tuning.export import gguf_lora

    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": [module.rpartition(".")[2] for module in MODULES],
        "task_type": "CAUSAL_LM",
        **options,
    }
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                parameter.normal_(0, size)
            elif "magnitude" in name:
                parameter.mul_(1.1)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    if not settings.get("use_dora"):
        gguf_lora(folder, json.loads((base / "config.json").read_text("utf-8")), folder / "adapter.gguf")
    return folder


def register(name: str, base_spec: str, seed: int = 0, corpus: dict[str, Any] | None = None, **options: Any) -> Any:
    """An adapter with a manifest in the registry of the current HONE_HOME."""
    from assistant import paths
    from assistant.models import store
    from assistant.models.identity import adapter_digest, base_identity
    from assistant.models.registry import AdapterVersion, Registry

    base = store.find(base_spec)
    assert base is not None
    staged = make_adapter(paths.adapters_dir() / f"{name}-{seed}", store.tuning_form(base), seed, **options)
    files = corpus or {"sources": [], "files": [], "dropped": [], "redactions": {}}
    (staged / "manifest.json").write_text(json.dumps({"schema_version": 1, "corpus": files}))
    digest = base_identity(base).digest
    version = AdapterVersion(
        name, adapter_digest(staged, digest), base.name, digest, staged, "2026-01-01T00:00:00+00:00", {}
    )
    Registry().register(version)
    return version
