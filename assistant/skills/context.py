"""Retrieval: pieces of the repository's other files that resemble the code before the cursor, by BM25."""

import re
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.prompts import Snippet
from assistant.skills import repository

CHUNK_LINES = 16
MAX_CHUNK_CHARACTERS = 2_000
"""Chunks above it hold minified code or data."""
MAX_CHUNKS = 100_000
QUERY_LINES = 12

_WORD = re.compile(r"[^\W\d]\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")


@dataclass(frozen=True)
class Chunk:
    path: str
    line: int
    """The first line of the chunk, from 1."""
    text: str


@dataclass(frozen=True)
class Retriever:
    """A BM25 index over chunks of lines. Equal queries give equal answers in equal order."""

    chunks: tuple[Chunk, ...]
    files: int
    _index: Any

    def retrieve(self, query: str, k: int, exclude: Collection[str] = ()) -> list[Snippet]:
        """The `k` best chunks, best first; ties by path and line.

        Args:
            query: code; see `query_of`.
            k: how many at most; chunks that share no word with the query are never returned.
            exclude: repository paths that must not appear, such as the file being completed.
        """
        words = [word for word in words_of(query) if self._index is not None and word in self._index.vocab_dict]
        if k < 1 or not words:
            return []
        scores = self._index.get_scores(words)
        ranked = sorted(
            (index for index, score in enumerate(scores.tolist()) if score > 0), key=lambda i: (-scores[i], i)
        )
        best: list[Snippet] = []
        seen: set[str] = set()
        for index in ranked:
            chunk = self.chunks[index]
            if chunk.path in exclude or chunk.text in seen:
                continue
            seen.add(chunk.text)
            best.append(Snippet(chunk.path, chunk.text))
            if len(best) == k:
                break
        return best


def index(root: Path, files: Sequence[str] | None = None, exclude: AbstractSet[str] = frozenset()) -> Retriever:
    """Indexes source files below `root`.

    Args:
        root: the repository.
        files: repository paths; None takes all git-tracked source files, which are none outside a git repository.
        exclude: repository paths to leave out. Files that are binary, not UTF-8, unreadable or larger than
            `repository.MAX_SOURCE_BYTES` are left out too.
    """
    names = repository.tracked_sources(root) if files is None else sorted(files)
    chunks: list[Chunk] = []
    indexed = 0
    for name in names:
        if name in exclude or len(chunks) >= MAX_CHUNKS:
            continue
        text = _read(root / name, name)
        if text is None:
            continue
        found = chunks_of(name, text)
        chunks.extend(found)
        indexed += bool(found)
    return Retriever(tuple(chunks), indexed, _bm25([words_of(f"{chunk.path}\n{chunk.text}") for chunk in chunks]))


def chunks_of(path: str, text: str) -> list[Chunk]:
    """Runs of `CHUNK_LINES` lines that tile a file; blank ones and minified ones are dropped."""
    lines = text.replace("\r\n", "\n").split("\n")
    chunks = []
    for start in range(0, len(lines), CHUNK_LINES):
        body = "\n".join(lines[start : start + CHUNK_LINES]).strip("\n")
        if body.strip() and len(body) <= MAX_CHUNK_CHARACTERS:
            chunks.append(Chunk(path, start + 1, body + "\n"))
    return chunks


def query_of(prefix: str) -> str:
    """The last `QUERY_LINES` non-blank lines before the cursor."""
    tail = prefix[-QUERY_LINES * 400 :]
    return "\n".join([line for line in tail.split("\n") if line.strip()][-QUERY_LINES:])


def words_of(text: str) -> list[str]:
    """Identifiers in lower case, and the parts of those written in snake_case or camelCase."""
    words = []
    for word in _WORD.findall(text):
        words.append(word.lower())
        parts = _PART.findall(word)
        if len(parts) > 1:
            words.extend(part.lower() for part in parts if len(part) > 1)
    return words


def _bm25(documents: list[list[str]]) -> Any:
    if not any(documents):
        return None
    import bm25s

    bm25 = bm25s.BM25()
    bm25.index(documents, show_progress=False)
    return bm25


def _read(path: Path, name: str) -> str | None:
    try:
        if path.stat().st_size > repository.MAX_SOURCE_BYTES:
            return None
        return repository.source_text(path.read_bytes(), name)
    except (OSError, HoneError):
        return None
