"""Which adapters learnt from which feedback, so that what is removed can be traced into them."""

import hashlib
import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assistant.errors import HoneError, UnknownModel
from assistant.models.events import AdapterVersion, Event
from assistant.models.registry import Registry

MANIFEST = "manifest.json"
"""Beside an adapter: `feedback.ids` are those of the events that it was trained on, `feedback.start` is the adapter it
began as, `parents` those it was merged from."""

Reason = Literal["trained on feedback that was forgotten", "trained on feedback that was removed after its time"]
FORGOTTEN: Reason = "trained on feedback that was forgotten"
EXPIRED: Reason = "trained on feedback that was removed after its time"


@dataclass(frozen=True)
class Touched:
    """An adapter that learnt from some of the feedback in question."""

    version: AdapterVersion
    ids: tuple[str, ...]
    """`digest_of` those that it was trained on itself; the rest came to it from `through`."""
    through: tuple[str, ...]
    """NAME@DIGEST of adapters that it was made from and that are touched too."""


@dataclass(frozen=True)
class _Learnt:
    ids: frozenset[str]
    made_from: tuple[str, ...]
    """NAME@DIGEST."""


def digest_of(identity: str) -> str:
    """Of a suggestion or answer: 16 hexadecimal digits of sha256, which say that one was meant and not which."""
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def touched(digests: Collection[str], registry: Registry) -> list[Touched]:
    """The registered adapters that were trained on any of these suggestions, and those made from such adapters, also
    where these are removed by now.

    Args:
        digests: `digest_of` each.

    Raises:
        HoneError: the registry or a manifest cannot be read, so that nothing can be said.
    """
    wanted = frozenset(digests)
    registered = {version.id for version in registry.versions()}
    found: dict[str, Touched] = {}
    # A version is registered for the first time after those that it was made from.
    for version, removal in _ever(registry):
        learnt = _learnt(version.folder) or _told(removal)
        own = tuple(sorted(wanted & learnt.ids))
        through = tuple(dict.fromkeys(one for one in learnt.made_from if one in found))
        if own or through:
            found[version.id] = Touched(version, own, through)
    return [one for one in found.values() if one.version.id in registered]


def mark(found: Collection[Touched], registry: Registry, reason: Reason) -> None:
    """Writes into the registry's log that these adapters learnt from feedback that is gone. What is written already is
    not written again: of what was forgotten the same suggestions, of what is removed after its time any, since that
    goes on day by day."""
    marks = registry.marks()
    for one in found:
        digest = digest_of(" ".join((*one.ids, *one.through)))
        known = [event.data for event in marks.get(one.version.id, []) if event.data.get("reason") == reason]
        if (reason == EXPIRED and known) or any(data.get("digest") == digest for data in known):
            continue
        data: dict[str, Any] = {"reason": reason, "suggestions": len(one.ids), "digest": digest}
        # It may have been removed since.
        with suppress(UnknownModel):
            registry.mark(one.version.id, {**data, "through": list(one.through)} if one.through else data)


def to_remember(version: AdapterVersion) -> dict[str, Any]:
    """What the registry keeps of an adapter whose files go, so that what was made from it can still be told."""
    try:
        learnt = _learnt(version.folder)
    except HoneError:
        # A damaged one can be removed too.
        learnt = None
    if learnt is None or not (learnt.ids or learnt.made_from):
        return {}
    return {"feedback": sorted(learnt.ids), "made_from": list(learnt.made_from)}


def _ever(registry: Registry) -> list[tuple[AdapterVersion, Event | None]]:
    """Every version that was ever registered, in order of its first registration, with its last removal."""
    versions: dict[tuple[str, str], AdapterVersion] = {}
    removals: dict[tuple[str, str], Event] = {}
    for event in registry.history():
        key = (event.name, event.digest)
        if event.kind == "registered":
            # Assigning again keeps the place in the order.
            versions[key] = AdapterVersion.stored(*key, event.text or "{}", registry.file.parent)
        elif event.kind == "removed":
            removals[key] = event
    return [(version, removals.get(key)) for key, version in versions.items()]


def _told(removal: Event | None) -> _Learnt:
    data = removal.data if removal is not None else {}
    return _Learnt(frozenset(data.get("feedback") or ()), tuple(data.get("made_from") or ()))


def _learnt(folder: Path) -> _Learnt | None:
    """None where no manifest says.

    Raises:
        HoneError: it cannot be read.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        # Imported adapters, and those whose files were removed, have none.
        return None
    except (OSError, ValueError) as error:
        raise HoneError(f"cannot read {folder / MANIFEST}: {error}; what it was trained on cannot be told") from error
    if not isinstance(content, dict):
        return None
    feedback = content.get("feedback") or {}
    made_from = (feedback.get("start"), *(parent.get("id") for parent in content.get("parents") or ()))
    ids = frozenset(map(digest_of, feedback.get("ids") or ()))
    return _Learnt(ids, tuple(one for one in made_from if one))
