"""Activation checkpointing: each decoder layer keeps its input alone and is computed again in the backward pass."""

from functools import partial
from typing import Any

from assistant.errors import HoneError


def recompute_activations(model: Any) -> int:
    """Makes every repeated layer of a transformers model compute again what its backward pass needs; returns how many.

    Losses and gradients are the same, bit for bit; memory falls to one layer's activations and every layer's input; a
    step takes about a third longer. Works with the fast paths, in whatever order the two are put in.

    Raises:
        HoneError: the model has no layer that transformers knows how to repeat.
    """
    from torch.utils.checkpoint import checkpoint
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise HoneError("this model's layers cannot be recomputed; leave out activation_checkpointing")
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    return len(layers)
