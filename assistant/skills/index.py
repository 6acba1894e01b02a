"""An index of a repository's source files in one SQLite file: chunks of lines ranked by BM25 (SQLite's FTS5), and where
top-level names are defined.

The file is kept between calls. A file whose size and time are as before is not read; one whose content is as before is
not indexed again.
"""

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from assistant import paths
from assistant.errors import HoneError
from assistant.network_disks import journal_mode
from assistant.prompts import Snippet
from assistant.skills import chunks, repository
from assistant.skills.chunks import Chunk, words_of

MAX_CHUNKS = 100_000
_SCHEMA_VERSION = 1
_SCHEMA = f"""
CREATE TABLE files (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL);
CREATE TABLE chunks (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX chunks_of_file ON chunks (file);
CREATE TABLE definitions (name TEXT NOT NULL, file INTEGER NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX definitions_of_name ON definitions (name);
CREATE INDEX definitions_of_file ON definitions (file);
CREATE VIRTUAL TABLE words USING fts5 (body, tokenize = "unicode61 remove_diacritics 0 tokenchars '_'");
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, row);
PRAGMA user_version = {_SCHEMA_VERSION};
"""
_BUSY_SECONDS = 5.0
_QUERY_WORDS = 64
_COMMON = 0.25
"""Words that a larger share of the chunks holds (`self`, `return`) tell nothing and cost most."""
_MOST_RANKED = 500
_SETTLED_NS = 2_000_000_000
"""A file that changed this shortly before it was read may change again within the same tick of the file system's clock:
its time alone will not show it."""


@dataclass(frozen=True)
class Update:
    """What `Index.update` did, in files."""

    read: int
    changed: int
    removed: int


