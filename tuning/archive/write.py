"""`hone models export --to archive`."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant import atomic
from assistant.errors import HoneError, UsageError
from assistant.models.identity import adapter_digest
from assistant.models.peft_files import CONFIGURATION, WEIGHTS, read_configuration
from assistant.models.registry import AdapterVersion, Registry
from assistant.models.transfer import disk_error, require_space, sha256_of
from tuning.archive import container
from tuning.archive.settings import plain
from tuning.archive.shareable import shareable, shareable_manifest, without_names
from tuning.card import FILE_NAME as CARD
from tuning.card import METRICS, card
from tuning.manifest import FILE_NAME as MANIFEST

HEAD = "archive.json"
EVIDENCE = "evidence.json"
"""In the folder of an adapter that was imported: what its archive said for it."""
GGUF = "adapter.gguf"
KIND = "hone adapter"
SCHEMA = 1
PARTS = (WEIGHTS, CONFIGURATION, GGUF, MANIFEST, METRICS, CARD)
NEEDED = (WEIGHTS, CONFIGURATION, MANIFEST)


@dataclass(frozen=True)
class Written:
    version: AdapterVersion
    path: Path
    bytes: int
    sha256: str
    files: tuple[str, ...]
    evidence: int
    """Pieces of it."""


def write(spec: str, out: Path, found: Sequence[Mapping[str, Any]] = (), *, counts_only: bool = False) -> Written:
    """Writes an adapter version as one file, without a path of this machine in it.

    Args:
        spec: NAME, NAME@DIGEST or an alias.
        found: evidence besides that of the registry, JSON objects.
        counts_only: how files, folders and repositories of the corpus are called stays here, and so does evidence,
            which may name them.

    Raises:
        UsageError: a model that is no adapter.
        HoneError: `out` exists, the adapter's files were changed, it has no manifest, or the disk refuses; nothing is
            left then.
    """
    registry = Registry()
    version = registry.find(spec)
    if version is None:
        raise UsageError(f"{spec} is no adapter; name one to export (see `hone models`)")
    if out.exists():
        raise HoneError(f"{out} exists already and is not overwritten; name a new file with --out")
    if not out.absolute().parent.is_dir():
        raise HoneError(f"{out.absolute().parent} does not exist; make it first or name another file with --out")
    if adapter_digest(version.folder, version.base_digest) != version.digest:
        raise HoneError(f"the files of {version.id} in {version.folder} were changed, so they are not given away")
    sources = _sources(version, counts_only)
    told = _evidence(version, registry, found) if not counts_only else []
    head = _head(version, registry, told, sources)
    parts: dict[str, Path | bytes] = {HEAD: _json(head), **sources}
    size = sum(len(part) if isinstance(part, bytes) else part.stat().st_size for part in parts.values())
    require_space(out.absolute().parent, size, out.name)
    _place(out.absolute(), parts)
    return Written(version, out, out.stat().st_size, sha256_of(out), tuple(parts), len(told))


def _sources(version: AdapterVersion, counts_only: bool) -> dict[str, Path | bytes]:
    """What goes into the archive as it is, and the card and manifest without this machine's paths."""
    try:
        loaded = json.loads((version.folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HoneError(
            f"{version.id} has no readable {MANIFEST}, so nobody could tell what it was trained on: {error}"
        ) from error
    manifest = shareable_manifest(loaded)
    if counts_only:
        manifest = without_names(manifest)
    kept: dict[str, Path | bytes] = {
        name: version.folder / name for name in (WEIGHTS, GGUF, METRICS) if (version.folder / name).exists()
    }
    try:
        kept[CONFIGURATION] = _json(plain(read_configuration(version.folder)))
    except ValueError as error:
        raise HoneError(f"{CONFIGURATION} of {version.id} {error}, so no archive can hold it") from error
    kept[MANIFEST] = _json(manifest)
    try:
        kept[CARD] = card(manifest).encode("utf-8")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HoneError(f"the {MANIFEST} of {version.id} is not of the form that this Hone reads: {error!r}") from error
    return kept


def _evidence(
    version: AdapterVersion, registry: Registry, found: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Promotions with what they were decided on, what was brought along, and what was found beside them."""
    promotions = [
        {"kind": "promotion", "time": event.time, "alias": event.alias, "replaced": event.replaced, "data": event.data}
        for event in registry.history()
        if event.kind == "promoted" and event.digest == version.digest and event.name == version.name
    ]
    brought: list[Mapping[str, Any]] = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        brought = list(json.loads((version.folder / EVIDENCE).read_text("utf-8"))["evidence"])
    return [shareable(each) for each in (*brought, *promotions, *found)]


def _head(
    version: AdapterVersion,
    registry: Registry,
    evidence: Sequence[Mapping[str, Any]],
    parts: Mapping[str, Path | bytes],
) -> dict[str, Any]:
    marks = [{"time": event.time, "data": shareable(event.data)} for event in registry.marks().get(version.id, [])]
    return {
        "schema_version": SCHEMA,
        "kind": KIND,
        "name": version.name,
        "digest": version.digest,
        "created": version.created,
        "base": {"name": _base_name(version.base_name), "digest": version.base_digest},
        "figures": shareable(version.figures),
        "evidence": list(evidence),
        "marks": marks,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: _hashed(part) for name, part in parts.items()},
    }


def _base_name(name: str) -> str:
    return Path(name).name if Path(name).is_absolute() else name


def _hashed(part: Path | bytes) -> dict[str, Any]:
    if isinstance(part, bytes):
        return {"sha256": hashlib.sha256(part).hexdigest(), "bytes": len(part)}
    return {"sha256": sha256_of(part), "bytes": part.stat().st_size}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def _place(out: Path, parts: Mapping[str, Path | bytes]) -> None:
    """The whole file, or none."""
    try:
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part")
        os.close(handle)
        staged = Path(name)
        try:
            container.write(staged, parts)
            atomic.sync_file(staged)
            staged.chmod(0o644)
            # A link, unlike a rename, never takes the place of what appeared meanwhile.
            os.link(staged, out)
            atomic.sync_folder(out.parent)
        finally:
            staged.unlink(missing_ok=True)
    except FileExistsError as error:
        raise HoneError(f"{out} was made by another process in the meantime; nothing was overwritten") from error
    except OSError as error:
        raise disk_error(error, out.name, out.parent) from error
