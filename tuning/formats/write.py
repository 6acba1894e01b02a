"""`hone models export`: an adapter in the formats that other programs read, each loaded again and scored first."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from assistant import atomic
from assistant.errors import HoneError, UsageError
from assistant.models import store, transfer
from assistant.models.gguf_file import read_header
from assistant.models.gguf_write import Kind, target_bytes
from assistant.models.peft_files import CONFIGURATION, WEIGHTS
from assistant.models.registry import AdapterVersion
from assistant.models.resolve import resolve
from assistant.models.store import BaseModel
from assistant.models.transfer import Progress
from assistant.models.vllm import refuse_unservable, serve_command
from tuning.formats.adapter import shared_configuration
from tuning.formats.hashes import file_hashes
from tuning.formats.modelfile import modelfile
from tuning.formats.proof import MERGED, ExportProof, prove_exports

FORMATS = ("peft", "vllm", "gguf-lora", "safetensors", *MERGED)
FILE_NAME = "export.json"


@dataclass(frozen=True)
class Exported:
    """One format of an adapter, written and proven."""

    format: str
    path: Path
    bytes: int
    proof: ExportProof
    notes: tuple[str, ...] = ()
    """What is not as the format's name says, for instance tensors kept in another type."""
    command: str | None = None
    """What serves it from where it lies."""


@dataclass(frozen=True)
class Result:
    version: AdapterVersion
    folder: Path
    exports: tuple[Exported, ...]
    text: str
    """What the exports were compared on: `held-out files` or `standard library`."""


