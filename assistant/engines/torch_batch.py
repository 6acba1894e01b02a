"""Many completions at once by transformers: for measurements, where nobody waits for one of them.

llama.cpp answers one request with little delay; a matrix product over sixteen prompts uses a processor better than
sixteen over one.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.engines.base import FinishReason
from assistant.engines.torch import end_tokens
from assistant.engines.torch_load import load_model, load_tokenizer
from assistant.engines.torch_sample import StopText

TOKENS_AT_ONCE = 8192
"""Of the prompts of one batch, padding included."""
GPU_TOKENS_AT_ONCE = 65_536
"""The same on a GPU."""


@dataclass(frozen=True)
class Ahead:
    """One finished completion."""

    index: int
    """Of its prompt."""
    pieces: tuple[str, ...]
    """Its text as it came, token by token; nothing from a stop string on."""
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int


class TorchBatch:
    """A model and at most one adapter, greedy.

    Args:
        folder: safetensors and tokenizer.
        adapter: a PEFT adapter's folder.
        dtype: of the computation, "float32" or "bfloat16".

    Raises:
        HoneError: the model or the adapter cannot be loaded.
    """

    def __init__(
        self, folder: Path, adapter: Path | None = None, dtype: str = "float32", threads: int | None = None
    ) -> None:
        self.tokenizer = load_tokenizer(folder)
        self._model = load_model(folder, {} if adapter is None else {"asked": adapter}, threads, dtype)

    @property
    def context_length(self) -> int:
        return int(self._model.config.max_position_embeddings)

    def complete_all(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        stop: Sequence[str] = (),
        wanted: Collection[int] | None = None,
    ) -> Iterator[list[Ahead]]:
        """Completes prompts, those of similar length together; yields the batches as they are done.

        A prompt's companions are decided by the list alone, so the same list gives the same answers.

        Args:
            prompts: token ids, each with room for `max_tokens` in the model's context.
            wanted: indices of prompts; a batch with none of them is passed over. None wants all.
        """
        most = GPU_TOKENS_AT_ONCE if self._model.device.type == "cuda" else TOKENS_AT_ONCE
        order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
        while order:
            longest = len(prompts[order[0]]) + max_tokens
            count = max(1, most // longest)
            chosen, order = order[:count], order[count:]
            if wanted is None or any(index in wanted for index in chosen):
                yield self._batch(chosen, [prompts[index] for index in chosen], max_tokens, stop)

    def _batch(
        self, indices: Sequence[int], prompts: Sequence[Sequence[int]], max_tokens: int, stop: Sequence[str]
    ) -> list[Ahead]:
        import torch

        longest = max(map(len, prompts))
        device = self._model.device
        tokens = torch.zeros(len(prompts), longest, dtype=torch.long, device=device)
        seen = torch.zeros(len(prompts), longest, dtype=torch.long, device=device)
        # Padded on the left, so that all answers begin at the same column.
        for row, prompt in enumerate(prompts):
            tokens[row, longest - len(prompt) :] = torch.tensor(prompt, device=device)
            seen[row, longest - len(prompt) :] = 1
        positions = (seen.cumsum(1) - 1).clamp_(min=0)
        ends = end_tokens(self._model, self.tokenizer)
        texts = [StopText(self.tokenizer, stop) for _ in prompts]
        pieces: list[list[str]] = [[] for _ in prompts]
        reasons: list[FinishReason | None] = [None] * len(prompts)
        counts = [0] * len(prompts)
        cache: Any = None
        for step in range(max_tokens):
            with torch.inference_mode():
                output = self._model(
                    input_ids=tokens,
                    attention_mask=seen,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
            cache = output.past_key_values
            chosen = output.logits[:, -1].argmax(-1)
            for row, token in enumerate(chosen.tolist()):
                if reasons[row] is not None:
                    continue
                counts[row] += 1
                if token in ends:
                    reasons[row] = "stop"
                    continue
                if piece := texts[row].add(token):
                    pieces[row].append(piece)
                if texts[row].stopped:
                    reasons[row] = "stop"
                elif step == max_tokens - 1:
                    reasons[row] = "length"
            if all(reasons):
                break
            tokens = chosen[:, None]
            positions = positions[:, -1:] + 1
            seen = torch.cat([seen, seen.new_ones(len(prompts), 1)], dim=1)
        for row, text in enumerate(texts):
            if rest := text.rest():
                pieces[row].append(rest)
        return [
            Ahead(index, tuple(pieces[row]), reasons[row] or "length", len(prompts[row]), counts[row])
            for row, index in enumerate(indices)
        ]
