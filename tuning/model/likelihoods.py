"""Log odds of one token over another, read from a model that is being tuned."""

from collections.abc import Callable
from typing import Any

import torch

from tuning.examples.verdicts import Asked
from tuning.model.packed import base_of


def reader(model: Any) -> Callable[[Asked], list[float]]:
    """A function that reads log p(second choice) - log p(first choice) at the positions of what is asked.

    Only the two rows of the output head that the choices have are computed.

    Args:
        model: a (peft) model loaded with packed attention.
    """
    base = base_of(model)
    decoder = getattr(base, base.base_model_prefix)
    head = base.get_output_embeddings().weight

    def read(asked: Asked) -> list[float]:
        tokens = torch.tensor([asked.tokens], device=head.device)
        with torch.no_grad():
            hidden = decoder(
                input_ids=tokens,
                position_ids=torch.arange(len(asked.tokens), device=head.device)[None],
                use_cache=False,
                document_lengths=(len(asked.tokens),),
            ).last_hidden_state[0]
            before = hidden[[position - 1 for position in asked.positions]].float()
            first, second = head[list(asked.choices)].float()
            return (before @ (second - first)).tolist()

    return read
