"""Cross entropy of a frozen output head, its gradient taken in the forward pass, in chunks.

The logits of a whole batch are never in memory and are computed once; rows without a label never reach the head.
The method is that of Liger Kernel's fused linear cross entropy (LinkedIn, 2024), without its Triton kernels.
"""

from typing import Any

import torch
from torch.nn import functional

from tuning.examples.plain import IGNORED

CHUNK = 256
"""Rows of logits held at once: 256 x 49,152 fp32 is 50 MB."""
GPU_CHUNK = 2048
"""The same on a GPU, which smaller products do not fill."""


class _FrozenHeadCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, keep: bool
    ) -> torch.Tensor:
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden) if keep else None
        chunk = GPU_CHUNK if hidden.device.type == "cuda" else CHUNK
        for start in range(0, hidden.shape[0], chunk):
            rows = slice(start, start + chunk)
            logits = functional.linear(hidden[rows], head)
            target = targets[rows]
            picked = logits.gather(1, target[:, None]).float()
            if gradient is None:
                loss += (torch.logsumexp(logits.float(), dim=-1, keepdim=True) - picked).sum()
                continue
            # One pass over the logits: the greatest one and its probability give the normalizer.
            probabilities = torch.softmax(logits, dim=-1)
            greatest = probabilities.amax(dim=-1, keepdim=True).float().log()
            loss += (logits.amax(dim=-1, keepdim=True).float() - greatest - picked).sum()
            torch.mm(probabilities, head, out=gradient[rows])
            gradient[rows] -= head[target]
        if gradient is not None:
            context.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(context: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = context.saved_tensors
        return gradient * outputs[0].to(gradient.dtype), None, None, None


def summed_cross_entropy(hidden: torch.Tensor, head: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The summed negative log-likelihood, in nats, of the labelled tokens.

    Args:
        hidden: [tokens, hidden_size], the last hidden state; position i predicts `labels[i]`.
        head: [vocabulary, hidden_size], frozen.
        labels: [tokens], already shifted; `IGNORED` where nothing is learnt.

    Returns:
        A scalar, fp32. Divide by the count of labels for the mean.

    Raises:
        ValueError: the head wants a gradient, which this function does not compute.
    """
    if head.requires_grad:
        raise ValueError("the output head is trainable; this loss is for a frozen one")
    supervised = labels != IGNORED
    hidden = hidden[supervised]
    keep = torch.is_grad_enabled() and hidden.requires_grad
    return _FrozenHeadCrossEntropy.apply(hidden, head, labels[supervised], keep)
