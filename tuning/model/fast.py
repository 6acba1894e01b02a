"""Puts the fast forwards into a peft model: what is not known to be computed alike keeps its own.

Each fast path is exact up to rounding and tested against the plain computation, forward and gradients.
"""

from typing import Any

import torch

from tuning.model import lora
from tuning.model.attention import packed_attention
from tuning.model.fused import is_worth_it
from tuning.model.norm import rms_norm
from tuning.model.rotary import rotate
from tuning.model.swiglu import swiglu

ATTENTIONS = ("LlamaAttention", "Qwen2Attention", "MistralAttention")
"""Classes of transformers whose forward is: project, rotate, attend, project."""

MLPS = ("LlamaMLP", "Qwen2MLP", "MistralMLP")
"""Classes of transformers whose forward is `down(act(gate(x)) * up(x))`."""

NORMS = ("LlamaRMSNorm", "Qwen2RMSNorm", "MistralRMSNorm")


def speed_up(model: Any) -> dict[str, int]:
    """Gives a peft model's plain LoRA layers, attentions, MLPs and norms their fast forwards, for packed training.

    The model must be where it is trained already: joined weights do not follow it to another device.

    Returns:
        How many modules of each kind were changed.
    """
    changed = {"layers": lora.speed_up(model), "attentions": 0, "mlps": 0, "norms": 0}
    for module in model.modules():
        kind = type(module).__name__
        if kind in ATTENTIONS:
            changed["attentions"] += _speed_up_attention(module)
        elif kind in MLPS:
            changed["mlps"] += _speed_up_mlp(module)
        elif kind in NORMS and not module.weight.requires_grad:
            _speed_up_norm(module)
            changed["norms"] += 1
    return changed


def _speed_up_attention(module: Any) -> bool:
    layers = [lora.plain_lora(layer) for layer in (module.q_proj, module.k_proj, module.v_proj)]
    if None in layers or getattr(module, "sliding_window", None) or module.attention_dropout:
        return False
    project = lora.joined([layer for layer in layers if layer is not None])
    if project is None:
        return False
    usual, width = module.forward, module.head_dim
    values = module.v_proj.base_layer.out_features // width

    def forward(
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        **rest: Any,
    ) -> tuple[torch.Tensor, None]:
        if position_embeddings is None or past_key_values is not None or rest.get("document_lengths") is None:
            return usual(
                hidden_states,
                position_embeddings=position_embeddings,
                attention_mask=attention_mask,
                past_key_values=past_key_values,
                **rest,
            )
        shape = hidden_states.shape[:-1]
        heads = project(hidden_states).view(*shape, -1, width).transpose(1, 2)
        turning, value = heads.split([heads.shape[1] - values, values], dim=1)
        query, key = rotate(turning, *position_embeddings, is_worth_it(hidden_states)).split(
            [heads.shape[1] - 2 * values, values], dim=1
        )
        attended, _ = packed_attention(
            module, query, key, value, None, module.scaling, document_lengths=rest["document_lengths"]
        )
        return module.o_proj(attended.reshape(*shape, -1)), None

    module.forward = forward
    return True


def _speed_up_mlp(module: Any) -> bool:
    gate, up = lora.plain_lora(module.gate_proj), lora.plain_lora(module.up_proj)
    if gate is None or up is None or type(module.act_fn).__name__ not in ("SiLU", "SiLUActivation"):
        return False
    project = lora.joined([gate, up])
    if project is None:
        return False

    def forward(x: torch.Tensor) -> torch.Tensor:
        return module.down_proj(swiglu(project(x), is_worth_it(x)))

    module.forward = forward
    return True


def _speed_up_norm(module: Any) -> None:
    weight, epsilon = module.weight, module.variance_epsilon

    def forward(x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, weight, epsilon, is_worth_it(x))

    module.forward = forward
