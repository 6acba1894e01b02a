"""LoRA by peft, its linear layers computed as one autograd function.

peft's forward is `base(x) + B(A(x)) * scaling`: three extra passes over [tokens, out] and as many saved tensors. Here
the low-rank product is added into the base's output in place, and the backward pass reuses what it needs. Layers that
read the same input (q, k and v; gate and up) are computed as one, so the input's gradient is one product too.
"""

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from assistant.errors import HoneError
from tuning.plan import LoraOptions
from tuning.plan_checks import BASE_CHANGING


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


_SETTLED = (
    # peft asks for a property that transformers has renamed; nobody here can do anything about it.
    "`is_gradient_checkpointing` is deprecated",
    # These are refused below, in one line.
    "The following (rank|alpha)_pattern keys did not match",
    "Model has `tie_word_embeddings=True` and a tied layer is part of the adapter",
    # `as_plain` can.
    "Using Rank-Stabilized LoRA with rank_pattern/alpha_pattern and post-training conversion",
)
"""Beginnings of warnings of peft's that the user need not see."""


def add_lora(model: Any, options: LoraOptions, seed: int) -> Any:
    """A peft model with LoRA on linear layers, fp32 parameters; the head is never adapted.

    Raises:
        HoneError: the model has no such layers, a pattern matches none of them, or the start that was asked for cannot
            be undone exactly at the export.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    for message in _SETTLED:
        warnings.filterwarnings("ignore", message)
    torch.manual_seed(seed)
    alpha = options.effective_alpha
    targets = options.target_modules
    configuration = LoraConfig(
        r=options.rank,
        # peft declares an int, divides by it, and writes it to a file in which 64 is usual and 64.0 is not.
        lora_alpha=int(alpha) if alpha == int(alpha) else alpha,  # type: ignore[arg-type]
        lora_dropout=options.dropout,
        bias="none",
        target_modules=targets if isinstance(targets, str) else list(targets),
        rank_pattern=dict(options.rank_pattern),
        alpha_pattern=dict(options.alpha_pattern),
        use_dora=options.use_dora,
        use_rslora=options.use_rslora,
        init_lora_weights=True if options.init == "default" else options.init,  # type: ignore[arg-type]
        task_type=TaskType.CAUSAL_LM,
    )
    linear = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if _is_linear(module)})
    try:
        tuned = get_peft_model(model, configuration, autocast_adapter_dtype=True)
    except ValueError as error:
        if isinstance(targets, str) or "not found in the base model" not in str(error):
            raise HoneError(f"LoRA cannot be added with these options: {' '.join(str(error).split())}") from error
        raise HoneError(
            f"lora.target_modules: this model has no {' or '.join(targets)}; its linear layers are {', '.join(linear)}"
        ) from error
    if not any(parameter.requires_grad for parameter in tuned.parameters()):
        raise HoneError("LoRA found no linear layer to adapt in this model; choose another base")
    _check_targets(tuned, options)
    return tuned


def load_weights(tuned: Any, folder: Path) -> None:
    """Gives an adapter of `add_lora` the weights of one that was saved.

    Raises:
        HoneError: it has other layers or ranks, or cannot be read.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / "adapter_model.safetensors"
    try:
        saved = load_file(file)
    except (OSError, SafetensorError) as error:
        raise HoneError(f"cannot read {file}: {error}") from error
    wanted = {name: weight.shape for name, weight in get_peft_model_state_dict(tuned).items()}
    if wanted != {name: weight.shape for name, weight in saved.items()}:
        raise HoneError(f"the adapter in {folder} has other layers or ranks than were asked for, so it is no start")
    set_peft_model_state_dict(tuned, saved)


def _is_linear(module: Any) -> bool:
    # The quantized layers of bitsandbytes are subclasses.
    return isinstance(module, torch.nn.Linear)


