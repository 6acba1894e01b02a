"""Exact and near duplicates in a corpus of any size: MinHash bands find the candidates, the shingle sets decide.

Everything that is kept of a document lies in files of one folder. Finding reads one band at a time, so memory holds a
batch of texts and about 60 bytes a document, whatever the corpus weighs.
"""

import contextlib
import hashlib
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import numpy as np
from numpy.typing import NDArray

from assistant.errors import HoneError
from tuning.corpus import minhash
from tuning.corpus.document import Document, Dropped
from tuning.corpus.ordered import ALONE, Pending, Workers

BATCH_BYTES = 1 << 19
"""Text per call of `minhash.sketch`: larger batches leave the processor's cache, smaller ones pay numpy's overhead."""
CROWD = 64
"""A band key shared by more documents than this is refined by further bands: files with one licence header in common
would otherwise be compared each with each."""

Indices = NDArray[np.int32]


@dataclass(frozen=True)
class Settings:
    """What counts as a copy.

    Raises:
        HoneError: a number out of range.
    """

    shingle: int = minhash.SHINGLE
    """Words per shingle."""
    hashes: int = minhash.HASHES
    duplicate: float = 0.7
    """Jaccard similarity of the shingle sets from which a document is dropped, as in BigCode's near deduplication."""
    related: float = 0.5
    """Similarity from which two documents go to one side of the split."""

    def __post_init__(self) -> None:
        if not 1 <= self.shingle <= 100:
            raise HoneError(f"shingle is {self.shingle}; it must be from 1 to 100 words")
        if not 16 <= self.hashes <= 1024:
            raise HoneError(f"hashes is {self.hashes}; it must be from 16 to 1024")
        if not 0.3 <= self.related <= self.duplicate <= 1:
            raise HoneError(
                f"the similarities are related {self.related} and duplicate {self.duplicate}; "
                "they must be at least 0.3, at most 1, and related not above duplicate"
            )

    @property
    def bands(self) -> tuple[int, int]:
        """(bands, rows): the longest bands that still make candidates of 99 % of the pairs at `duplicate` and of 80 %
        of those at `related`; a pair of similarity s shares one of b bands of r rows with probability 1 - (1 - s^r)^b.
        """
        for rows in range(8, 1, -1):
            count = self.hashes // rows
            if _found(self.duplicate, count, rows) >= 0.99 and _found(self.related, count, rows) >= 0.8:
                return count, rows
        return self.hashes, 1


def _found(similarity: float, bands: int, rows: int) -> float:
    return 1 - (1 - similarity**rows) ** bands


@dataclass(frozen=True)
class Clusters:
    """Which documents are copies of which; every array is indexed like the documents, in the order of `add`."""

    original: Indices
    """The first document of the cluster, which is kept; a kept document's own index."""
    similarity: NDArray[np.float32]
    """Jaccard similarity to `original`. A document that is joined to it only through others may lie below the
    threshold."""
    exact: NDArray[np.bool_]
    """The text is equal to that of an earlier `original`."""
    related: Indices
    """The first document of the looser cluster, which must not be torn by the split."""

    @property
    def kept(self) -> NDArray[np.bool_]:
        kept: NDArray[np.bool_] = self.original == np.arange(len(self.original))
        return kept

    def dropped(self, index: int, document: Document, original: str) -> Dropped:
        """The verdict on a document that is not kept; `original` is the path of its original."""
        if self.exact[index]:
            return Dropped(document.source, document.path, "duplicate", f"duplicate of {original}")
        reason = f"near duplicate of {original} ({self.similarity[index]:.2f})"
        return Dropped(document.source, document.path, "near duplicate", reason)


@dataclass(frozen=True)
class _Block:
    keys: NDArray[np.uint64]
    """[bands, documents]"""
    texts: NDArray[np.uint64]
    """[documents, 2]: the first 128 bits of the text's SHA-256."""
    sets: NDArray[np.uint64]
    """[documents]: hash of the shingle set."""
    counts: NDArray[np.int64]
    shingles: NDArray[np.uint32]


