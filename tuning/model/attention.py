"""Attention that does not cross documents: no mask in memory, a causal kernel call for each document of a packed row,
or on a GPU one for all of them.

Cost is the sum of squared document lengths; a dense block-diagonal mask would cost the square of the row.
"""

from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch.nn import functional

NAME = "hone_packed"

BLOCK = 256
"""Queries whose scores are held at once in the backward pass."""


def register() -> None:
    """Makes `attn_implementation="hone_packed"` known to transformers; calling it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def packed_attention(
    module: torch.nn.Module | None,
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
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and not dropout:
        return _Attention.apply(query, key, value, document_lengths, scale).transpose(1, 2), None
    if query.device.type == "cuda" and query.dtype in _FLASH_DTYPES and query.shape[-1] % 8 == 0 and not dropout:
        return _flash(query, key, value, document_lengths, scale), None
    outputs = [
        functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, dropout_p=dropout, enable_gqa=q.shape[1] != k.shape[1]
        )
        for q, k, v in zip(
            query.split(document_lengths, dim=2),
            key.split(document_lengths, dim=2),
            value.split(document_lengths, dim=2),
            strict=True,
        )
    ]
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
    return joined.transpose(1, 2).contiguous(), None


_FLASH_DTYPES = (torch.bfloat16, torch.float16)


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: tuple[int, ...], scale: float
) -> torch.Tensor:
    """All documents in one call of FlashAttention (Dao 2023), which torch has for sequences of varying length: for
    short documents a GPU spends more time on the start of a kernel than in it.

    Returns:
        [1, tokens, heads, head_dim]
    """
    bounds, longest = _bounds(lengths, query.device), max(lengths)
    query, key, value = (one[0].transpose(0, 1) for one in (query, key, value))
    out = torch.ops.aten._flash_attention_forward(
        query, key, value, bounds, bounds, longest, longest, 0.0, True, False, scale=scale
    )[0]
    return out[None]


@lru_cache(maxsize=8)
def _bounds(lengths: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Where documents begin and end; the same for every layer of a pass."""
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


class _Attention(torch.autograd.Function):
    """torch's kernel forward; backward by plain matrix products.

    torch's own backward on a CPU takes five times as long as its forward in bfloat16, since it does not use the
    processor's bfloat16 units; products over blocks of queries do.
    """

    @staticmethod
    def forward(
        context: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        lengths: tuple[int, ...],
        scale: float,
    ) -> torch.Tensor:
        # Laid out [tokens, heads, head_dim], as the output projection reads it.
        out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        start = 0
        for length in lengths:
            span = slice(start, start + length)
            out[:, :, span] = functional.scaled_dot_product_attention(
                query[:, :, span],
                key[:, :, span],
                value[:, :, span],
                is_causal=True,
                scale=scale,
                enable_gqa=query.shape[1] != key.shape[1],
            )
            start += length
        context.save_for_backward(query, key, value)
        context.lengths, context.scale = lengths, scale
        return out

    @staticmethod
    def backward(context: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value = context.saved_tensors
        # [key_value_heads, group, tokens, head_dim]: the query heads of one key share its products.
        grouped = (key.shape[1], query.shape[1] // key.shape[1], *query.shape[2:])
        queries, gradients = query[0].view(grouped), outputs[0][0].reshape(grouped)
        to_query = torch.empty_like(query)
        # Gathered as [key_value_heads, head_dim, tokens]: the products are faster that way round.
        turned = (key.shape[1], key.shape[3], key.shape[2])
        to_key, to_value = (torch.zeros(turned, dtype=key.dtype, device=key.device) for _ in range(2))
        start = 0
        for length in context.lengths:
            span = slice(start, start + length)
            _document_backward(
                queries[:, :, span],
                key[0, :, span],
                value[0, :, span],
                gradients[:, :, span],
                to_query[0].view(grouped)[:, :, span],
                to_key[:, :, span],
                to_value[:, :, span],
                context.scale,
            )
            start += length
        return to_query, to_key.transpose(1, 2)[None], to_value.transpose(1, 2)[None], None, None


def _document_backward(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    gradients: torch.Tensor,
    to_queries: torch.Tensor,
    to_keys: torch.Tensor,
    to_values: torch.Tensor,
    scale: float,
) -> None:
    heads, group, length, width = queries.shape
    later = torch.full((BLOCK, BLOCK), float("-inf"), dtype=queries.dtype, device=queries.device).triu_(1)
    for start in range(0, length, BLOCK):
        end = min(length, start + BLOCK)
        count = end - start
        block = (queries[:, :, start:end] * scale).reshape(heads, group * count, width)
        gradient = gradients[:, :, start:end].reshape(heads, group * count, width)
        seen, seen_values = keys[:, :end], values[:, :end]
        scores = torch.bmm(block, seen.transpose(1, 2))
        scores.view(heads, group, count, end)[..., start:].add_(later[:count, :count])
        weights = torch.softmax(scores, dim=-1)
        to_weights = torch.bmm(gradient, seen_values.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
        to_queries[:, :, start:end] = torch.bmm(to_scores, seen).view(heads, group, count, width).mul_(scale)
        to_keys[:, :, :end].baddbmm_(block.transpose(1, 2), to_scores)
        to_values[:, :, :end].baddbmm_(gradient.transpose(1, 2), weights)
