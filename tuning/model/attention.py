"""Attention that does not cross documents: one causal kernel call per document of a packed row, no mask in memory.

Cost is the sum of squared document lengths; a dense block-diagonal mask would cost the square of the row.
"""

from typing import Any

import torch
from torch.nn import functional

NAME = "hone_packed"


def register() -> None:
    """Makes `attn_implementation="hone_packed"` known to transformers; calling it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    document_lengths: tuple[int, ...] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document.

    Args:
        query: [1, heads, tokens, head_dim]; key and value: [1, key_value_heads, tokens, head_dim].
        document_lengths: tokens per document, in order, summing to `tokens`.

    Returns:
        ([1, tokens, heads, head_dim], None)

    Raises:
        ValueError: `document_lengths` is missing or does not sum to the number of tokens.
    """
    tokens = query.shape[2]
    if document_lengths is None or sum(document_lengths) != tokens:
        raise ValueError(f"document_lengths {document_lengths} do not sum to the {tokens} tokens of the batch")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    outputs = [
        functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, dropout_p=dropout)
        for q, k, v in zip(
            query.split(document_lengths, dim=2),
            key.split(document_lengths, dim=2),
            value.split(document_lengths, dim=2),
            strict=True,
        )
    ]
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
    return joined.transpose(1, 2).contiguous(), None
