"""The file that makes a folder of the store a model: where it came from and what it is."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

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

    def write(self, folder: Path) -> None:
        atomic.write_json(folder / FILE_NAME, {"schema_version": _SCHEMA_VERSION, **asdict(self)})


def read(folder: Path) -> Manifest | None:
    """The manifest of a folder, None when the folder is no model (any more)."""
    try:
        loaded = json.loads((folder / FILE_NAME).read_text("utf-8"))
        return Manifest(**{field.name: loaded[field.name] for field in fields(Manifest)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
