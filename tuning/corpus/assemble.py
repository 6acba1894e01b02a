"""The corpus steps joined: read, redact, find copies, decontaminate, split.

Documents stream; what is known of them lies in files of one folder, so memory does not grow with the corpus.
"""

import hashlib
import json
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from assistant.errors import HoneError
from tuning.corpus import decontaminate, neardup, ordered
from tuning.corpus.collect import read
from tuning.corpus.document import Document, Dropped, Turn
from tuning.corpus.filters import Filters
from tuning.corpus.ordered import ALONE, Workers
from tuning.corpus.redact import redact_batch
from tuning.corpus.sources import Source
from tuning.corpus.split import NO_SIDE, SIDES, Split, split_by_date, split_by_path
from tuning.plan import CorpusOptions

DOCUMENTS = "documents.jsonl"
FILES = "files.jsonl"
DROPPED = "dropped.jsonl"
SUMMARY = "summary.json"
SIGNATURES = "signatures"
SCHEMA = 1

Note = Callable[[int, int], None]
"""(files read, bytes taken) so far."""


@dataclass(frozen=True)
class Surprise:
    """How little a base model expects a text."""

    base: str
    """Digest of the model."""
    bits_per_byte: Callable[[Document], float]


@dataclass(frozen=True)
class CorpusFile:
    """What a manifest says of a document."""

    source: int
    path: str
    sha256: str
    """Of the raw bytes on disk."""
    bytes: int
    language: str
    licence: str | None
    split: Split


@dataclass(frozen=True)
class Summary:
    files: int
    bytes: int
    sides: dict[str, int]
    """Files of each side."""
    languages: dict[str, int]
    licences: dict[str, int]
    """Files by SPDX id, `unknown` for those without."""
    verdicts: dict[str, int]
    """Files by verdict, `taken` among them."""
    redactions: dict[str, int]
    """Secrets and personal data replaced, by kind."""
    digest: str
    """sha256 over what was taken: paths, texts, sides. Corpora of one digest give the same rows."""


@dataclass(frozen=True)
class Corpus:
    """A corpus that was read once: redacted texts and verdicts in the files of a folder."""

    folder: Path
    sources: tuple[Source, ...]
    summary: Summary

    def files(self) -> Iterator[CorpusFile]:
        for line in _lines(self.folder / FILES):
            yield CorpusFile(**{key: value for key, value in line.items() if key != "offset"})

    def dropped(self) -> Iterator[Dropped]:
        for line in _lines(self.folder / DROPPED):
            yield Dropped(**line)

    def documents(self, *sides: Split) -> Iterator[Document]:
        """The documents of some sides (of all, if none is named), redacted, in corpus order."""
        with (self.folder / DOCUMENTS).open("rb") as texts:
            for line in _lines(self.folder / FILES):
                if not sides or line["split"] in sides:
                    texts.seek(line["offset"])
                    yield _document(json.loads(texts.readline()))


