"""SwiGLU of a joined gate and up projection; the activation is computed again in the backward pass, not kept."""

from typing import Any

import torch
from torch.nn import functional

from tuning.model.fused import fused


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, both: torch.Tensor, fuse: bool) -> torch.Tensor:
        context.save_for_backward(both)
        context.fuse = fuse
        if fuse:
            return _forward(both)
        gate, up = both.chunk(2, dim=-1)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(context: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None]:
        (both,) = context.saved_tensors
        if context.fuse:
            return _backward(outputs[0], both), None
        gradient = torch.empty_like(both)
        gate, up = both.chunk(2, dim=-1)
        to_gate, to_up = gradient.chunk(2, dim=-1)
        torch.ops.aten.silu_backward.grad_input(outputs[0] * up, gate, grad_input=to_gate)
        torch.mul(functional.silu(gate), outputs[0], out=to_up)
        return gradient, None


@fused(1)
def _forward(both: torch.Tensor) -> torch.Tensor:
    gate, up = both.chunk(2, dim=-1)
    return functional.silu(gate) * up


@fused(1, 1)
def _backward(outputs: torch.Tensor, both: torch.Tensor) -> torch.Tensor:
    gate, up = (half.float() for half in both.chunk(2, dim=-1))
    gradient, share = outputs.float(), torch.sigmoid(gate)
    to_gate = gradient * up * share * (1 + gate * (1 - share))
    return torch.cat([to_gate, gradient * gate * share], dim=-1).to(both.dtype)


def swiglu(both: torch.Tensor, fuse: bool = False) -> torch.Tensor:
    """`silu(gate) * up`.

    Args:
        both: [..., 2 * width], gate before up.

    Returns:
        [..., width]
    """
    return _Swiglu.apply(both, fuse)
