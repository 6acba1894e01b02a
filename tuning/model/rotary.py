"""Rotary position embedding of queries and keys together, without the concatenations of `rotate_half`."""

from typing import Any

import torch

from tuning.model.fused import fused


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, fuse: bool) -> torch.Tensor:
        context.save_for_backward(cos, sin)
        context.turn = _turned_at_once if fuse else _turned
        turned: torch.Tensor = context.turn(x, cos, sin, 1)
        return turned

    @staticmethod
    def backward(context: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos, sin = context.saved_tensors
        return context.turn(outputs[0], cos, sin, -1), None, None, None


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, direction: int) -> torch.Tensor:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = cos[..., :half].unsqueeze(1), sin[..., :half].unsqueeze(1)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-direction)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin, value=direction)
    return out


@fused(2, 1, 1)
def _turned_at_once(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, direction: int) -> torch.Tensor:
    half = x.shape[-1] // 2
    first, second = x[..., :half].float(), x[..., half:].float()
    cos, sin = cos[..., :half].unsqueeze(1).float(), sin[..., :half].unsqueeze(1).float() * direction
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype).contiguous()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, fuse: bool = False) -> torch.Tensor:
    """The heads of x, each turned by its position.

    Args:
        x: [1, heads, tokens, head_dim], in any memory layout.
        cos, sin: [1, tokens, head_dim], both halves alike, as transformers makes them.

    Returns:
        [1, heads, tokens, head_dim], contiguous.
    """
    return _Rotate.apply(x, cos, sin, fuse)