def assemble(
    sources: Sequence[Source],
    options: CorpusOptions,
    folder: Path,
    note: Note = lambda files, size: None,
    surprise: Surprise | None = None,
    workers: Workers = ALONE,
) -> Corpus:
    """Reads `sources` (resolved) into `folder`, which is empty and the caller's to remove on an error.

    Args:
        workers: that redact and sign beside the caller; any of them leave the same files.

    Raises:
        HoneError: nothing usable, too little to hold files out, a detector that failed, or a full disk.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Assembly(sources, options, folder, workers) as assembly:
            assembly.gather(note)
            kept, related = assembly.judge(surprise)
            sides = assembly.split(kept, related)
            summary = _write_files(folder, assembly, sides)
        shutil.rmtree(folder / SIGNATURES)
        content = {"schema_version": SCHEMA, "sources": [asdict(one) for one in sources], "summary": asdict(summary)}
        (folder / SUMMARY).write_text(json.dumps(content, indent=2), "utf-8")
    except OSError as error:
        raise HoneError(f"cannot keep the corpus in {folder}: {error.strerror or error}") from error
    return Corpus(folder, tuple(sources), summary)


class _Assembly:
    """The state between the steps: files in the folder, and a few numbers for each document."""

    def __init__(self, sources: Sequence[Source], options: CorpusOptions, folder: Path, workers: Workers) -> None:
        self._sources, self._options = sources, options
        settings = neardup.Settings(
            shingle=options.shingle,
            hashes=options.hashes,
            duplicate=options.near_duplicates or 1.0,
            related=min(neardup.Settings.related, options.near_duplicates or 1.0),
        )
        self._signatures = neardup.Signatures(folder / SIGNATURES, settings, workers)
        self._workers = workers
        self._texts = (folder / DOCUMENTS).open("w+b")
        self._dropped = (folder / DROPPED).open("w", encoding="utf-8")
        self.offsets, self._committed, self._sizes = array("q"), array("q"), array("q")
        self.redactions: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._signatures.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signatures.__exit__(kind, error, trace)
        self._texts.close()
        self._dropped.close()

    def gather(self, note: Note) -> None:
        """Writes down every document that is taken by its name, content and licence, and is in no eval set.

        Raises:
            HoneError: there is none, or the detector of secrets fails.
        """
        for document in self._decontaminated(self._clean(note)):
            self.offsets.append(self._texts.tell())
            self._committed.append(-1 if document.committed is None else document.committed)
            self._sizes.append(document.bytes)
            line = json.dumps(asdict(document), ensure_ascii=False)
            self._texts.write(line.encode("utf-8", "surrogatepass") + b"\n")
            self._signatures.add(document)
        if not self.offsets:
            raise HoneError(self._nothing())

    def _clean(self, note: Note) -> Iterator[Document]:
        taken = 0
        found = read(self._sources, _filters(self._options))
        work = redact_batch if self._options.redact else _as_it_is
        for count, item in enumerate(ordered.mapped(found, work, _text_bytes, self._workers), 1):
            if isinstance(item, Dropped):
                self._drop(item)
            else:
                document, kinds = item
                self.redactions.update(kinds)
                taken += document.bytes
                yield document
            note(count, taken)

    def _decontaminated(self, documents: Iterator[Document]) -> Iterator[Document]:
        if self._options.decontaminate is None:
            yield from documents
            return
        evals = decontaminate.Evals(_eval_tasks(self._options), self._options.decontaminate)
        for document, hit in evals.check(documents):
            if hit is None:
                yield document
            else:
                self._drop(evals.dropped(document, hit))

    def judge(self, surprise: Surprise | None) -> tuple[Any, Any]:
        """Drops copies and what surprises; [documents] of which are kept, and which cluster each is related to."""
        clusters = neardup.find(self._signatures)
        kept = clusters.kept
        most = self._options.max_surprise
        for index in range(len(self.offsets)):
            if not kept[index]:
                # Without near duplicates, only equal texts are copies.
                if self._options.near_duplicates is None and not clusters.exact[index]:
                    kept[index] = True
                    continue
                original = self.at(int(clusters.original[index]))
                self._drop(clusters.dropped(index, self.at(index), original.path))
            elif surprise is not None and most is not None:
                document = self.at(index)
                bits = surprise.bits_per_byte(document)
                if bits > most:
                    kept[index] = False
                    reason = f"{bits:.2f} bits per byte under the base model, over {most:g}"
                    self._drop(Dropped(document.source, document.path, "too surprising", reason))
        return kept, clusters.related

    def split(self, kept: Any, related: Any) -> Any:
        """[documents] of int: the side of each, `NO_SIDE` for those that are not kept.

        Raises:
            HoneError: too few documents, or without the dates that were asked for.
        """
        shares = (self._options.validation_share, self._options.test_share)
        if self._options.split_by == "date":
            return split_by_date(self._committed, self._sizes, related, kept, *shares)
        return split_by_path((self.at(index).path for index in range(len(self.offsets))), related, kept, *shares)

    def at(self, index: int) -> Document:
        """A document that was gathered."""
        self._texts.seek(self.offsets[index])
        return _document(json.loads(self._texts.readline()))

    def _drop(self, verdict: Dropped) -> None:
        self.verdicts[verdict.verdict] += 1
        self._dropped.write(json.dumps(asdict(verdict)) + "\n")

    def _nothing(self) -> str:
        named = " ".join(source.path for source in self._sources)
        if not self.verdicts:
            return f"{named}: no tracked files; commit some source files first"
        why = ", ".join(f"{count:,} {verdict}" for verdict, count in self.verdicts.most_common(3))
        return f"{named}: none of {self.verdicts.total():,} files is usable source code ({why}); name another folder"


def open_corpus(folder: Path) -> Corpus | None:
    """The corpus that an earlier `assemble` left in `folder`; None if there is none that this version reads."""
    try:
        content = json.loads((folder / SUMMARY).read_text("utf-8"))
        if content["schema_version"] != SCHEMA:
            return None
        return Corpus(folder, tuple(Source(**one) for one in content["sources"]), Summary(**content["summary"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _as_it_is(items: list[Document | Dropped]) -> list[tuple[Document, list[str]] | Dropped]:
    return [item if isinstance(item, Dropped) else (item, []) for item in items]


def _text_bytes(item: Document | Dropped) -> int:
    return len(item.text) if isinstance(item, Document) else 0


def _filters(options: CorpusOptions) -> Filters:
    return Filters(
        languages=frozenset(options.languages) or None,
        licences=frozenset(options.licences) or None,
        excluded_licences=frozenset(options.excluded_licences),
        include=options.include,
        exclude=options.exclude,
        min_bytes=options.min_bytes,
        max_bytes=options.max_bytes,
        dates=options.split_by == "date",
    )


def _eval_tasks(options: CorpusOptions) -> list[decontaminate.Task]:
    tasks = decontaminate.installed()
    for file in options.decontaminate_files:
        tasks += decontaminate.read_tasks(Path(file))
    return tasks


def _write_files(folder: Path, assembly: _Assembly, sides: Any) -> Summary:
    per_side: Counter[str] = Counter(dict.fromkeys(SIDES, 0))
    languages: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    size = 0
    digest = hashlib.sha256()
    with (folder / FILES).open("w", encoding="utf-8") as files:
        for index, side in enumerate(sides.tolist()):
            if side == NO_SIDE:
                continue
            document = assembly.at(index)
            per_side[SIDES[side]] += 1
            languages[document.language] += 1
            licences[document.licence or "unknown"] += 1
            size += document.bytes
            line = {
                "source": document.source,
                "path": document.path,
                "sha256": document.sha256,
                "bytes": document.bytes,
                "language": document.language,
                "licence": document.licence,
                "split": SIDES[side],
                "offset": assembly.offsets[index],
            }
            files.write(json.dumps(line) + "\n")
            content = hashlib.sha256(json.dumps(asdict(document), sort_keys=True).encode()).hexdigest()
            digest.update(f"{document.key}\0{SIDES[side]}\0{content}\n".encode("utf-8", "surrogatepass"))
    verdicts = assembly.verdicts + Counter(taken=per_side.total())
    return Summary(
        files=per_side.total(),
        bytes=size,
        sides=dict(per_side),
        languages=dict(languages.most_common()),
        licences=dict(licences.most_common()),
        verdicts=dict(verdicts.most_common()),
        redactions=dict(assembly.redactions.most_common()),
        digest=digest.hexdigest(),
    )


def _document(line: dict[str, Any]) -> Document:
    return Document(**{**line, "turns": tuple(Turn(**turn) for turn in line["turns"])})


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
