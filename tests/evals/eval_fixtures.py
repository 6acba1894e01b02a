"""A base with a byte tokenizer, adapters registered on it, and a repository that they were tuned on."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assistant.models.identity import adapter_digest, base_identity
from assistant.models.registry import AdapterVersion, Registry
from assistant.models.store import BaseModel, find
from tests.evals.test_heldout import write_manifest
from tests.small_models import write_adapter, write_folder

VOCABULARY = 257


def write_base(folder: Path) -> Path:
    """A safetensors folder whose tokenizer has one token a byte, and an end token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    write_folder(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: number for number, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    return folder


def register(
    name: str, base: Path, root: Path, split: dict[str, str], seed: int = 0, adapter: Path | None = None
) -> AdapterVersion:
    """An adapter with a manifest, as a tuning run leaves it; `adapter` is a folder with a real one."""
    found = find(str(base))
    assert isinstance(found, BaseModel)
    folder = adapter or write_adapter(base.parent / f"adapter-{name}", seed)
    write_manifest(folder, root, split)
    digest = base_identity(found).digest
    version = AdapterVersion(
        name, adapter_digest(folder, digest), found.name, digest, folder, "2026-01-01T00:00:00+00:00", {}
    )
    Registry().register(version)
    return version


class UniformScorer:
    """Gives every token the same probability: `bits` bits each."""

    def __init__(self, bits: float) -> None:
        self._bits = bits
        self.calls = 0

    def score(self, token_ids: Sequence[int]) -> list[float]:
        self.calls += 1
        return [-self._bits * math.log(2)] * (len(token_ids) - 1)


def load_tokenizer(folder: Path) -> tuple[Any, int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer, tokenizer.get_vocab()["<|endoftext|>"]


def samples_of(folder: Path) -> list[dict[str, Any]]:
    """Of two lines with one key the later one."""
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_bytes().splitlines()]
    return list({row["key"]: row for row in rows}.values())
