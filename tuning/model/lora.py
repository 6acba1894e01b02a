"""LoRA by peft, its linear layers computed as one autograd function.

peft's forward is `base(x) + B(A(x)) * scaling`: three extra passes over [tokens, out] and as many saved tensors. Here
the low-rank product is added into the base's output in place, and the backward pass reuses what it needs.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from assistant.errors import HoneError


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        a_cast, b_cast = a.to(x.dtype), b.to(x.dtype)
        low = functional.linear(flat, a_cast)
        out = functional.linear(flat, weight, bias)
        out.addmm_(low, b_cast.t(), alpha=scaling)
        context.save_for_backward(flat, weight, a_cast, b_cast, low)
        context.scaling = scaling
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b, low = context.saved_tensors
        gradient = outputs[0].reshape(-1, outputs[0].shape[-1])
        low_gradient = (gradient @ b).mul_(context.scaling)
        grad_b = (gradient.t() @ low).mul_(context.scaling)
        grad_a = low_gradient.t() @ x
        grad_x = None
        if context.needs_input_grad[0]:
            grad_x = (gradient @ weight).addmm_(low_gradient, a).view(*outputs[0].shape[:-1], -1)
        return grad_x, None, None, grad_a.float(), grad_b.float(), None


def lora_linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor, scaling: float
) -> torch.Tensor:
    """`x @ weight.T + bias + scaling * (x @ a.T) @ b.T` with gradients for x, a and b only.

    Args:
        x: [..., in]; weight: [out, in], frozen; a: [rank, in] and b: [out, rank], fp32.

    Returns:
        [..., out] in x's dtype.
    """
    return _LoraLinear.apply(x, weight, bias, a, b, scaling)


def add_lora(model: Any, rank: int, alpha: int, seed: int) -> Any:
    """A peft model with LoRA on every linear layer but the head, fp32 parameters, and the fast forward.

    Raises:
        HoneError: the model has no linear layer that LoRA can reach.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    torch.manual_seed(seed)
    configuration = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules="all-linear",
        task_type=TaskType.CAUSAL_LM,
    )
    tuned = get_peft_model(model, configuration, autocast_adapter_dtype=True)
    if not any(parameter.requires_grad for parameter in tuned.parameters()):
        raise HoneError("LoRA found no linear layer to adapt in this model; choose another base")
    speed_up(tuned)
    return tuned


def speed_up(model: Any) -> int:
    """Gives peft's plain linear LoRA layers the one-function forward; returns how many were changed.

    Layers with dropout, a trainable bias, another variant (DoRA and the like) or a quantized base keep peft's forward.
    """
    changed = 0
    for layer in _plain_layers(model):
        layer.forward = _forward_of(layer)
        changed += 1
    return changed


def _plain_layers(model: Any) -> Iterator[Any]:
    from peft.tuners.lora import Linear

    for layer in model.modules():
        if type(layer) is not Linear or type(layer.base_layer) is not torch.nn.Linear:
            continue
        names = layer.active_adapters
        if len(names) != 1 or layer.lora_variant or not isinstance(layer.lora_dropout[names[0]], torch.nn.Identity):
            continue
        yield layer


def _forward_of(layer: Any) -> Any:
    (name,) = layer.active_adapters
    base, a, b, scaling = layer.base_layer, layer.lora_A[name], layer.lora_B[name], layer.scaling[name]

    def forward(x: torch.Tensor) -> torch.Tensor:
        return lora_linear(x, base.weight, base.bias, a.weight, b.weight, scaling)

    return forward
