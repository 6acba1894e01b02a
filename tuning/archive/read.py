"""`hone models import`: an adapter from a file that somebody else made. Nothing in it is believed.

Every file is compared with the list of digests, the weights must be whole safetensors, the configuration may say only
what Hone itself writes, and the GGUF that llama.cpp will load must hold what is made here from the weights. The card
is written anew from the manifest.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant import atomic, paths
from assistant.errors import HoneError, UnknownModel, UsageError, WrongBase
from assistant.models import formats, store
from assistant.models.gguf_file import read_header
from assistant.models.identity import adapter_digest, base_identity
from assistant.models.peft_files import CONFIGURATION, WEIGHTS, read_configuration
from assistant.models.registry import AdapterVersion, Registry, check_name
from assistant.models.store import BaseModel
from assistant.models.transfer import Progress, require_space
from tuning import publish
from tuning.archive import container
from tuning.archive.shareable import shareable_manifest
from tuning.archive.write import EVIDENCE, GGUF, HEAD, KIND, MANIFEST, NEEDED, PARTS, SCHEMA
from tuning.jobs import files

_TEXT_BYTES = 64 << 20
"""What a file of text may have; a manifest lists every file of a corpus."""
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Imported:
    version: AdapterVersion
    is_new: bool
    """False: it was here already."""
    evidence: int
    marks: tuple[str, ...]
    """What whoever uses it should know, as its archive says."""


@dataclass(frozen=True)
class _Head:
    name: str
    digest: str
    created: str
    base_name: str
    base_digest: str
    figures: Mapping[str, Any]
    evidence: list[Mapping[str, Any]]
    marks: list[Mapping[str, Any]]
    files: Mapping[str, Mapping[str, Any]]


def read(
    file: Path,
    base_spec: str | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Imported:
    """Registers the adapter in an archive.

    Args:
        base_spec: the base by its name here; None: as the archive calls it. Its digest decides in any case.
        name: what to call the adapter; None: as the archive does.

    Raises:
        UnknownModel: its base is not on this disk.
        WrongBase: it was trained on another base than that.
        HoneError: the file is damaged, was changed, or holds what no archive may; nothing is registered then.
    """
    try:
        members = container.members(file, {HEAD, *PARTS})
        head = _head(file, members)
        name = name or head.name
        check_name(name, "an adapter's name")
        known = Registry().find(f"{name}@{head.digest}")
        if known is not None:
            return Imported(known, False, len(head.evidence), ())
        base = _base(base_spec or head.base_name, head, progress)
        with publish.staged(name) as staging:
            require_space(staging, sum(member.size for member in members.values()), file.name)
            _unpack(file, members, head, staging)
            _check_weights(staging)
            _check_configuration(staging, base)
            if adapter_digest(staging, head.base_digest) != head.digest:
                raise HoneError(f"{file} does not hold the adapter that it says: its digest is another one")
            _check_gguf(staging, base, progress, note)
            with files.locked(paths.adapters_dir() / ".import.lock"):
                version = _publish(file, staging, name, head, base)
    except OSError as error:
        raise HoneError(f"cannot read {file}: {error.strerror or error}") from error
    except RecursionError as error:
        raise HoneError(f"{file} holds JSON that is nested too deeply; it is not used") from error
    return Imported(version, True, len(head.evidence), tuple(_reasons(head)))


def _head(file: Path, members: Mapping[str, container.Member]) -> _Head:
    if next(iter(members), None) != HEAD:
        raise HoneError(f"{file} is not an adapter's archive: it does not begin with {HEAD}")
    try:
        content = _parsed(container.read(file, members[HEAD], _TEXT_BYTES))
        if content["kind"] != KIND or content["schema_version"] != SCHEMA:
            raise ValueError(f"it is of kind {content['kind']!r}, schema {content['schema_version']!r}")
        base = content["base"]
        own = {key: content[key] for key in ("name", "digest", "created", "figures", "evidence", "marks", "files")}
        head = _Head(base_name=base["name"], base_digest=base["digest"], **own)
        texts = (head.name, head.digest, head.created, head.base_name, head.base_digest)
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise ValueError("a name or digest is no text")
        if not _HEX.fullmatch(head.digest) or not _HEX.fullmatch(head.base_digest):
            raise ValueError("a digest is none")
        if not isinstance(head.figures, dict) or not all(
            isinstance(each, dict) for each in (*head.evidence, *head.marks)
        ):
            raise ValueError("figures, evidence or marks are no objects")
        listed = {name: (each["sha256"], each["bytes"]) for name, each in head.files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HoneError(f"{HEAD} in {file} is not of the form that this Hone reads: {error!r}") from error
    missing = [name for name in NEEDED if name not in members]
    if missing:
        raise HoneError(f"{file} lacks {missing[0]}; get it again")
    if listed.keys() != members.keys() - {HEAD}:
        raise HoneError(f"{file} does not hold the files that {HEAD} lists; get it again")
    return head


def _base(spec: str, head: _Head, progress: Progress | None) -> BaseModel:
    try:
        found = store.find(spec)
    except HoneError:
        found = None
    if found is None:
        how = f"fetch it by `hone models pull {spec}`" if store.is_fetchable(spec) else "name it as it is called here"
        raise UnknownModel(f"the adapter needs base {spec}, which is not on this disk: {how}, or give --base")
    digest = base_identity(found).digest
    if digest != head.base_digest:
        raise WrongBase(
            f"{head.name}@{head.digest[:12]} was trained on base {head.base_digest[:12]} ({head.base_name}), but "
            f"{found.name} is {digest[:12]}; name the right one with --base"
        )
    return found


def _unpack(file: Path, members: Mapping[str, container.Member], head: _Head, staging: Path) -> None:
    for name, member in members.items():
        if name == HEAD:
            continue
        if name not in (WEIGHTS, GGUF) and member.size > _TEXT_BYTES:
            raise HoneError(f"{name} in {file} is {member.size:,} bytes long; at most {_TEXT_BYTES:,} make sense")
        if container.extract(file, member, staging / name) != head.files[name]["sha256"]:
            raise HoneError(f"{name} in {file} is not what it was when it was exported; get the file again")


def _check_weights(staging: Path) -> None:
    from safetensors import SafetensorError, safe_open

    formats.check_safetensors(staging / WEIGHTS)
    try:
        with safe_open(staging / WEIGHTS, framework="numpy") as opened:
            names = list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise HoneError(f"{WEIGHTS} in the archive is damaged or not safetensors: {error}") from error
    strange = [name for name in names if ".lora_" not in name]
    if strange or not names:
        raise HoneError(
            f"{WEIGHTS} in the archive holds {strange[0] if strange else 'nothing'}, which is no part of a LoRA"
        )


def _check_configuration(staging: Path, base: BaseModel) -> None:
    """Leaves a configuration that says what Hone writes."""
    from tuning.archive.settings import plain
    from tuning.formats.adapter import shared_configuration

    try:
        atomic.write_json(staging / CONFIGURATION, plain(read_configuration(staging)))
    except ValueError as error:
        raise HoneError(f"{CONFIGURATION} in the archive {error}; it is not used") from error
    atomic.write_json(staging / CONFIGURATION, shared_configuration(staging, base.name))


def _check_gguf(staging: Path, base: BaseModel, progress: Progress | None, note: Callable[[str], None]) -> None:
    """
    Raises:
        HoneError: the GGUF is not what the weights give, or none can be made of them here to compare it with.
    """
    from tuning.export import gguf_lora

    shipped = staging / GGUF
    if not shipped.exists():
        return
    note("making the GGUF LoRA from the weights, to compare it with the one in the archive")
    read_header(shipped)
    folder = store.tuning_form(base, progress)
    made = staging / f".{GGUF}"
    try:
        gguf_lora(staging, json.loads((folder / "config.json").read_text("utf-8")), made)
        if shipped.read_bytes() != made.read_bytes() and _content(shipped) != _content(made):
            raise HoneError(f"{GGUF} in the archive is not what its {WEIGHTS} gives; it is not used")
    finally:
        made.unlink(missing_ok=True)


def _content(gguf: Path) -> Any:
    """Everything that a GGUF says, in any order and alignment."""
    import hashlib

    from gguf import GGUFReader

    try:
        reader = GGUFReader(gguf)
        fields = {
            name: ([str(kind) for kind in field.types], field.contents())
            for name, field in reader.fields.items()
            # The format's own counts; the tensors are compared below.
            if not name.startswith("GGUF.")
        }
        tensors = {
            each.name: (each.tensor_type, each.shape.tolist(), hashlib.sha256(each.data.tobytes()).hexdigest())
            for each in reader.tensors
        }
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise HoneError(f"{gguf.name} in the archive is damaged: {error}") from error
    return fields, tensors


def _publish(file: Path, staging: Path, name: str, head: _Head, base: BaseModel) -> AdapterVersion:
    from tuning.card import write_card
    from tuning.formats.hashes import file_hashes
    from tuning.manifest import identified

    identity = identified({}, name, head.digest, head.created, base.name, base_identity(base))
    try:
        manifest = {**shareable_manifest(_parsed((staging / MANIFEST).read_bytes())), **identity}
        write_card(staging, manifest)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise HoneError(f"{MANIFEST} in {file} is not of the form that this Hone reads: {error!r}") from error
    imported = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "file": file.name}
    atomic.write_json(
        staging / EVIDENCE, {"schema_version": SCHEMA, "imported": imported, "evidence": list(head.evidence)}
    )
    atomic.write_json(staging / MANIFEST, {**manifest, "hashes": file_hashes(staging)})
    registry = Registry()
    target = paths.adapters_dir() / name / head.digest[:12]
    if any(version.folder.resolve() == target.resolve() for version in registry.versions(name)):
        raise HoneError(f"a version of {name} is in {target} already; import this one under another --name")
    if target.exists():
        # Left by an import that was killed before it could register.
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    for each in staging.iterdir():
        atomic.sync_file(each)
    staging.rename(target)
    atomic.sync_folder(target.parent)
    version = AdapterVersion(
        name, head.digest, base.name, head.base_digest, target, head.created, _figures(head.figures)
    )
    try:
        registry.register(version)
    except UsageError:
        shutil.rmtree(target, ignore_errors=True)
        raise
    for mark in head.marks:
        registry.mark(version.id, {"reason": "marked", **_data(mark)})
    return version


def _figures(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a type that lists and screens can show: numbers, and what a merge says of itself."""

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and abs(value) < 1e300

    kept = {key: value for key, value in given.items() if value is None or is_number(value)}
    scales, parents, method = (given.get(key) for key in ("scales", "parents", "method"))
    if isinstance(scales, dict) and all(value is None or is_number(value) for value in scales.values()):
        kept["scales"] = scales
    if isinstance(parents, list) and all(isinstance(each, str) for each in parents):
        kept["parents"] = parents
    return {**kept, "method": method} if isinstance(method, str) else kept


def _parsed(data: bytes) -> Any:
    """
    Raises:
        ValueError: no JSON, or JSON that could not be written again.
    """

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no JSON")

    value = json.loads(data, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return value


def _data(mark: Mapping[str, Any]) -> dict[str, Any]:
    data = mark.get("data")
    return data if isinstance(data, dict) else {}


def _reasons(head: _Head) -> list[str]:
    return [str(_data(mark).get("reason", "marked")) for mark in head.marks]
