"""Next tokens and log-probabilities of given token ids, by transformers and by llama.cpp, for comparing the two."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant import cores

POSITIONS = 500
"""Teacher-forced positions compared. At 95 % agreement their standard error is about one point."""
CONTEXT = 32
"""Tokens of each passage that are context only."""
END = -1
_SMALL_BYTES = 16_000_000

Place = tuple[int, int]
"""(passage, position)."""
Picks = dict[Place, int]
"""The greedy token for each place; `END` for any token that ends a text."""


@dataclass(frozen=True)
class Served:
    """What llama.cpp says at each place."""

    picks: Picks
    scores: dict[Place, float]
    """Natural log-probability of the token that stands there."""


def places(passages: Sequence[Sequence[int]], ends: frozenset[int]) -> list[Place]:
    """Where llama.cpp is asked: a call each, so not everywhere; and not for the tokens that end a text, for which it
    reports nothing."""
    everywhere = ((index, at) for index, passage in enumerate(passages) for at in range(CONTEXT, len(passage)))
    return [(index, at) for index, at in everywhere if passages[index][at] not in ends][:POSITIONS]


def picks_and_scores(
    model: Any, passages: Sequence[Sequence[int]], ends: frozenset[int]
) -> tuple[Picks, list[list[float]]]:
    """Greedy picks, and the log-probability of each token but the first, by transformers."""
    import torch

    picks: Picks = {}
    scores = []
    for index, passage in enumerate(passages):
        tokens = torch.tensor([list(passage)], device=model.device)
        with torch.no_grad():
            logits = model(input_ids=tokens, document_lengths=(len(passage),), use_cache=False).logits[0, :-1].float()
        for at, pick in enumerate(logits.argmax(-1).tolist(), start=1):
            picks[index, at] = END if pick in ends else pick
        scores.append(torch.log_softmax(logits, -1).gather(1, tokens[0, 1:, None])[:, 0].tolist())
    return picks, scores


class LlamaCpp:
    """llama.cpp in this process on one GGUF, with a GGUF LoRA or without; once made it lasts as long as the process."""

    def __init__(self, gguf: Path, lora: Path | None, passages: Sequence[Sequence[int]], folder: Path) -> None:
        """
        Args:
            folder: an empty private folder.
        """
        import secrets

        import xllamacpp

        self._passages = passages
        self._lora = lora is not None
        params = xllamacpp.CommonParams()
        params.model.path = str(gguf)
        # A slot for each passage: they are read side by side, and llama.cpp computes a token of each at once.
        params.n_parallel = len(passages)
        params.n_ctx = len(passages) * (max(map(len, passages)) + 16)
        # Threads wait for each other longer than a very small model computes.
        threads = 1 if gguf.stat().st_size < _SMALL_BYTES else cores.physical()
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        params.cache_ram_mib = 0
        params.verbosity = -1
        # Its listener cannot be switched off, so it listens where nobody else can reach it.
        params.hostnames = [str(folder / "proof.sock")]
        params.api_keys = [secrets.token_urlsafe(24)]
        if lora is not None:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 0.0)]
        self._server = xllamacpp.Server(params)

    def read(self, ends: frozenset[int], scale: float = 1.0) -> Served:
        """What it says at `places` with the LoRA at `scale`.

        Places whose token is no whole character are left out, since llama.cpp reports nothing for them either.
        """
        by_passage: dict[int, list[int]] = {}
        for index, at in places(self._passages, ends):
            by_passage.setdefault(index, []).append(at)

        def answers(index: int) -> dict[Place, tuple[int, float] | None]:
            passage = self._passages[index]
            return {(index, at): self._ask(index, passage[:at], passage[at], scale) for at in by_passage[index]}

        with ThreadPoolExecutor(len(by_passage)) as pool:
            found = {
                place: answered
                for passage in pool.map(answers, by_passage)
                for place, answered in passage.items()
                if answered is not None
            }
        picks = {place: END if pick in ends else pick for place, (pick, _) in found.items()}
        return Served(picks, {place: score for place, (_, score) in found.items()})

    def _ask(self, slot: int, prompt: Sequence[int], follows: int, scale: float) -> tuple[int, float] | None:
        fields: dict[str, Any] = {
            "prompt": list(prompt),
            "id_slot": slot,
            "n_predict": 1,
            "temperature": 0,
            # The probabilities that are reported are the model's own; the bias only makes llama.cpp sample, and so
            # report, the token that stands in the text.
            "n_probs": 1,
            "logit_bias": [[follows, 1e6]],
            "cache_prompt": True,
        }
        if self._lora:
            fields["lora"] = [{"id": 0, "scale": scale}]
        answer = self._server.handle_completions(fields)
        reported = answer["choices"][0]["logprobs"]
        if not reported or not reported["content"]:
            return None
        (content,) = reported["content"]
        assert content["id"] == follows
        return int(content["top_logprobs"][0]["id"]), float(content["logprob"])


def agreement(one: Mapping[Place, int], other: Mapping[Place, int], at: Sequence[Place]) -> float:
    """Share of places at which both pick the same token."""
    return sum(one[place] == other[place] for place in at) / len(at)


def bits(scores: Sequence[Sequence[float]] | Mapping[Place, float], at: Sequence[Place]) -> float:
    """Bits of the tokens at some places. A passage's scores begin with its second token."""
    if isinstance(scores, Mapping):
        return -math.fsum(scores[place] for place in at) / math.log(2)
    return -math.fsum(scores[index][position - 1] for index, position in at) / math.log(2)


def greatest_difference(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """Greatest absolute difference of two models' log-probabilities of the same tokens."""
    return max(abs(a - b) for mine, theirs in zip(one, other, strict=True) for a, b in zip(mine, theirs, strict=True))


def text_bytes(passages: Sequence[Sequence[int]], at: Sequence[Place], tokenizer: Any) -> int:
    """UTF-8 bytes of the tokens at some places."""
    by_passage: dict[int, list[int]] = {}
    for index, position in at:
        by_passage.setdefault(index, []).append(passages[index][position])
    return sum(len(tokenizer.decode(tokens).encode()) for tokens in by_passage.values())
