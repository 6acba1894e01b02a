"""The file that makes a folder of the store a model: where it came from and what it is."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from assistant import atomic

FILE_NAME = "model.json"
_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    name: str
    """As it is asked for."""
    source: str
    """The requirement or hub repository it came from."""
    revision: str | None
    licence: str | None
    gguf: str | None
    """File name of the GGUF; None for a safetensors folder."""
    context_length: int
    """Tokens."""
    files: dict[str, int]
    """Size in bytes by name."""


def write(folder: Path, name: str, source: str, revision: str | None, **facts: Any) -> None:
    """Makes `folder` the model `name`: describes it and all files in it.

    Args:
        facts: the remaining fields of `Manifest` but `files`.
    """
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    described = Manifest(name, source, revision, files=files, **facts)
    atomic.write_json(folder / FILE_NAME, {"schema_version": _SCHEMA_VERSION, **asdict(described)})


def read(folder: Path) -> Manifest | None:
    """The manifest of a folder, None when the folder is no model (any more): a file is gone or has another size."""
    try:
        loaded = json.loads((folder / FILE_NAME).read_text("utf-8"))
        described = Manifest(**{field.name: loaded[field.name] for field in fields(Manifest)})
        whole = all((folder / name).stat().st_size == size for name, size in described.files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return described if whole else None
