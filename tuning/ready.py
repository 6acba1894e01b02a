"""A model made ready to train: on its device, with its optimizer, its fast paths and its share of the processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from assistant.errors import HoneError
from tuning import distributed
from tuning.model import fast, memory
from tuning.model.footprint import MARGIN
from tuning.model.packed import PackedModel
from tuning.model.recompute import recompute_activations
from tuning.plan import Plan

GPU_PASS = 16_384
"""Tokens that a GPU computes at once, so that its time goes into products and not into their start."""


@dataclass(frozen=True)
class Ready:
    accelerator: Any
    model: Any
    """The peft model."""
    wrapped: Any
    """The `PackedModel` around it, as accelerate wraps it."""
    optimizer: Any
    """As accelerate wraps it."""
    adamw: torch.optim.Optimizer
    named: tuple[tuple[str, torch.nn.Parameter], ...]
    """The trained parameters with their names; sharded where the model is."""
    pages_kept: bool
    """Whether freed memory stays in the process, so that what it holds is the most it has held."""
    rows_per_pass: int = 1
    """Rows that are computed at once."""

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for _, parameter in self.named]


def make_ready(model: Any, plan: Plan, accelerator: Any = None) -> Ready:
    """
    Args:
        model: a peft model loaded with packed attention; trained in place.
        accelerator: from `distributed.start`.

    Raises:
        HoneError: the model has nothing to train, or cannot be trained as the plan asks.
    """
    accelerator = accelerator or distributed.start()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise HoneError("the adapter has no trainable parameter; name other target modules")
    if plan.activation_checkpointing:
        recompute_activations(model)
    adamw = optimizer_of(trained, plan)
    wrapped, optimizer = accelerator.prepare(PackedModel(model), adamw)
    if distributed.is_sharded(accelerator):
        # The fast paths keep views of the weights, and a shard has none.
        distributed.sum_gradients(wrapped)
    else:
        if accelerator.device.type == "cpu":
            _leave_the_file(model)
        fast.speed_up(model)
    return Ready(
        accelerator=accelerator,
        model=model,
        wrapped=wrapped,
        optimizer=optimizer,
        adamw=adamw,
        # Sharding replaces the parameters, so they are named after it.
        named=tuple((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad),
        pages_kept=memory.keep_pages(),
        rows_per_pass=rows_per_pass(plan, accelerator.device),
    )


def rows_per_pass(plan: Plan, device: torch.device) -> int:
    """How many rows a device computes at once, at most those of a step."""
    tokens = plan.pass_tokens or (GPU_PASS if device.type == "cuda" else 1)
    return max(1, min(tokens // plan.row_length, plan.rows_per_step))


def largest_pass(row_length: int, memory_of: Callable[[int], int], available: int) -> int:
    """Tokens that a GPU computes at once: `GPU_PASS`, or as many as fit, but a row at least.

    Args:
        memory_of: bytes that a run takes with so many, as estimated.
        available: bytes.
    """
    tokens = GPU_PASS
    while tokens > row_length and memory_of(tokens) * MARGIN > available:
        tokens //= 2
    return max(tokens, row_length)


def _leave_the_file(model: Any) -> None:
    """Copies weights out of the file that they are mapped from.

    The fast paths join some of them into new tensors, and as long as one weight is in the file all of its pages count
    as this process's memory (measured on SmolLM2-135M in float32: 0.38 GB of 3.1 GB at the peak).
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def optimizer_of(parameters: Sequence[torch.nn.Parameter], plan: Plan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters, lr=plan.learning_rate, betas=(0.9, 0.95), weight_decay=plan.weight_decay, fused=True
    )
