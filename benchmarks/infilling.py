"""How well a model fills in the middle of held-out code: asked with the sentinels that `--teach-fim` teaches, or left
to right, at the same places."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assistant import prompts
from assistant.engines.torch import TorchScorer
from assistant.engines.torch_batch import TorchBatch
from assistant.skills.complete import Budget, ModelForm, Plan, generate, plan
from evals.batched import BatchedClient
from evals.completion import judged
from evals.tasks import levels
from evals.tasks.heldout import HeldOutFile
from evals.tasks.levels import MAX_TOKENS
from evals.tasks.places import Level, Place
from tuning.examples import encode
from tuning.model.load import load_tokenizer

Way = Literal["infilling", "left to right"]
WAYS: Mapping[Way, prompts.FimTokens | None] = {"infilling": prompts.TAUGHT_FIM, "left to right": None}
SHARES: Mapping[Level, int] = {"line": 1, "block": 2}
"""Of blocks half as many are asked as of lines, since each takes three times as long."""
_NAME = "asked"


@dataclass(frozen=True)
class Measured:
    """What a model makes of the places of one level."""

    places: int
    bits_per_byte: float
    """Of the middles, given the prompts that the completions were asked with; end tokens are not counted."""
    exact: int
    """Completions that are the middle, but for blanks at line ends."""
    similarity: float
    """Mean edit similarity, 0 to 1."""


def choose(files: Sequence[HeldOutFile], limit: int, seed: int) -> dict[Level, list[Place]]:
    """At most `limit` lines and half as many blocks, none in a file that spells a sentinel."""
    marks = (prompts.TAUGHT_FIM.prefix, prompts.TAUGHT_FIM.suffix, prompts.TAUGHT_FIM.middle)
    plain = [file for file in files if not any(mark in file.text for mark in marks)]
    return {level: levels.choose(plain, level, -(-limit // share), seed) for level, share in SHARES.items()}


def measure(
    folder: Path,
    adapter: Path | None,
    way: Way,
    places: Mapping[Level, Sequence[Place]],
    prompt_tokens: int,
    dtype: str = "float32",
) -> dict[Level, Measured]:
    """Completes at all places without other files' code, and scores what stands there.

    Args:
        folder: of the base, safetensors and tokenizer.
        adapter: a PEFT adapter's folder; None asks the base.
        dtype: that completions are computed in; scores are in float32.
    """
    engine = TorchBatch(folder, adapter, dtype)
    client = BatchedClient(_NAME, None, engine)
    form = ModelForm(_NAME, None, WAYS[way], engine.context_length)
    budget = Budget(prompt=prompt_tokens, snippets=0)
    scorer, tokenizer = TorchScorer(folder, adapter), load_tokenizer(folder)
    found: dict[Level, Measured] = {}
    for level, asked in places.items():
        if not asked:
            continue
        made = [
            plan(
                client,
                form,
                place.path,
                place.prefix,
                place.suffix,
                max_tokens=MAX_TOKENS[level],
                budget=budget,
                shape=level,
                one_line=level == "line",
            )
            for place in asked
        ]
        texts = _completed(client, form, level, made)
        rows = [judged({"text": text}, place) for text, place in zip(texts, asked, strict=True)]
        found[level] = Measured(
            places=len(asked),
            bits_per_byte=_bits_per_byte(scorer, tokenizer, made, asked),
            exact=sum(row["exact"] for row in rows),
            similarity=math.fsum(row["similarity"] for row in rows) / len(rows),
        )
    return found


def _completed(client: BatchedClient, form: ModelForm, level: Level, made: Sequence[Plan]) -> list[str]:
    asked = [(one.prompt, one.mode == "fim") for one in made]
    # The stop strings are those of the way and the level, so they are the same for all.
    for _ in client.ahead(asked, MAX_TOKENS[level], made[0].stop, range(len(made))):
        pass
    return [generate(client, form, one, MAX_TOKENS[level]).text for one in made]


def _bits_per_byte(scorer: TorchScorer, tokenizer: Any, made: Sequence[Plan], asked: Sequence[Place]) -> float:
    opening = encode.opening(tokenizer)
    prompted = [[*opening, *ids] for ids in encode.plain(tokenizer, [one.prompt for one in made])]
    # A space that the prompt leaves to the model is part of what it is to write.
    middles = [one.held_back + place.expected for one, place in zip(made, asked, strict=True)]
    answers = [encode.continuation(tokenizer, middle) for middle in middles]
    scores = scorer.score_all([[*ids, *answer] for ids, answer in zip(prompted, answers, strict=True)], batch=4)
    nats = -math.fsum(score for each, ids in zip(scores, prompted, strict=True) for score in each[len(ids) - 1 :])
    return nats / math.log(2) / sum(len(middle.encode()) for middle in middles)