def _check_targets(tuned: Any, options: LoraOptions) -> None:
    """
    Raises:
        HoneError: peft took options that this model gives no meaning to, or ones that training here cannot follow.
    """
    from peft.tuners.lora import Embedding, LoraLayer
    from peft.utils.other import get_pattern_key

    layers: dict[str, Any] = {name: module for name, module in tuned.named_modules() if isinstance(module, LoraLayer)}
    head = tuned.get_output_embeddings()
    for name, layer in layers.items():
        if layer is head or isinstance(layer, Embedding):
            raise HoneError(
                f"lora.target_modules: {name.rpartition('.')[2]} is the embedding or the head, which stays as it is; "
                "name linear layers of the blocks"
            )
    names = list(tuned.base_model.targeted_module_names)
    targets = () if isinstance(options.target_modules, str) else options.target_modules
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise HoneError(f"lora.target_modules: this model has no {target}")
    for option, pattern in (("rank_pattern", options.rank_pattern), ("alpha_pattern", options.alpha_pattern)):
        for key in pattern:
            if not any(get_pattern_key([key], name) == key for name in names):
                raise HoneError(f"lora.{option}: {key!r} matches no layer that is adapted, like {names[0]}")
    if BASE_CHANGING.fullmatch(options.init):
        for name, layer in layers.items():
            dtype = layer.get_base_layer().weight.dtype
            if dtype != torch.float32:
                raise HoneError(
                    f"{options.init} changes the base's weights, which {str(dtype).removeprefix('torch.')} cannot hold "
                    'exactly; use dtype "float32" without quantize, or another lora.init'
                )
            (adapter,) = layer.active_adapters
            if layer.lora_A[adapter].weight.shape[0] != layer.r[adapter]:
                raise HoneError(
                    f"{options.init} of rank {layer.r[adapter]} is more than {name.rpartition('.')[2]} has "
                    f"({min(layer.in_features, layer.out_features)}); choose a lower lora.rank"
                )


def start_of(tuned: Any) -> dict[str, torch.Tensor] | None:
    """The weights of an adapter that `add_lora` has just made, where its start was taken out of the base's weights
    (PiSSA, OLoRA); None where the base is what it was. `as_plain` needs it after the training."""
    from peft import get_peft_model_state_dict

    if not BASE_CHANGING.fullmatch(str(tuned.peft_config["default"].init_lora_weights)):
        return None
    return {name: tensor.detach().clone() for name, tensor in get_peft_model_state_dict(tuned).items()}


def as_plain(tuned: Any, start: Mapping[str, torch.Tensor], base: Any) -> Any:
    """The same function as a LoRA of twice the rank on weights that nothing was taken out of.

    W_rest + s B A = W - s B0 A0 + s B A = W + s [B, -B0] [A; A0], as in peft's `subtract_mutated_init`, which needs
    the start on disk and refuses patterns with rank-stabilized scaling. So the adapter is served from the base as it
    is, and everything that scales, merges or exports a LoRA holds for it.

    Args:
        tuned: what was trained; it is not changed.
        start: of `start_of`, from before the training.
        base: the untouched base model, loaded again.
    """
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    configuration = copy.deepcopy(tuned.peft_config["default"])
    # The scaling stays: alpha / rank, or alpha / sqrt(rank).
    more = math.sqrt(2) if configuration.use_rslora else 2
    configuration.r *= 2
    configuration.lora_alpha *= more
    configuration.rank_pattern = {key: 2 * rank for key, rank in configuration.rank_pattern.items()}
    configuration.alpha_pattern = {key: alpha * more for key, alpha in configuration.alpha_pattern.items()}
    configuration.init_lora_weights = True
    configuration.inference_mode = False
    plain = get_peft_model(base, configuration, autocast_adapter_dtype=True)
    joint = {
        name: torch.cat([weight, start[name]]) if "lora_A" in name else torch.cat([weight, -start[name]], dim=1)
        for name, weight in get_peft_model_state_dict(tuned).items()
    }
    set_peft_model_state_dict(plain, joint)
    return plain


@dataclass(frozen=True)
class PlainLora:
    """peft's modules of one linear layer whose LoRA is nothing but B(A(x)) * scaling."""

    base: torch.nn.Linear
    a: torch.nn.Linear
    b: torch.nn.Linear
    scaling: float


def plain_lora(layer: Any) -> PlainLora | None:
    """What a layer consists of, or None if it is no LoRA layer or one that only peft computes.

    Those with dropout, a trainable bias, another variant (DoRA and the like), a quantized base, or an adapter that is
    merged or switched off are left to peft. Ranks, alphas and rank-stabilized scaling only change what is read here;
    PiSSA and OLoRA only change the base's weights.
    """
    from peft.tuners.lora import Linear

    if type(layer) is not Linear or type(layer.base_layer) is not torch.nn.Linear:
        return None
    names = layer.active_adapters
    if layer.merged or layer.disable_adapters:
        return None
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
