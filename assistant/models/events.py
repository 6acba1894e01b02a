"""What the registry's log of events adds up to: which versions there are, and what each alias points to."""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from assistant.errors import HoneError, UnknownModel, UsageError

EventKind = Literal["registered", "removed", "promoted", "rolled back", "marked"]

_DIGEST_PREFIX = re.compile(r"[0-9a-f]{6,64}")


class AdapterVersion:
    """One immutable tuned adapter. Thousands are read at a time, so what is registered of each is parsed when it is
    asked for."""

    __slots__ = ("_facts", "_home", "digest", "name")

    name: str
    digest: str
    """sha256 (hex) over adapter and base."""

    def __init__(
        self,
        name: str,
        digest: str,
        base_name: str,
        base_digest: str,
        folder: Path,
        created: str,
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            digest: sha256 (hex) over adapter and base.
            created: UTC, ISO 8601.
        """
        self.name, self.digest = name, digest
        self._home = Path()
        self._facts: dict[str, Any] | str = {
            **{"base_name": base_name, "base_digest": base_digest, "folder": folder, "created": created},
            "figures": dict(figures or {}),
        }

    @classmethod
    def stored(cls, name: str, digest: str, text: str, home: Path) -> "AdapterVersion":
        """
        Args:
            text: JSON of what was registered.
            home: what its folder is relative to.
        """
        made = cls.__new__(cls)
        made.name, made.digest, made._facts, made._home = name, digest, text, home
        return made

    @property
    def id(self) -> str:
        return f"{self.name}@{self.digest[:12]}"

    @property
    def base_name(self) -> str:
        return self._fact("base_name")

    @property
    def base_digest(self) -> str:
        return self._fact("base_digest")

    @property
    def folder(self) -> Path:
        return self._home / self._fact("folder")

    @property
    def created(self) -> str:
        """UTC, ISO 8601."""
        return self._fact("created")

    @property
    def figures(self) -> dict[str, Any]:
        return self._fact("figures")

    def _fact(self, name: str) -> Any:
        facts: Any = self._facts
        if isinstance(facts, str):
            self._facts = facts = json.loads(facts)
        return facts[name]

    def _key(self) -> tuple[Any, ...]:
        return (self.name, self.digest, self.base_name, self.base_digest, self.folder, self.created, self.figures)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AdapterVersion) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.name, self.digest))

    def __repr__(self) -> str:
        return f"AdapterVersion{self._key()}"


class Event(NamedTuple):
    """One line of the log. Thousands are read at a time, so what is long is parsed when it is asked for."""

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
    text: str | None
    """JSON of `data`; None where it was left unread."""

    @property
    def data(self) -> dict[str, Any]:
        """The version as registered, a promotion's evidence, or why it was marked.

        Raises:
            LookupError: it was left unread.
        """
        if self.text is None:
            raise LookupError(f"of event {self.number} only what it did was read")
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def target(self) -> str:
        return f"{self.name}@{self.digest[:12]}"


Key = tuple[str, str]
"""Name and digest of a version."""


@dataclass
class State:
    """What the events add up to. Thousands of them count for each question, so only what it asks for is read whole."""

    connection: sqlite3.Connection
    home: Path
    registered: dict[Key, int] = field(default_factory=dict)
    """The number of its registration, by version, in order."""
    promotions: dict[str, list[Key]] = field(default_factory=dict)
    """By alias, the targets in order of promotion, the live one last."""

    def version(self, key: Key) -> AdapterVersion:
        return self._built([key])[0]

    def versions(self, name: str | None = None) -> list[AdapterVersion]:
        """All (of one adapter), newest last."""
        return self._built([key for key in self.registered if name in (None, key[0])])

    def _built(self, keys: Sequence[Key]) -> list[AdapterVersion]:
        numbers = [self.registered[key] for key in keys]
        chosen = ",".join(map(str, numbers))
        texts = dict(self.connection.execute(f"SELECT number, data FROM events WHERE number IN ({chosen})"))
        return [
            AdapterVersion.stored(*key, texts[number], self.home) for key, number in zip(keys, numbers, strict=True)
        ]

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


def events(
    connection: sqlite3.Connection, chosen: str = "", values: tuple[str, ...] = (), brief: bool = False
) -> list[Event]:
    """Oldest first.

    Args:
        chosen: a SELECT of their numbers, with places for `values`; empty: all.
        brief: without their data, which is most of the file.
    """
    columns = f"number, time, kind, alias, name, digest, replaced, actor, {'NULL' if brief else 'data'}"
    only = f" WHERE number IN ({chosen})" if chosen else ""
    return list(map(Event._make, connection.execute(f"SELECT {columns} FROM events{only} ORDER BY number", values)))


def state_of(connection: sqlite3.Connection, home: Path, aliases: bool = True) -> State:
    """
    Args:
        connection: asked again for what is read whole.
        home: what folders are relative to.
        aliases: False: nothing is asked of them.
    """
    state = State(connection, home)
    kinds = "'registered', 'removed'" + (", 'promoted', 'rolled back'" if aliases else "")
    rows = connection.execute(
        f"SELECT number, kind, alias, name, digest FROM events INDEXED BY brief WHERE kind IN ({kinds}) ORDER BY number"
    )
    for number, kind, alias, name, digest in rows:
        key = (name, digest)
        if kind == "registered":
            state.registered[key] = number
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
