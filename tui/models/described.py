"""What is told of models: rows of a list, and everything about one, as JSON values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.models import store
from assistant.models.catalogue import CATALOGUE, WheelSource
from assistant.models.registry import AdapterVersion, Event, Registry
from assistant.models.store import BaseModel

WHOLE = "whole, and fits its base"
"""What `state_of` says of an adapter that could be served."""


@dataclass(frozen=True)
class Base:
    """A base model that is known by name: of the catalogue, or fetched."""

    name: str
    summary: str
    licence: str | None
    cached: bool
    bytes: int | None
    """On this disk, without the form that tuning needs."""
    download_bytes: int | None
    serve_gib: float | None
    tune_gib: float | None
    folder: str | None


def bases() -> list[Base]:
    """The catalogue, then what else was fetched."""
    cached = store.cached_names()
    return [_base(name, name in cached) for name in dict.fromkeys([*CATALOGUE, *cached])]


def _base(name: str, cached: bool) -> Base:
    entry, found = CATALOGUE.get(name), store.find(name) if cached else None
    place = (found.gguf.parent if found.gguf else found.folder) if found else None
    return Base(
        name=name,
        summary=entry.summary if entry else "",
        licence=entry.licence if entry else found.licence if found else None,
        cached=found is not None,
        bytes=folder_bytes(place) if place else None,
        download_bytes=entry.download_bytes if entry else None,
        serve_gib=entry.serve_gib if entry else None,
        tune_gib=entry.tune_gib if entry else None,
        folder=str(place) if place else None,
    )


def base_details(base: BaseModel) -> dict[str, Any]:
    """
    Raises:
        HoneError: its files cannot be read.
    """
    from assistant.models import convert, serving_form
    from assistant.models.identity import base_identity

    identity = base_identity(base)
    converted = convert.cached_folder(base.gguf) if base.gguf else base.folder
    served = serving_form.cached_folder(base.gguf) if base.gguf else None
    return {
        "kind": "base",
        "name": base.name,
        "licence": base.licence,
        "context_length": base.context_length,
        "gguf": str(base.gguf) if base.gguf else None,
        "folder": str(base.folder) if base.folder else None,
        "tuning_form": str(converted) if converted and converted.exists() else None,
        "serving_form": str(served) if served and served.exists() else None,
        "digest": identity.digest,
        "weights": identity.weights,
        "tokenizer": identity.tokenizer,
        "template": identity.template,
    }


def catalogue_details(name: str) -> dict[str, Any] | None:
    """Of a model that need not be on this disk; None when the catalogue has none of this name."""
    entry = CATALOGUE.get(name)
    if entry is None:
        return None
    source = entry.source
    return {
        "kind": "base",
        "name": name,
        "summary": entry.summary,
        "licence": entry.licence,
        "cached": False,
        "source": source.requirement if isinstance(source, WheelSource) else source.repository,
        "download_bytes": entry.download_bytes,
        "parameters": entry.parameters,
        "serve_gib": entry.serve_gib,
        "tune_gib": entry.tune_gib,
    }


def version_details(version: AdapterVersion) -> dict[str, Any]:
    """What the registry has of it."""
    return {
        "id": version.id,
        "name": version.name,
        "digest": version.digest,
        "base": version.base_name,
        "base_digest": version.base_digest,
        "created": version.created,
        "folder": str(version.folder),
        "figures": version.figures,
    }


def adapter_details(version: AdapterVersion, registry: Registry) -> dict[str, Any]:
    """What the registry and its manifest have of it, and whether it could be served."""
    manifest = manifest_of(version)
    corpus = manifest.get("corpus", {})
    splits = [file.get("split") for file in corpus.get("files", [])]
    return {
        "kind": "adapter",
        **version_details(version),
        "state": state_of(version),
        "aliases": [alias for alias, live in registry.aliases().items() if live == version],
        "sources": [f"{source.get('path')} at {source.get('commit')}" for source in corpus.get("sources", [])],
        "files": {split: splits.count(split) for split in ("train", "validation", "test")} if splits else {},
        "configuration": manifest.get("configuration", {}),
        "proof": manifest.get("proof", {}),
        "marks": [event.data.get("reason") for event in registry.marks().get(version.id, [])],
        **({"reviewer": manifest["reviewer"]} if "reviewer" in manifest else {}),
    }


def state_of(version: AdapterVersion) -> str:
    """`WHOLE`, or the line that says why it could not be served."""
    from assistant.models.resolve import verify

    try:
        base = store.find(version.base_name)
    except HoneError:
        base = None
    if base is None:
        return f"its base {version.base_name} is not on this disk"
    try:
        verify(version, base)
    except HoneError as error:
        return str(error)
    return WHOLE


def manifest_of(version: AdapterVersion) -> Mapping[str, Any]:
    """Empty when it has none that can be read."""
    try:
        loaded = json.loads((version.folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def event_details(event: Event) -> dict[str, Any]:
    told = {name: value for name, value in event._asdict().items() if name != "text"}
    return {**told, "data": event.data, "target": event.target}


def folder_bytes(folder: Path) -> int:
    """What its files take; those that go meanwhile are left out."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total
