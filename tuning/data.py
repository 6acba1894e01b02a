"""Corpus to packed rows: read, redact, deduplicate, split (`corpus`), turn into examples, pack (`rows`)."""

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from assistant import cores, prompts
from assistant.errors import HoneError
from tuning import cache
from tuning.corpus import ordered, state
from tuning.corpus.assemble import Corpus, Note, Surprise, assemble, open_corpus
from tuning.corpus.document import Document
from tuning.corpus.ordered import ALONE, Workers
from tuning.corpus.sources import Source, parse, resolve
from tuning.examples.make import Maker
from tuning.examples.making import Making, text_bytes
from tuning.examples.pack import Row
from tuning.examples.plain import IGNORED, Example
from tuning.jobs import ray_workers
from tuning.plan import CorpusOptions, Plan
from tuning.rows import Kept, Rows, RowsWriter, kept

FORMAT = 3
"""Of cached corpora and rows: another number makes them anew."""


_WORTH_BYTES = 2 << 20
"""With less text, other processes take as long to begin as this one to make the examples."""

MOST_REPEATS = 16
"""Of a small repository beside a reviewer's general set, each time with other bugs."""


@dataclass(frozen=True)
class Data:
    corpus: Corpus
    rows: Sequence[Row]
    """Training rows, read from disk one at a time."""
    validation: Sequence[Row]
    counts: dict[str, int]
    """Training examples of each kind."""
    train_tokens: int
    """Of one epoch."""
    supervised_tokens: int
    """Those of them that are learnt."""
    end_token: int
    digest: str
    """Of everything that decides the rows: corpus, tokenizer, settings."""
    corpus_validation: Sequence[Row] = ()
    """Where feedback is learnt too: the validation rows of the corpus alone."""


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


def prepare(specs: Sequence[str | Path], tokenizer: Any, plan: Plan) -> Data:
    """Everything from sources, as they are named on the command line, to rows.

    Raises:
        HoneError: a bad source, nothing usable, or too little to hold files out.
    """
    return make_rows(read_corpus(resolve_sources(specs, plan.corpus), plan.corpus), tokenizer, plan)


def read_corpus(
    sources: Sequence[Source],
    options: CorpusOptions,
    note: Note = lambda files, size: None,
    surprise: Surprise | None = None,
) -> Corpus:
    """What resolved sources hold. What an earlier run read of the same state with the same settings is taken as it is.

    Raises:
        HoneError: a source that cannot be read, nothing usable, or too little to hold files out.
    """
    settings = asdict(replace(options, sources=(), weights=()))

    def make(folder: Path) -> None:
        with _workers() as workers:
            assemble(sources, options, folder, note, surprise, workers)

    now = state.state_of(sources)
    key = cache.key_of(
        FORMAT,
        version("detect-secrets"),
        # What cannot be told to be unchanged is read anew.
        now if now is not None else os.urandom(16).hex(),
        settings,
        surprise.base if surprise else None,
    )
    folder = cache.folder_for("corpora", key, make)
    corpus = open_corpus(folder)
    if corpus is None:
        raise HoneError(f"the corpus kept in {folder} cannot be read; remove that folder")
    return corpus


def _workers() -> AbstractContextManager[Workers]:
    """Of a run across nodes of Ray those of its nodes, else this machine's."""
    places = ray_workers.places()
    return ray_workers.on_nodes(places) if places else ordered.on_this_machine(cores.usable())


def resolve_sources(specs: Sequence[str | Path], options: CorpusOptions) -> list[Source]:
    """The sources of a run, absolute and pinned, with their weights; what is replayed comes last."""
    weights = options.weights or (1.0,) * len(specs)
    if len(weights) != len(specs):
        raise HoneError(f"{len(weights)} weights were given for {len(specs)} sources; give one for each")
    named = [(str(spec), weight) for spec, weight in zip(specs, weights, strict=True)]
    if options.replay and options.replay_source:
        named.append((options.replay_source, 1.0))
    return [resolve(parse(spec, weight)) for spec, weight in named]