class Signatures:
    """What is kept of each document, in files below `folder`, which must be empty and is the caller's to remove.

    With `workers` the sketches are made beside the caller, with the same result.

    Raises:
        HoneError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, settings: Settings | None = None, workers: Workers = ALONE) -> None:
        self.folder = folder
        self.settings = settings or Settings()
        self.bands, self.rows = self.settings.bands
        self._added = 0
        self._batch: list[str] = []
        self._batch_bytes = 0
        self._workers = workers
        self._pending: deque[Pending[_Block]] = deque()
        names = ["texts", "sets", "counts", "shingles", *map(_band, range(self.bands))]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._files: dict[str, BinaryIO] = {name: (folder / name).open("wb") for name in names}
        except OSError as error:
            raise _cannot_write(folder, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            # What a full disk refused is not needed any more.
            with contextlib.suppress(OSError):
                file.close()

    def __len__(self) -> int:
        return self._added

    def add(self, document: Document) -> int:
        """Takes the next document and returns its index.

        Raises:
            HoneError: the disk is full.
        """
        self._batch.append(document.text)
        self._batch_bytes += len(document.text)
        self._added += 1
        if self._batch_bytes >= BATCH_BYTES:
            self._send()
        return self._added - 1

    def flush(self) -> None:
        """Brings everything that was added to the files.

        Raises:
            HoneError: the disk is full.
        """
        if self._batch:
            self._send()
        while self._pending:
            self._write(self._pending.popleft().result())
        try:
            for file in self._files.values():
                file.flush()
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def _send(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        arguments = (batch, self.settings, self.bands, self.rows)
        if self._workers.executor is None:
            self._write(_block(*arguments))
            return
        self._pending.append(self._workers.executor.submit(_block, *arguments))
        if len(self._pending) > self._workers.ahead:
            self._write(self._pending.popleft().result())

    def _write(self, block: _Block) -> None:
        try:
            for band, keys in enumerate(block.keys):
                self._files[_band(band)].write(keys.tobytes())
            for name in ("texts", "sets", "counts", "shingles"):
                self._files[name].write(getattr(block, name).tobytes())
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def keys(self, band: int) -> NDArray[np.uint64]:
        """[documents]: one band's key of each document that was flushed."""
        return np.fromfile(self.folder / _band(band), dtype=np.uint64)

    def column(self, name: Literal["texts", "sets"]) -> NDArray[np.uint64]:
        """The hashes of the texts, [2 x documents], or of the shingle sets, [documents]."""
        return np.fromfile(self.folder / name, dtype=np.uint64)

    def counts(self) -> NDArray[np.int64]:
        """[documents]: distinct shingles of each."""
        return np.fromfile(self.folder / "counts", dtype=np.int64)


def _block(texts: list[str], settings: Settings, bands: int, rows: int) -> _Block:
    sketches = minhash.sketch(texts, settings.shingle, settings.hashes)
    digests = b"".join(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts)
    starts = np.cumsum(sketches.counts) - sketches.counts
    return _Block(
        keys=minhash.band_keys(sketches.signatures, bands, rows),
        texts=np.frombuffer(digests, dtype="<u8").reshape(-1, 2),
        sets=np.add.reduceat(minhash.spread(sketches.shingles), starts),
        counts=sketches.counts,
        shingles=sketches.shingles,
    )


def find(signatures: Signatures) -> Clusters:
    """The clusters of everything that was added: the connected components of the pairs at or above the thresholds.

    The same documents in another order give the same clusters; which one is first and kept follows the order.
    """
    signatures.flush()
    counts = signatures.counts()
    same_text = _first_equal(signatures.column("texts").reshape(-1, 2).T)
    same_set = _first_equal(signatures.column("sets")[None])
    duplicates, related = _Groups(same_set), _Groups(same_set)
    distinct = np.flatnonzero(same_set == np.arange(len(counts))).astype(np.int32)
    with _ShingleSets(signatures.folder / "shingles", counts) as sets:
        for band in range(signatures.bands):
            for run in _runs(signatures, band, distinct, duplicates):
                _compare(run, sets, signatures.settings, duplicates, related)
        original = duplicates.roots()
        similarity = np.ones(len(counts), dtype=np.float32)
        for index in np.flatnonzero((original != same_set) & (same_set == np.arange(len(counts)))):
            similarity[index] = minhash.similarity(sets[int(index)], sets[int(original[index])])
    # A text with the same shingle set as an earlier one is as similar to the original as that one is.
    similarity = similarity[same_set]
    exact = (same_text == original) & (original != np.arange(len(counts)))
    return Clusters(original, similarity, exact, related.roots())


