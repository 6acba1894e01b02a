"""Which adapters learnt from which feedback, so that what is forgotten can be traced into them."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.models.registry import AdapterVersion, Registry

MANIFEST = "manifest.json"
"""Beside an adapter: `feedback.ids` are those of the events that it was trained on, `feedback.start` is the adapter it
began as, `parents` those it was merged from."""


@dataclass(frozen=True)
class Touched:
    """An adapter that learnt from some of the feedback in question."""

    version: AdapterVersion
    ids: tuple[str, ...]
    """Of the suggestions and answers that it was trained on itself; the rest came to it from `through`."""
    through: tuple[str, ...]
    """NAME@DIGEST of adapters that it was made from and that are touched too."""


def touched(ids: Collection[str], registry: Registry) -> list[Touched]:
    """The registered adapters that were trained on any of these suggestions, and those made from such adapters.

    Raises:
        HoneError: the registry or a manifest cannot be read, so that nothing can be said.
    """
    wanted = set(ids)
    found: dict[str, Touched] = {}
    # A version is registered after those that it was made from.
    for version in registry.versions():
        manifest = _manifest(version.folder)
        feedback = manifest.get("feedback") or {}
        own = tuple(sorted(wanted & set(feedback.get("ids") or ())))
        made_from = [feedback.get("start"), *(parent.get("id") for parent in manifest.get("parents") or ())]
        through = tuple(dict.fromkeys(one for one in made_from if one in found))
        if own or through:
            found[version.id] = Touched(version, own, through)
    return list(found.values())


def mark(found: Collection[Touched], registry: Registry) -> None:
    """Writes into the registry's log that these adapters learnt from feedback that is forgotten."""
    for one in found:
        data: dict[str, Any] = {"reason": "trained on feedback that was forgotten", "suggestions": len(one.ids)}
        registry.mark(one.version.id, {**data, "through": list(one.through)} if one.through else data)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        # Imported adapters, and those whose files were removed, have none.
        return {}
    except (OSError, ValueError) as error:
        raise HoneError(f"cannot read {folder / MANIFEST}: {error}; what it was trained on cannot be told") from error
    return content if isinstance(content, dict) else {}
