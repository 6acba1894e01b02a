"""Which adapter versions exist and which alias points to which: an append-only log of events in SQLite.

What is registered, live or was live is computed from the events, so nothing is ever overwritten and any question about
the past has an answer. Several processes may write at once (one immediate transaction per write), also of several
machines that share the disk: WAL, which SQLite wants on one machine alone, is used where the disk is not shared.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from assistant import paths
from assistant.errors import HoneError, UnknownModel, UsageError
from assistant.models.catalogue import CATALOGUE
from assistant.models.events import AdapterVersion, Event, EventKind, State, events, state_of
from assistant.network_disks import is_shared, journal_mode

_SCHEMA_VERSION = 2
_BUSY_SECONDS = 30
_RETRY_SECONDS = 0.05
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    time TEXT NOT NULL,      -- UTC, ISO 8601
    kind TEXT NOT NULL,      -- registered, removed, promoted, rolled back, marked
    alias TEXT,              -- of promotions and rollbacks
    name TEXT NOT NULL,      -- the adapter
    digest TEXT NOT NULL,
    replaced TEXT,           -- what the alias pointed to before, NAME@DIGEST
    actor TEXT,
    data TEXT NOT NULL       -- JSON: the version registered, the evidence of a promotion, or why it was marked
);
-- What is asked follows from these columns; the evidence in `data`, most of the file, is read where it is wanted.
CREATE INDEX IF NOT EXISTS brief ON events (number, kind, alias, name, digest, time);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
"""