def export(
    spec: str,
    formats: Sequence[str],
    out: Path,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Result:
    """Writes an adapter as `out`/FORMAT/..., one folder for each of `formats`, and `out`/export.json.

    The folder appears when every format was loaded again in a fresh process and computes what the adapter computes.

    Args:
        spec: NAME, NAME@DIGEST or an alias.

    Raises:
        UsageError: an unknown format, or a model that is no adapter.
        HoneError: `out` exists, a base without a GGUF, no space, or an export that is not what was tuned; nothing is
            left then.
    """
    formats = _checked(formats)
    if out.exists():
        raise HoneError(f"{out} exists already and is not overwritten; name a new folder with --out")
    if not out.absolute().parent.is_dir():
        raise HoneError(f"{out.absolute().parent} does not exist; make it first or name another folder with --out")
    served = resolve(spec, progress=progress)
    version, base = served.adapter, served.base
    if version is None:
        raise UsageError(f"{spec} is a base model; name an adapter to export (see `hone models`)")
    needs_gguf = [name for name in formats if name.startswith("gguf")]
    if needs_gguf and base.gguf is None:
        raise HoneError(
            f"{base.name} has no GGUF, and {needs_gguf[0]} is made from the base's own; export to peft or safetensors"
        )
    if "vllm" in formats:
        refuse_unservable(version)
    folder = store.tuning_form(base, progress)
    _require_space(out.absolute().parent, base, folder, version, formats)
    text = _passages(version, folder)
    try:
        with atomic.new_folder(out) as staging:
            written = {name: _write(name, staging / name, version, base, folder, progress) for name in formats}
            note("loading the exports again and scoring them in a fresh process")
            proofs = {
                proof.format: proof
                for proof in prove_exports(
                    folder,
                    base.gguf,
                    version.folder,
                    text.tokens,
                    {name: path for name, (path, _) in written.items()},
                )
            }
            for proof in proofs.values():
                _refuse_bad(proof, version)
            exports = tuple(
                Exported(
                    name,
                    out / path.relative_to(staging),
                    _size(path),
                    proofs[name],
                    notes,
                    serve_command(version, folder, out.absolute() / name) if name == "vllm" else None,
                )
                for name, (path, notes) in written.items()
            )
            atomic.write_json(staging / FILE_NAME, _manifest(version, exports, out, staging, text.source))
            # Made for its owner alone, as temporary folders are; the folders in it are as the user's folders are.
            staging.chmod((staging / formats[0]).stat().st_mode)
    except FileExistsError as error:
        raise HoneError(f"{out} was made by another process in the meantime; nothing was overwritten") from error
    except OSError as error:
        raise _disk_error(error, out) from error
    return Result(version, out, exports, text.source)


def _checked(formats: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UsageError(f"{unknown[0]} is no export format; there are {', '.join(FORMATS)}")
    if not formats:
        raise UsageError(f"say what to export to with --to: {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(formats))


def _write(
    name: str, folder: Path, version: AdapterVersion, base: BaseModel, base_folder: Path, progress: Progress | None
) -> tuple[Path, tuple[str, ...]]:
    """Writes one format into `folder`; returns what is to be loaded, and notes."""
    folder.mkdir()
    if name in ("peft", "vllm"):
        shutil.copy(version.folder / WEIGHTS, folder / WEIGHTS)
        atomic.write_json(folder / CONFIGURATION, shared_configuration(version.folder, base.name))
        with suppress(FileNotFoundError):
            shutil.copy(version.folder / "README.md", folder / "README.md")
        return folder, ()
    if name == "gguf-lora":
        source = version.folder / "adapter.gguf"
        if not source.exists():
            raise HoneError(f"{version.id} has no GGUF LoRA; export it merged (gguf-f16) or tune it again")
        return Path(shutil.copy(source, folder / f"{version.name}-{version.digest[:12]}-lora.gguf")), ()
    if name == "safetensors":
        from tuning.formats.merged_folder import write_merged as write_folder

        if progress:
            progress("merging the adapter into the base in fp32", 0, None)
        write_folder(base_folder, version.folder, folder)
        return folder, ()
    return _write_gguf(name, folder, version, base, base_folder, progress)


def _write_gguf(
    name: str, folder: Path, version: AdapterVersion, base: BaseModel, base_folder: Path, progress: Progress | None
) -> tuple[Path, tuple[str, ...]]:
    from tuning.formats.merged_gguf import pairs_by_tensor, write_merged

    assert base.gguf is not None
    layout, pairs = pairs_by_tensor(version.folder, base_folder)
    target = folder / f"{version.name}-{version.digest[:12]}-{MERGED[name].lower()}.gguf"
    done = write_merged(base.gguf, pairs, layout, cast(Kind, MERGED[name]), target, version.id, progress)
    header = read_header(base.gguf)
    begin, end = _special_tokens(base_folder)
    atomic.write_text(
        folder / "Modelfile", modelfile(target.name, header.chat_template, begin, end, base.licence or header.licence)
    )
    if not done.fallbacks:
        return target, ()
    return target, (
        f"{len(done.fallbacks)} tensors are stored as F16, since their rows do not divide into blocks of 32: "
        f"{', '.join(done.fallbacks[:3])}" + (", ..." if len(done.fallbacks) > 3 else ""),
    )


def _special_tokens(base_folder: Path) -> tuple[str, str]:
    from tuning.model.load import load_tokenizer

    tokenizer = load_tokenizer(base_folder)
    return tokenizer.bos_token or "", tokenizer.eos_token or ""


def _passages(version: AdapterVersion, base_folder: Path) -> Any:
    from tuning.model.load import load_tokenizer
    from tuning.passages import passages

    try:
        manifest = json.loads((version.folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        manifest = {}
    return passages(manifest, load_tokenizer(base_folder))


def _refuse_bad(proof: ExportProof, version: AdapterVersion) -> None:
    if proof.computes_what_was_tuned and not proof.holds:
        raise HoneError(
            f"{proof.format} rounds too much of {version.id} away, so nothing was written: {proof.describe()}; "
            "export to gguf-q8_0, or to gguf-lora, which leaves the base as it is"
        )
    if not proof.holds:
        raise HoneError(
            f"the {proof.format} export of {version.id} does not compute what was tuned, so nothing was written: "
            f"{proof.describe()}"
        )


def _require_space(
    folder: Path, base: BaseModel, base_folder: Path, version: AdapterVersion, formats: Sequence[str]
) -> None:
    parameters = read_header(base.gguf).parameters if base.gguf else 0
    sizes = {
        "peft": (version.folder / WEIGHTS).stat().st_size,
        "vllm": (version.folder / WEIGHTS).stat().st_size,
        "gguf-lora": (version.folder / WEIGHTS).stat().st_size,
        # The base may be stored in 16 bits.
        "safetensors": max(_size(base_folder), 4 * parameters),
        **{name: parameters * target_bytes(cast(Kind, kind)) // 32 for name, kind in MERGED.items()},
    }
    needed = sum(sizes[name] for name in formats)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise HoneError(
            f"not enough disk space for {', '.join(formats)}: {transfer.megabytes(needed)} needed, "
            f"{transfer.megabytes(free)} free in {folder}"
        )


def _disk_error(error: OSError, out: Path) -> HoneError:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HoneError(f"the disk of {out.absolute().parent} is full; nothing was left there")
    return HoneError(f"cannot write {out}: {error.strerror or error}; nothing was left there")


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _manifest(
    version: AdapterVersion, exports: Sequence[Exported], out: Path, staging: Path, text: str
) -> Mapping[str, Any]:
    from tuning.manifest import versions

    return {
        "schema_version": 1,
        "adapter": version.id,
        "digest": version.digest,
        "base": {"name": version.base_name, "digest": version.base_digest},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "compared_on": text,
        "exports": [
            {
                "format": each.format,
                "path": str(each.path.relative_to(out)),
                "bytes": each.bytes,
                "notes": list(each.notes),
                "proof": {**asdict(each.proof), "bits_difference": each.proof.bits_difference},
            }
            for each in exports
        ],
        "files": file_hashes(staging),
        "versions": versions(),
    }