def make_rows(corpus: Corpus, tokenizer: Any, plan: Plan) -> Data:
    """Tokenizes and packs the training and validation files of a corpus, cached by contents and settings.

    Raises:
        HoneError: no training example comes of it.
    """
    vocabulary = tokenizer.get_vocab()
    end_token = vocabulary[prompts.document_end(vocabulary, tokenizer.eos_token)]
    weights = _weights(corpus, plan)
    replayed = len(corpus.sources) - 1 if plan.corpus.replay else None
    key = cache.key_of(
        FORMAT,
        corpus.summary.digest,
        weights,
        replayed,
        tokenizer.backend_tokenizer.to_str(),
        tokenizer.chat_template,
        asdict(plan.examples),
        plan.row_length,
        plan.seed,
    )

    def make(folder: Path) -> None:
        with _workers() if corpus.summary.bytes >= _WORTH_BYTES else nullcontext(ALONE) as workers:
            _write_rows(corpus, Maker(tokenizer, plan, end_token), plan, weights, folder, workers)

    folder = cache.folder_for("rows", key, make)
    rows, validation = Rows(folder / "train"), Rows(folder / "validation")
    if not len(rows):
        raise HoneError("no file is left to train on after the split; name a larger repository")
    return Data(
        corpus=corpus,
        rows=rows,
        validation=validation,
        counts=rows.kinds,
        train_tokens=rows.tokens,
        supervised_tokens=rows.supervised,
        end_token=end_token,
        digest=key,
    )


def _write_rows(
    corpus: Corpus, maker: Maker, plan: Plan, weights: Sequence[float], folder: Path, workers: Workers
) -> None:
    making = Making(maker)

    def made(documents: Iterator[tuple[Document, int]]) -> Iterator[Kept]:
        for examples in ordered.mapped(documents, making, text_bytes, workers):
            yield from examples

    with RowsWriter(folder / "train") as train, RowsWriter(folder / "validation") as validation:
        taught = ((each, _times(each, weights[each.source])) for each in corpus.documents("train"))
        for example in made((each, times) for each, times in taught if times):
            train.add(example)
        # What is replayed against forgetting is no measure of a run; the general set of a reviewer is.
        left_out = len(weights) - 1 if plan.corpus.replay and plan.examples.task != "review" else None
        for example in made((each, 1) for each in corpus.documents("validation") if each.source != left_out):
            validation.add(example)
        if plan.examples.review_rate:
            for fix in _history(corpus, maker, plan):
                train.add(kept(fix, "fix"))
        for writer in (train, validation):
            writer.pack(plan.row_length)


def _history(corpus: Corpus, maker: Maker, plan: Plan) -> Iterator[Example]:
    own = corpus.sources[: -1 if plan.corpus.replay else None]
    for number, source in enumerate(own):
        if source.kind == "git" and source.root and source.commit:
            files = [file for file in corpus.files() if file.source == number]
            taken = {file.path for file in files if file.split == "train"}
            held_out = {file.path for file in files if file.split != "train"}
            yield from maker.fixes(Path(source.root), source.commit, taken, held_out)


def _weights(corpus: Corpus, plan: Plan) -> list[float]:
    """Of each source; that of replayed code is such that it makes `corpus.replay` of what is trained on, by bytes.

    A reviewer's general set is whole, since it has few enough bugs to learn from: what lacks to the share is seen
    more often.
    """
    options = plan.corpus
    weights = [source.weight for source in corpus.sources]
    if not options.replay:
        return weights
    sizes = [0] * len(weights)
    for file in corpus.files():
        if file.split == "train":
            sizes[file.source] += file.bytes
    own = sum(size * weight for size, weight in zip(sizes[:-1], weights[:-1], strict=True))
    if not sizes[-1]:
        raise HoneError(f"{options.replay_source} has no file to replay; name another source of general code")
    general = options.replay / (1 - options.replay) * own / sizes[-1]
    if plan.examples.task != "review" or general >= 1:
        return [*weights[:-1], general]
    often = min(1 / general, MOST_REPEATS) if general else 1.0
    return [*(weight * often for weight in weights[:-1]), 1.0]


def _times(document: Document, weight: float) -> int:
    """How often a document is seen in an epoch: the weight, its fraction drawn by the document's name."""
    whole, fraction = divmod(weight, 1)
    return int(whole) + (random.Random(document.key).random() < fraction)


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


def to_device(batch: Batch, device: torch.device) -> Batch:
    return Batch(
        batch.tokens.to(device),
        batch.positions.to(device),
        batch.labels.to(device),
        batch.document_lengths,
        batch.text_bytes,
    )


def order(count: int, seed: int, epoch: int) -> list[int]:
    """The indices of `count` rows in the order of one epoch: a function of seed and epoch alone."""
    indices = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(indices)
    return indices


def step_batches(rows: Sequence[Row], rows_per_step: int, seed: int, done: int = 0) -> Iterator[tuple[int, list[Row]]]:
    """(epoch, rows of one optimizer step), without end; the last step of an epoch may be short.

    Args:
        rows: only the rows of a step are read, when it is its turn.
        done: steps to leave out at the beginning.
    """
    steps = -(-len(rows) // rows_per_step)
    epoch, first = divmod(done, steps)
    while True:
        indices = order(len(rows), seed, epoch)
        for start in range(first * rows_per_step, len(rows), rows_per_step):
            yield epoch, [rows[index] for index in indices[start : start + rows_per_step]]
        epoch, first = epoch + 1, 0
