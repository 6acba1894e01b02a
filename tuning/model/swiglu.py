"""SwiGLU of a joined gate and up projection; the activation is computed again in the backward pass, not kept."""

from typing import Any

import torch
from torch.nn import functional


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, both: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(both)
        gate, up = both.chunk(2, dim=-1)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(context: Any, *outputs: torch.Tensor) -> torch.Tensor:
        (both,) = context.saved_tensors
        gradient = torch.empty_like(both)
        gate, up = both.chunk(2, dim=-1)
        to_gate, to_up = gradient.chunk(2, dim=-1)
        torch.ops.aten.silu_backward.grad_input(outputs[0] * up, gate, grad_input=to_gate)
        torch.mul(functional.silu(gate), outputs[0], out=to_up)
        return gradient


def swiglu(both: torch.Tensor) -> torch.Tensor:
    """`silu(gate) * up`.

    Args:
        both: [..., 2 * width], gate before up.

    Returns:
        [..., width]
    """
    return _Swiglu.apply(both)
