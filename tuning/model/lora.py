"""LoRA by peft, its linear layers computed as one autograd function.

peft's forward is `base(x) + B(A(x)) * scaling`: three extra passes over [tokens, out] and as many saved tensors. Here
the low-rank product is added into the base's output in place, and the backward pass reuses what it needs. Layers that
read the same input (q, k and v; gate and up) are computed as one, so the input's gradient is one product too.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from assistant.errors import HoneError


class _LoraLinears(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        scaling: float,
        *pairs: torch.Tensor,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        a = torch.cat(pairs[0::2]).to(x.dtype)
        # On the diagonal of one matrix the layers' Bs make one product: its zeros cost less than three small products.
        b = torch.block_diag(*pairs[1::2]).to(x.dtype)
        low = functional.linear(flat, a)
        out = _two_products(flat, weight.t(), low, b.t(), scaling)
        if bias is not None:
            out += bias
        context.save_for_backward(flat, weight, a, b, low)
        context.scaling = scaling
        context.shapes = [pair.shape for pair in pairs[1::2]]
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b, low = context.saved_tensors
        gradient = outputs[0].reshape(-1, outputs[0].shape[-1])
        low_gradient = (gradient @ b).mul_(context.scaling)
        whole_b = (gradient.t() @ low).mul_(context.scaling)
        ranks = [rank for _, rank in context.shapes]
        rows = whole_b.split([out for out, _ in context.shapes])
        grad_bs = [part.split(ranks, dim=1)[at].float() for at, part in enumerate(rows)]
        grad_as = (low_gradient.t() @ x).float().split(ranks)
        grad_x = None
        if context.needs_input_grad[0]:
            grad_x = _two_products(gradient, weight, low_gradient, a, 1.0).view(*outputs[0].shape[:-1], -1)
        pairs = [gradient for pair in zip(grad_as, grad_bs, strict=True) for gradient in pair]
        return grad_x, None, None, None, *pairs


def _two_products(
    x: torch.Tensor, weight: torch.Tensor, low: torch.Tensor, small: torch.Tensor, scaling: float
) -> torch.Tensor:
    """`x @ weight + scaling * low @ small`, contiguous."""
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and weight.shape[0] > 1.5 * weight.shape[1]:
        # oneDNN's bfloat16 kernels take twice as long for a product that narrows as for its transpose (measured for
        # 1,024 x 1,536 x 576, 3,072 x 576 and 4,864 x 896), and the copy back costs a tenth of that.
        return torch.mm(weight.t(), x.t()).addmm_(small.t(), low.t(), alpha=scaling).t().contiguous()
    return (x @ weight).addmm_(low, small, alpha=scaling)


def lora_linears(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, scaling: float, *pairs: torch.Tensor
) -> torch.Tensor:
    """Some linear layers of one input, each with its LoRA: `x @ weight.T + bias + scaling * (x @ a.T) @ b.T`.

    Gradients are those of x and of each a and b.

    Args:
        x: [..., in].
        weight: [out_1 + out_2 + ..., in], frozen, in x's dtype; bias likewise.
        pairs: a_1, b_1, a_2, b_2, ... with a_i [rank_i, in] and b_i [out_i, rank_i], fp32.

    Returns:
        [..., out_1 + out_2 + ...] in x's dtype.
    """
    return _LoraLinears.apply(x, weight, bias, scaling, *pairs)


def add_lora(model: Any, rank: int, alpha: int, seed: int) -> Any:
    """A peft model with LoRA on every linear layer but the head, fp32 parameters.

    Raises:
        HoneError: the model has no linear layer that LoRA can reach.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    # peft asks for a property that transformers has renamed; nobody here can do anything about it.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
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
    return tuned


@dataclass(frozen=True)
class PlainLora:
    """peft's modules of one linear layer whose LoRA is nothing but B(A(x)) * scaling."""

    base: torch.nn.Linear
    a: torch.nn.Linear
    b: torch.nn.Linear
    scaling: float


def plain_lora(layer: Any) -> PlainLora | None:
    """What a layer consists of, or None if it is no LoRA layer or one that only peft computes.

    Those with dropout, a trainable bias, another variant (DoRA and the like) or a quantized base are left to peft.
    """
    from peft.tuners.lora import Linear

    if type(layer) is not Linear or type(layer.base_layer) is not torch.nn.Linear:
        return None
    names = layer.active_adapters
    if len(names) != 1 or layer.lora_variant or not isinstance(layer.lora_dropout[names[0]], torch.nn.Identity):
        return None
    (name,) = names
    a, b = layer.lora_A[name], layer.lora_B[name]
    if a.bias is not None or b.bias is not None:
        return None
    return PlainLora(layer.base_layer, a, b, layer.scaling[name])


def joined(layers: Sequence[PlainLora]) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """A forward that computes `layers` of one input as one; None if their biases or scalings differ in kind.

    The layers' weights become views of the joined weight, so nothing is in memory twice.
    """
    biases = [layer.base.bias for layer in layers]
    scaling = layers[0].scaling
    if any((bias is None) != (biases[0] is None) for bias in biases) or any(
        layer.scaling != scaling for layer in layers
    ):
        return None
    weight = _share([layer.base.weight for layer in layers])
    bias = None if biases[0] is None else _share([layer.base.bias for layer in layers])
    pairs = [module for layer in layers for module in (layer.a, layer.b)]

    def forward(x: torch.Tensor) -> torch.Tensor:
        return lora_linears(x, weight, bias, scaling, *(module.weight for module in pairs))

    return forward


def _share(parameters: Sequence[Any]) -> torch.Tensor:
    if len(parameters) == 1:
        return parameters[0]
    whole = torch.cat([parameter.data for parameter in parameters])
    for parameter, part in zip(parameters, whole.split([len(parameter) for parameter in parameters]), strict=True):
        parameter.data = part
    return whole


def speed_up(model: Any) -> int:
    """Gives peft's plain linear LoRA layers the one-function forward; returns how many were changed."""
    changed = 0
    for module, layer in _plain_layers(model):
        forward = joined([layer])
        assert forward is not None
        module.forward = forward
        changed += 1
    return changed


def _plain_layers(model: Any) -> Iterator[tuple[Any, PlainLora]]:
    for module in model.modules():
        if (layer := plain_lora(module)) is not None:
            yield module, layer
