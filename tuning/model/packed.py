"""A causal language model that takes packed rows and returns their summed loss."""

from typing import Any

import torch

from tuning.data import Batch
from tuning.model.loss import summed_cross_entropy


class PackedModel(torch.nn.Module):
    """Wraps a (peft) model loaded with packed attention; the wrapper is what accelerate prepares."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        # What FSDP keeps as one unit; accelerate looks for it under this name.
        self._no_split_modules = base_of(model)._no_split_modules

    def tie_weights(self) -> None:
        """Asked for by accelerate, which shards the embedding and a head that shares its weight one by one."""
        base_of(self.model).tie_weights()

    def forward(self, batch: Batch) -> torch.Tensor:
        """The summed negative log-likelihood of the batch's labels, in nats (fp32 scalar)."""
        base = base_of(self.model)
        decoder = getattr(base, base.base_model_prefix)
        hidden = decoder(
            input_ids=batch.tokens,
            position_ids=batch.positions,
            use_cache=False,
            document_lengths=batch.document_lengths,
        ).last_hidden_state
        return summed_cross_entropy(hidden[0], base.get_output_embeddings().weight, batch.labels)


def base_of(model: Any) -> Any:
    """The model without peft around it; the adapter's layers are in place."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
