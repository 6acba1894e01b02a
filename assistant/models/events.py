"""What the registry's log of events adds up to: which versions there are, and what each alias points to."""

import json
import re
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from assistant.errors import HoneError, UnknownModel, UsageError

EventKind = Literal["registered", "removed", "promoted", "rolled back", "marked"]

_DIGEST_PREFIX = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True)
class AdapterVersion:
    """One immutable tuned adapter."""

    name: str
    digest: str
    """sha256 (hex) over adapter and base."""
    base_name: str
    base_digest: str
    folder: Path
    created: str
    """UTC, ISO 8601."""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.name}@{self.digest[:12]}"


@dataclass(frozen=True)
class Event:
    """One line of the log."""

    number: int
    time: str
    """UTC, ISO 8601."""
    kind: EventKind
    alias: str | None
    name: str
    digest: str
    replaced: str | None
    """NAME@DIGEST that the alias pointed to before."""
    actor: str | None
    data: dict[str, Any]
    """The version as registered, a promotion's evidence, or why it was marked."""

    @property
    def target(self) -> str:
        return f"{self.name}@{self.digest[:12]}"


Key = tuple[str, str]
"""Name and digest of a version."""


@dataclass
class State:
    """What the events add up to. Thousands of them are read for each question, so only what it asks for is parsed."""

    home: Path
    registered: dict[Key, str] = field(default_factory=dict)
    """The data of its registration, by version, in order."""
    promotions: dict[str, list[Key]] = field(default_factory=dict)
    """By alias, the targets in order of promotion, the live one last."""

    def version(self, key: Key) -> AdapterVersion:
        data = json.loads(self.registered[key])
        return AdapterVersion(*key, **{**data, "folder": self.home / data["folder"]})

    def versions(self, name: str | None = None) -> list[AdapterVersion]:
        """All (of one adapter), newest last."""
        return [self.version(key) for key in self.registered if name in (None, key[0])]

    def find(self, spec: str) -> AdapterVersion | None:
        """
        Raises:
            UsageError: a malformed digest.
            HoneError: it fits several versions.
        """
        if spec in self.promotions:
            return self.live(spec)
        name, at, prefix = spec.partition("@")
        known = [key for key in self.registered if key[0] == name]
        if not known:
            return None
        if not at:
            return self.version(known[-1])
        if not _DIGEST_PREFIX.fullmatch(prefix.lower()):
            raise UsageError(f"{spec}: after the @ comes a digest of at least 6 hexadecimal digits")
        fitting = [key for key in known if key[1].startswith(prefix.lower())]
        if len(fitting) > 1:
            names = ", ".join(f"{key[0]}@{key[1][:12]}" for key in fitting)
            raise HoneError(f"{spec} fits {len(fitting)} versions ({names}); give more digits")
        return self.version(fitting[0]) if fitting else None

    def required(self, spec: str) -> AdapterVersion:
        """
        Raises:
            UnknownModel: there is none; or as `find`.
        """
        version = self.find(spec)
        if version is None:
            known = ", ".join(each.id for each in self.versions()) or "none yet; `hone tune` makes one"
            raise UnknownModel(f"no adapter version is called {spec}; there are: {known}")
        return version

    def live(self, alias: str) -> AdapterVersion | None:
        stack = self.promotions.get(alias)
        return self.version(stack[-1]) if stack and stack[-1] in self.registered else None

    def before(self, alias: str) -> AdapterVersion | None:
        """What it pointed to before, of what there still is."""
        stack = self.promotions.get(alias, [])
        earlier = next((key for key in reversed(stack[:-1]) if key in self.registered and key != stack[-1]), None)
        return self.version(earlier) if earlier else None


def events(connection: sqlite3.Connection, where: str = "", values: tuple[str, ...] = ()) -> list[Event]:
    """Oldest first.

    Args:
        where: a condition in SQL with places for `values`; empty: all.
    """
    columns = "number, time, kind, alias, name, digest, replaced, actor, data"
    rows = connection.execute(f"SELECT {columns} FROM events{where and f' WHERE {where}'} ORDER BY number", values)
    return [
        Event(number, time, kind, alias, name, digest, replaced, actor, json.loads(data))
        for number, time, kind, alias, name, digest, replaced, actor, data in rows
    ]


def state_of(connection: sqlite3.Connection, home: Path) -> State:
    state = State(home)
    # The evidence of promotions is long, and not needed for what is live.
    rows = connection.execute(
        "SELECT kind, alias, name, digest, CASE kind WHEN 'registered' THEN data END FROM events"
        " WHERE kind <> 'marked' ORDER BY number"
    )
    for kind, alias, name, digest, data in rows:
        key = (name, digest)
        if kind == "registered":
            state.registered[key] = data
        elif kind == "removed":
            state.registered.pop(key, None)
        elif alias:
            stack = state.promotions.setdefault(alias, [])
            if kind == "promoted":
                if stack[-1:] != [key]:
                    stack.append(key)
            else:
                while stack and stack[-1] != key:
                    stack.pop()
    return state
