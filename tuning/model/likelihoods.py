"""Log-probabilities of the tokens of a text, read from a model that is being tuned."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from tuning.model.packed import base_of

Span = tuple[int, int]

_ROWS = 64
"""Positions whose logits are held at once: of a large vocabulary a row is half a megabyte."""


def reader(model: Any) -> Callable[[Sequence[int], Sequence[Span]], list[list[float]]]:
    """A function that reads the natural log-probabilities of the tokens of half-open spans, each given all before it.

    The output head is computed at the positions of the spans only.

    Args:
        model: a (peft) model loaded with packed attention.
    """
    base = base_of(model)
    decoder = getattr(base, base.base_model_prefix)
    head = base.get_output_embeddings().weight

    def read(tokens: Sequence[int], spans: Sequence[Span]) -> list[list[float]]:
        ids = torch.tensor([tokens], device=head.device)
        at = [position for start, end in spans for position in range(start, end)]
        found: list[float] = []
        with torch.no_grad():
            hidden = decoder(
                input_ids=ids,
                position_ids=torch.arange(len(tokens), device=head.device)[None],
                use_cache=False,
                document_lengths=(len(tokens),),
            ).last_hidden_state[0]
            for first in range(0, len(at), _ROWS):
                part = at[first : first + _ROWS]
                scores = torch.log_softmax(functional.linear(hidden[[one - 1 for one in part]], head).float(), -1)
                found += scores.gather(1, ids[0, part][:, None])[:, 0].tolist()
        values = iter(found)
        return [[next(values) for _ in range(start, end)] for start, end in spans]

    return read
