"""RMSNorm with a frozen weight, its backward pass in three passes over the hidden state instead of autograd's ten."""

from typing import Any

import torch

from tuning.model.fused import fused


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float, fuse: bool) -> torch.Tensor:
        context.fuse = fuse
        if fuse:
            out, scale = _forward(x, weight, epsilon)
            context.save_for_backward(x, weight, scale)
            return out
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        context.save_for_backward(x, weight, scale)
        return (wide * scale).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(context: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, scale = context.saved_tensors
        if context.fuse:
            return _backward(outputs[0], x, scale, weight), None, None, None
        # All in fp32: operations on two number formats at once are several times slower on a CPU.
        wide, gradient = x.float(), (outputs[0] * weight).float()
        along = (gradient * wide).sum(-1, keepdim=True).mul_(scale**3).div_(-x.shape[-1])
        return (gradient * scale).addcmul_(wide, along).to(x.dtype), None, None, None


@fused(1)
def _forward(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    return (wide * scale).to(x.dtype) * weight, scale


@fused(1, 1, 1)
def _backward(outputs: torch.Tensor, x: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    wide, gradient = x.float(), (outputs * weight).float()
    along = (gradient * wide).mean(-1, keepdim=True) * scale**3
    return (gradient * scale - wide * along).to(x.dtype)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float, fuse: bool = False) -> torch.Tensor:
    """`x / sqrt(mean(x²) + epsilon) * weight` over the last dimension, the mean in fp32; gradient for x only."""
    return _RmsNorm.apply(x, weight, epsilon, fuse)
