"""What a training step costs in floating point operations, and what the machine can do of them."""

import time
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Shape:
    """What the cost of a model depends on."""

    matmul: int
    """N: weights of all frozen linear layers; the output head is one of them, embeddings that are looked up are not."""
    head: int
    """How many of them are the output head's."""
    lora: int
    """N_lora: trained weights."""
    layers: int
    width: int
    """Of attention: heads x head size."""


def shape_of(model: Any) -> Shape:
    """
    Args:
        model: a peft model of a causal language model of transformers.
    """
    base = model.get_base_model()
    configuration = base.config
    heads = configuration.num_attention_heads
    head_size = getattr(configuration, "head_dim", None) or configuration.hidden_size // heads
    head = base.get_output_embeddings()
    # By sizes, not by numel: a quantized weight packs two numbers into a byte.
    linear = sum(
        module.in_features * module.out_features
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name
    )
    return Shape(
        matmul=linear,
        head=head.in_features * head.out_features,
        lora=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        layers=configuration.num_hidden_layers,
        width=heads * head_size,
    )


def lora_flops_per_token(shape: Shape, context: float, head_share: float = 1.0) -> float:
    """Floating point operations of a forward and a backward pass, per token: `4 N + 3 A + 6 N_lora`.

    A multiplication and an addition are two operations. A frozen weight takes part in the forward product and in that
    of the input's gradient, 2 N each, and has no gradient of its own (6 N in a full fine-tune). A trained one takes
    part in all three. A is the forward pass of causal attention, `4 * layers * width * context / 2` (each token sees
    half of its document on average; scores and their sum over values), and its backward pass costs twice that.
    Recomputed activations are not work towards the result and are not counted.

    Args:
        context: mean length of the document that a token is in: the sum of squared lengths over the sum of lengths.
        head_share: of the tokens that reach the output head, those that are supervised.
    """
    frozen = shape.matmul - shape.head * (1 - head_share)
    attention = 2 * shape.layers * shape.width * context
    return 4 * frozen + 3 * attention + 6 * shape.lora


def gemm_peak(dtype: torch.dtype, device: torch.device, seconds: float = 0.3) -> float:
    """Floating point operations per second of the fastest of a few matrix products, measured now.

    Args:
        seconds: about how long to measure in all.
    """
    sizes = [(1024, 1024, 1024), (1024, 576, 1536), (1536, 1536, 1536)]
    if device.type == "cuda":
        sizes = [(4096, 4096, 4096), (8192, 8192, 8192)]
    best = 0.0
    for rows, inner, columns in sizes:
        a = torch.randn(rows, inner, dtype=dtype, device=device)
        b = torch.randn(columns, inner, dtype=dtype, device=device)
        torch.nn.functional.linear(a, b)
        end = time.perf_counter() + seconds / len(sizes)
        while True:
            _wait(device)
            start = time.perf_counter()
            torch.nn.functional.linear(a, b)
            _wait(device)
            now = time.perf_counter()
            best = max(best, 2 * rows * inner * columns / (now - start))
            if now >= end:
                break
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