class Index:
    """Thread-safe. Equal content and queries give equal answers in equal order, however the index came to be.

    Args:
        root: the repository.
        file: None keeps the index in memory.

    Raises:
        HoneError: the file cannot be created or written.
    """

    def __init__(self, root: Path, file: Path | None = None) -> None:
        self.root = root
        self._file = file
        self._lock = threading.Lock()
        with self._readable():
            try:
                self._connection = self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                # Damaged, or of another version: it can be made again.
                self._remove()
                self._connection = self._open()

    @property
    def files(self) -> int:
        """Files that gave at least one chunk."""
        return int(self._one("SELECT COUNT(DISTINCT file) FROM chunks"))

    @property
    def chunks(self) -> int:
        return int(self._one("SELECT COUNT(*) FROM chunks"))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def update(self, names: Sequence[str] | None = None) -> Update:
        """Makes the index that of `names`, the repository paths of all files it is to hold.

        Files that are binary, not UTF-8, unreadable or larger than `repository.MAX_SOURCE_BYTES` hold nothing. When
        another process updates the index at this moment nothing is done.

        Args:
            names: None takes all git-tracked source files, which are none outside a git repository.
        """
        wanted = repository.tracked_sources(self.root) if names is None else sorted(set(names))
        with self._lock, self._readable():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return Update(0, 0, 0)
            try:
                done = self._update(wanted)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
        return done

    def retrieve(self, query: str, k: int, exclude: Collection[str] = ()) -> list[Snippet]:
        """The `k` best chunks, best first; ties by path and line.

        Args:
            query: code; see `context.query_of`. What stands at its end counts first when it has many words.
            k: how many at most; chunks that share no telling word with the query are never returned.
            exclude: repository paths that must not appear, such as the file being completed.
        """
        if k < 1:
            return []
        with self._lock, self._readable():
            words = self._telling(list(dict.fromkeys(reversed(words_of(query)))))
            if not words:
                return []
            ranked = self._connection.execute(
                "SELECT rowid, bm25(words) AS score FROM words WHERE words MATCH ? ORDER BY score, rowid",
                (" OR ".join(f'"{word}"' for word in words),),
            )
            return self._best(islice(ranked, _MOST_RANKED), k, frozenset(exclude))

    def definitions(self, name: str, exclude: Collection[str] = ()) -> list[Snippet]:
        """The first lines of what defines a top-level name, by path and line."""
        with self._lock, self._readable():
            found = self._connection.execute(
                "SELECT path, text FROM definitions JOIN files ON files.id = file WHERE name = ? ORDER BY path, line",
                (name,),
            ).fetchall()
        return [Snippet(path, text) for path, text in found if path not in exclude]

    def _best(self, ranked: Iterator[tuple[int, float]], k: int, exclude: frozenset[str]) -> list[Snippet]:
        found: list[tuple[float, str, int, str]] = []
        texts: set[str] = set()
        for number, score in ranked:
            # All that tie with the last one are looked at, since the order of rows tells how the index grew.
            if len(texts) >= k and score > found[-1][0]:
                break
            path, line, text = self._connection.execute(
                "SELECT path, line, text FROM chunks JOIN files ON files.id = file WHERE chunks.id = ?", (number,)
            ).fetchone()
            if path not in exclude:
                found.append((score, path, line, text))
                texts.add(text)
        best: dict[str, Snippet] = {}
        for _, path, _, text in sorted(found):
            best.setdefault(text, Snippet(path, text))
        return list(best.values())[:k]

    def _telling(self, words: Sequence[str]) -> list[str]:
        """The first words that the index has and that not every chunk has."""
        total = self._connection.execute("SELECT COUNT(*) FROM chunks").fetchone()[0]
        most = max(total * _COMMON, 8)
        telling: list[str] = []
        for word in words:
            held = self._connection.execute("SELECT doc FROM vocabulary WHERE term = ?", (word,)).fetchone()
            if held is not None and held[0] <= most:
                telling.append(word)
                if len(telling) == _QUERY_WORDS:
                    break
        return telling

    def _update(self, wanted: Sequence[str]) -> Update:
        known = {
            path: (number, size, mtime, digest)
            for number, path, size, mtime, digest in self._connection.execute(
                "SELECT id, path, size, mtime_ns, sha256 FROM files"
            )
        }
        read = changed = 0
        gone = known.keys() - set(wanted)
        for path in gone:
            self._forget(known[path][0])
            self._connection.execute("DELETE FROM files WHERE id = ?", (known[path][0],))
        room = MAX_CHUNKS - int(self._connection.execute("SELECT COUNT(*) FROM chunks").fetchone()[0])
        for path in wanted:
            before = known.get(path)
            try:
                status = (self.root / path).stat()
            except OSError:
                status = None
            if status is not None and before is not None and before[1:3] == (status.st_size, status.st_mtime_ns):
                continue
            read += 1
            data = _read(self.root / path) if status is not None else b""
            digest = hashlib.sha256(data).hexdigest()
            settled = status is not None and time.time_ns() - status.st_mtime_ns > _SETTLED_NS
            facts = (
                status.st_size if status is not None else 0,
                status.st_mtime_ns if status is not None and settled else 0,
                digest,
            )
            if before is not None:
                self._connection.execute(
                    "UPDATE files SET size = ?, mtime_ns = ?, sha256 = ? WHERE id = ?", (*facts, before[0])
                )
                if before[3] == digest:
                    continue
                room += self._forget(before[0])
                number = before[0]
            else:
                inserted = self._connection.execute(
                    "INSERT INTO files (path, size, mtime_ns, sha256) VALUES (?, ?, ?, ?)", (path, *facts)
                )
                assert inserted.lastrowid is not None
                number = inserted.lastrowid
            changed += 1
            room -= self._add(number, path, data, room)
        return Update(read, changed, len(gone))

    def _add(self, number: int, path: str, data: bytes, room: int) -> int:
        """Chunks added, `room` at most."""
        try:
            text = repository.source_text(data, path)
        except HoneError:
            return 0
        made: list[Chunk] = chunks.chunks_of(path, text)[:room]
        for chunk in made:
            row = self._connection.execute(
                "INSERT INTO chunks (file, line, text) VALUES (?, ?, ?)", (number, chunk.line, chunk.text)
            ).lastrowid
            self._connection.execute(
                "INSERT INTO words (rowid, body) VALUES (?, ?)",
                (row, " ".join(words_of(f"{chunk.path}\n{chunk.text}"))),
            )
        self._connection.executemany(
            "INSERT INTO definitions (name, file, line, text) VALUES (?, ?, ?, ?)",
            [(one.name, number, one.line, one.text) for one in chunks.definitions_of(path, text)],
        )
        return len(made)

    def _forget(self, number: int) -> int:
        """Removes what a file gave; the number of its chunks."""
        self._connection.execute("DELETE FROM words WHERE rowid IN (SELECT id FROM chunks WHERE file = ?)", (number,))
        self._connection.execute("DELETE FROM definitions WHERE file = ?", (number,))
        return self._connection.execute("DELETE FROM chunks WHERE file = ?", (number,)).rowcount

    def _one(self, query: str) -> Any:
        with self._lock, self._readable():
            return self._connection.execute(query).fetchone()[0]

    def _open(self) -> sqlite3.Connection:
        if self._file is not None:
            # It holds the source code of the repository.
            os.close(os.open(self._file, os.O_CREAT | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(
            self._file or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            if self._file is not None:
                # Fails at once, without waiting, when another process is doing the same.
                with suppress(sqlite3.OperationalError):
                    connection.execute(f"PRAGMA journal_mode = {journal_mode(self._file.parent)}")
                connection.execute("PRAGMA synchronous = NORMAL")
            if _version(connection) == 0:
                connection.execute("BEGIN IMMEDIATE")
                if _version(connection) == 0:
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                connection.execute("COMMIT")
            if _version(connection) != _SCHEMA_VERSION:
                raise sqlite3.DatabaseError("another version")
            connection.execute("SELECT 1 FROM words LIMIT 1")
        except BaseException:
            connection.close()
            raise
        return connection

    def _remove(self) -> None:
        if self._file is not None:
            for ending in ("", "-wal", "-shm"):
                Path(f"{self._file}{ending}").unlink(missing_ok=True)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            where = self._file or "memory"
            raise HoneError(f"the index of {self.root} in {where} cannot be used: {error}; remove it") from error


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def of_repository(root: Path) -> Index:
    """The index of a repository in Hone's cache, as it was left; see `Index.update`.

    Raises:
        HoneError: the cache cannot be written.
    """
    folder = paths.cache_dir() / "index"
    folder.mkdir(mode=0o700, exist_ok=True)
    return Index(root, folder / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]}.sqlite")


def _read(path: Path) -> bytes:
    """Empty when the file is too large or cannot be read."""
    try:
        return path.read_bytes() if path.stat().st_size <= repository.MAX_SOURCE_BYTES else b""
    except OSError:
        return b""