class Registry:
    """The adapter registry in one SQLite file.

    Every method raises HoneError when the file is damaged, locked for half a minute, or was written by a newer Hone.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or paths.registry_file()

    def register(self, version: AdapterVersion) -> None:
        """Adds a version; doing it again with the same name and digest changes nothing.

        Raises:
            UsageError: the name is malformed or taken by a base model or an alias.
        """
        check_name(version.name, "an adapter's name")
        with self._writing() as (connection, state):
            if version.name in CATALOGUE or version.name in state.promotions:
                owner = "a base model" if version.name in CATALOGUE else "an alias"
                raise UsageError(f"{version.name} is the name of {owner}; choose another name for the adapter")
            if (version.name, version.digest) not in state.registered:
                self._append(connection, "registered", version, data=self._as_json(version))

    def versions(self, name: str | None = None) -> list[AdapterVersion]:
        """All versions (of one adapter), newest last."""
        with self._connection() as connection:
            return state_of(connection, self.file.parent, aliases=False).versions(name)

    def find(self, spec: str) -> AdapterVersion | None:
        """The version that an alias, NAME (its newest) or NAME@DIGEST (at least 6 hex digits) means, None when unknown.

        Raises:
            UsageError: the digest is malformed.
            HoneError: it fits several versions.
        """
        with self._reading() as state:
            return state.find(spec)

    def promote(
        self, spec: str, alias: str = "champion", actor: str | None = None, evidence: dict[str, Any] | None = None
    ) -> Event:
        """Points `alias` to a version and records who did it, on what evidence, and what it replaced.

        Raises:
            UnknownModel: no such version.
            UsageError: the alias is malformed or the name of a base model or adapter.
        """
        check_name(alias, "an alias")
        with self._writing() as (connection, state):
            if alias in CATALOGUE or any(alias == name for name, _ in state.registered):
                raise UsageError(f"{alias} is the name of a model; choose another alias")
            version = state.required(spec)
            live = state.live(alias)
            return self._append(
                connection,
                "promoted",
                version,
                alias=alias,
                replaced=live.id if live else None,
                actor=actor,
                data=evidence,
            )

    def rollback(self, alias: str = "champion", actor: str | None = None) -> Event:
        """Points `alias` back to what it pointed to before; done twice, one promotion further back.

        Raises:
            HoneError: the alias does not exist or there is nothing before its target.
        """
        with self._writing() as (connection, state):
            live = state.live(alias)
            if live is None:
                raise UnknownModel(f"no alias is called {alias}; `hone models promote NAME --as {alias}` makes it")
            target = state.before(alias)
            if target is None:
                raise HoneError(f"{alias} has pointed to nothing before {live.id}; there is nothing to roll back to")
            return self._append(connection, "rolled back", target, alias=alias, replaced=live.id, actor=actor)

    def before(self, alias: str) -> AdapterVersion | None:
        """What a rollback would point `alias` to; None when there is nothing."""
        with self._reading() as state:
            return state.before(alias)

    def history(self, alias: str | None = None, brief: bool = False) -> list[Event]:
        """The events (of one alias), oldest first.

        Args:
            brief: what was done, when and by whom, without the data, which takes most of the time.
        """
        chosen = "" if alias is None else "SELECT number FROM events INDEXED BY brief WHERE alias = ?"
        with self._connection() as connection:
            return events(connection, chosen, () if alias is None else (alias,), brief)

    def live_at(self, time: datetime) -> dict[str, Event]:
        """The event that made each alias point to what it pointed to at that time.

        Args:
            time: with its zone.
        """
        until = time.astimezone(UTC).isoformat(timespec="milliseconds")
        with self._connection() as connection:
            found = events(
                connection,
                "SELECT max(number) FROM events INDEXED BY brief WHERE alias IS NOT NULL AND time <= ? GROUP BY alias",
                (until,),
            )
        return dict(sorted((event.alias, event) for event in found if event.alias))

    def aliases(self) -> dict[str, AdapterVersion]:
        """What each alias points to now."""
        with self._reading() as state:
            return {alias: live for alias in sorted(state.promotions) if (live := state.live(alias))}

    def remove(self, spec: str, actor: str | None = None, data: dict[str, Any] | None = None) -> AdapterVersion:
        """Takes a version out of the registry; its files and its events stay.

        Args:
            data: JSON values that must be known of it when its files are gone.

        Raises:
            UnknownModel: no such version.
            HoneError: an alias points to it.
        """
        with self._writing() as (connection, state):
            version = state.required(spec)
            held = [alias for alias in state.promotions if state.live(alias) == version]
            if held:
                raise HoneError(f"{version.id} is live as {held[0]}; roll back or promote another version first")
            self._append(connection, "removed", version, actor=actor, data=data)
            return version

    def mark(self, spec: str, data: dict[str, Any], actor: str | None = None) -> Event:
        """Notes something that whoever uses a version should know, such as that data it learnt from is withdrawn.

        Args:
            data: JSON values, `reason` among them.

        Raises:
            UnknownModel: no such version.
        """
        with self._writing() as (connection, state):
            return self._append(connection, "marked", state.required(spec), actor=actor, data=data)

    def marks(self) -> dict[str, list[Event]]:
        """What was noted, by NAME@DIGEST, oldest first."""
        found: dict[str, list[Event]] = {}
        with self._connection() as connection:
            for event in events(connection, "SELECT number FROM events INDEXED BY brief WHERE kind = 'marked'"):
                found.setdefault(event.target, []).append(event)
        return found

    def _append(
        self,
        connection: sqlite3.Connection,
        kind: EventKind,
        version: AdapterVersion,
        *,
        alias: str | None = None,
        replaced: str | None = None,
        actor: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> Event:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = json.dumps(data or {}, allow_nan=False)
        row = (time, kind, alias, version.name, version.digest, replaced, actor, text)
        inserted = connection.execute(
            "INSERT INTO events (time, kind, alias, name, digest, replaced, actor, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        return Event(inserted.lastrowid or 0, *row)

    def _as_json(self, version: AdapterVersion) -> dict[str, Any]:
        folder, home = version.folder.absolute(), self.file.parent.absolute()
        # Relative where possible, so that the state folder can be moved.
        kept = folder.relative_to(home) if folder.is_relative_to(home) else folder
        return {
            "base_name": version.base_name,
            "base_digest": version.base_digest,
            "folder": str(kept),
            "created": version.created,
            "figures": version.figures,
        }

    @contextmanager
    def _reading(self) -> Iterator[State]:
        with self._connection() as connection:
            yield state_of(connection, self.file.parent)

    @contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, State]]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection, state_of(connection, self.file.parent)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._open()
            try:
                yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise HoneError(f"cannot use the registry {self.file}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found > _SCHEMA_VERSION:
                raise HoneError(f"{self.file} was written by a newer Hone (schema {found}); update this one")
            if found < _SCHEMA_VERSION:
                self._create(connection)
            elif is_shared(self.file.parent):
                self._leave_wal(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        from filelock import FileLock

        # The switch to WAL fails at once, without waiting, when another process is doing the same.
        with FileLock(self.file.with_name(f".{self.file.name}.lock")):
            # Of a new file only: evidence of some kilobytes leaves little of such a page empty, so fewer are read.
            connection.execute("PRAGMA page_size = 16384")
            connection.execute(f"PRAGMA journal_mode = {journal_mode(self.file.parent)}")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")

    def _leave_wal(self, connection: sqlite3.Connection) -> None:
        """Of a registry that was made elsewhere, or before this was looked at."""
        end = monotonic() + _BUSY_SECONDS
        while connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            try:
                connection.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError:
                # It fails at once, without waiting, while anybody else has the file open.
                if monotonic() > end:
                    raise
                sleep(_RETRY_SECONDS)


def check_name(name: str, what: str) -> None:
    """Raises UsageError unless `name` can name an adapter or alias."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be {what}: use up to 64 letters, digits, dots, dashes and underscores, "
            "a letter or digit first"
        )