def _compare(
    run: list[int], sets: "_ShingleSets", settings: Settings, duplicates: "_Groups", related: "_Groups"
) -> None:
    for place, first in enumerate(run):
        mine: NDArray[np.uint32] | None = None
        for second in run[place + 1 :]:
            if duplicates.root(first) == duplicates.root(second):
                continue
            # Two sets cannot be more similar than the smaller is large.
            bound = sets.ratio(first, second)
            if bound < settings.related:
                continue
            if bound < settings.duplicate and related.root(first) == related.root(second):
                continue
            mine = sets[first] if mine is None else mine
            value = minhash.similarity(mine, sets[second])
            if value >= settings.duplicate:
                duplicates.join(first, second)
            if value >= settings.related:
                related.join(first, second)


def _runs(signatures: Signatures, band: int, distinct: Indices, duplicates: "_Groups") -> Iterator[list[int]]:
    """Groups of documents that share the band's key and are not one cluster yet."""
    members, keys = distinct, signatures.keys(band)[distinct]
    for further in range(1, signatures.bands + 1):
        order = np.argsort(keys, kind="stable")
        members, keys = members[order], keys[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
        sizes = np.diff(starts, append=len(keys))
        last = further == signatures.bands
        roots = duplicates.roots()[members]
        mixed = np.zeros(len(starts), dtype=bool)
        if len(starts):
            mixed = np.minimum.reduceat(roots, starts) != np.maximum.reduceat(roots, starts)
        for run in np.flatnonzero(mixed & (sizes <= CROWD)):
            yield members[starts[run] : starts[run] + sizes[run]].tolist()
        crowded = np.repeat(mixed & (sizes > CROWD), sizes)
        members, keys = members[crowded], keys[crowded]
        if not members.size:
            return
        if last:
            # Equal in every band, so surely alike: neighbours in an order that does not depend on the corpus' suffice.
            members = members[np.argsort(signatures.column("sets")[members], kind="stable")]
            for start in range(0, len(members) - 1, CROWD - 1):
                yield members[start : start + CROWD].tolist()
            return
        keys = minhash.combine(keys, signatures.keys((band + further) % signatures.bands)[members])


class _Groups:
    """Disjoint sets of document indices; the root is the smallest."""

    def __init__(self, first: Indices) -> None:
        self._parent = array("i", first.tobytes())

    def root(self, index: int) -> int:
        parent = self._parent
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def join(self, first: int, second: int) -> None:
        one, other = self.root(first), self.root(second)
        self._parent[max(one, other)] = min(one, other)

    def roots(self) -> Indices:
        """The root of every index."""
        roots = np.frombuffer(self._parent, dtype=np.int32).copy()
        while True:
            further = roots[roots]
            if np.array_equal(further, roots):
                return roots
            roots = further


class _ShingleSets:
    """The documents' shingle sets, read from the file one at a time."""

    def __init__(self, file: Path, counts: NDArray[np.int64]) -> None:
        self._file = file.open("rb", buffering=0)
        self._counts = counts
        self._starts = np.cumsum(counts) - counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getitem__(self, index: int) -> NDArray[np.uint32]:
        self._file.seek(4 * int(self._starts[index]))
        return np.frombuffer(self._file.read(4 * int(self._counts[index])), dtype=np.uint32)

    def ratio(self, first: int, second: int) -> float:
        one, other = int(self._counts[first]), int(self._counts[second])
        return min(one, other) / max(one, other)


def _first_equal(columns: NDArray[np.uint64]) -> Indices:
    """For each document the first one that is equal in every column; `columns` is [columns, documents]."""
    order = np.lexsort(columns)
    ordered = columns[:, order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    first = np.empty(len(order), dtype=np.int32)
    # The sort is stable, so the first of each run has the smallest index.
    first[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))] if len(order) else order
    return first


def _band(number: int) -> str:
    return f"band-{number:03d}"


def _cannot_write(folder: Path, error: OSError) -> HoneError:
    return HoneError(f"cannot write to {folder}: {error.strerror}; free some space there or name another folder")
