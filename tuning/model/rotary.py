"""Rotary position embedding of queries and keys together, without the concatenations of `rotate_half`."""

from typing import Any

import torch


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    def backward(context: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos, sin = context.saved_tensors
        return _turned(outputs[0], cos, sin, -1), None, None


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, direction: int) -> torch.Tensor:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = cos[..., :half].unsqueeze(1), sin[..., :half].unsqueeze(1)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-direction)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin, value=direction)
    return out


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The heads of x, each turned by its position.

    Args:
        x: [1, heads, tokens, head_dim], in any memory layout.
        cos, sin: [1, tokens, head_dim], both halves alike, as transformers makes them.

    Returns:
        [1, heads, tokens, head_dim], contiguous.
    """
    return _Rotate.apply(x, cos, sin)
