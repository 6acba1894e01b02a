"""Corpus to packed rows, in one readable pass."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assistant import prompts
from assistant.errors import HoneError
from tuning.corpus.collect import Collection, collect
from tuning.corpus.redact import redact
from tuning.corpus.split import Split, split
from tuning.examples.pack import Row, pack
from tuning.examples.plain import IGNORED, Example, windows


@dataclass(frozen=True)
class Data:
    collection: Collection
    sides: dict[str, Split]
    redactions: dict[str, int]
    """How many secrets of each kind were replaced before tokenizing."""
    rows: tuple[Row, ...]
    """Training rows."""
    validation: tuple[Row, ...]
    end_token: int

    @property
    def train_tokens(self) -> int:
        return sum(len(example.tokens) for row in self.rows for example in row)


@dataclass(frozen=True)
class Batch:
    """Rows laid end to end as one sequence; documents do not see each other."""

    tokens: torch.Tensor
    """[1, tokens], int64."""
    positions: torch.Tensor
    """[1, tokens], from 0 in each document."""
    labels: torch.Tensor
    """[tokens], already shifted: the label at i is token i + 1, or IGNORED."""
    document_lengths: tuple[int, ...]
    text_bytes: int


def prepare(paths: Sequence[Path], tokenizer: Any, row_length: int) -> Data:
    """Reads, redacts, splits, tokenizes and packs.

    Raises:
        HoneError: nothing usable, or too little to hold files out.
    """
    collection = collect(paths)
    if not collection.documents:
        found = (
            f"{len(collection.dropped)} tracked files, none of them usable source code"
            if collection.dropped
            else "no tracked files"
        )
        raise HoneError(f"{' '.join(map(str, paths))}: {found}; commit some source files first")
    sides = dict(split(collection.documents))
    vocabulary = tokenizer.get_vocab()
    end_token = vocabulary[prompts.document_end(vocabulary, tokenizer.eos_token)]
    redactions: dict[str, int] = {}
    examples: dict[Split, list[Example]] = {"train": [], "validation": [], "test": []}
    for document in collection.documents:
        side = sides[document.path]
        if side == "test":
            continue
        clean, found_secrets = redact(document.text)
        for kind in found_secrets:
            redactions[kind] = redactions.get(kind, 0) + 1
        examples[side] += windows(document.path, clean, tokenizer, row_length, end_token)
    if not examples["train"]:
        raise HoneError("no file is left to train on after the split; name a larger repository")
    return Data(
        collection=collection,
        sides=sides,
        redactions=redactions,
        rows=tuple(pack(examples["train"], row_length)),
        validation=tuple(pack(examples["validation"], row_length)),
        end_token=end_token,
    )


def collate(rows: Sequence[Row]) -> Batch:
    """Lays rows end to end; the last token of each document predicts nothing."""
    documents = [example for row in rows for example in row]
    labels: list[int] = []
    positions: list[int] = []
    for example in documents:
        labels += (*example.labels[1:], IGNORED)
        positions += range(len(example.tokens))
    return Batch(
        tokens=torch.tensor([[token for example in documents for token in example.tokens]]),
        positions=torch.tensor([positions]),
        labels=torch.tensor(labels),
        document_lengths=tuple(len(example.tokens) for example in documents),
        text_bytes=sum(example.text_bytes for example in documents),
    )


def shuffled(rows: Sequence[Row], seed: int, epoch: int) -> list[Row]:
    """The rows in the order of one epoch: a function of seed and epoch alone."""
    order = list(rows)
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


def step_batches(rows: Sequence[Row], rows_per_step: int, seed: int) -> Iterator[tuple[int, list[Row]]]:
    """(epoch, rows of one optimizer step), without end; the last step of an epoch may be short."""
    epoch = 0
    while True:
        order = shuffled(rows, seed, epoch)
        for start in range(0, len(order), rows_per_step):
            yield epoch, order[start : start + rows_per_step]
        epoch += 1
