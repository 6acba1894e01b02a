"""What a tuning run was asked to do, kept beside its checkpoints until it ends, so that a killed run can go on."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from assistant import atomic, paths
from assistant.errors import HoneError
from tuning import checkpoint
from tuning.corpus.assemble import Corpus
from tuning.corpus.sources import Source
from tuning.plan import Plan, PlanError, from_json

FILE_NAME = "asked.json"
SCHEMA = 2


@dataclass(frozen=True)
class Asked:
    """Everything that decides the adapter, besides the versions of the libraries."""

    sources: tuple[Source, ...]
    """Resolved, so that they are found from any folder."""
    base: str
    """As named by the user."""
    base_digest: str
    plan: Plan
    dtype: Literal["float32", "bfloat16"]
    files: dict[str, str]
    """`SIDE PATH` -> sha256; with several sources, `SIDE SOURCE/PATH`."""


def folder_of(name: str) -> Path:
    return paths.unfinished_dir() / name


def files_of(corpus: Corpus) -> dict[str, str]:
    several = len(corpus.sources) > 1
    return {f"{file.split} {f'{file.source}/' if several else ''}{file.path}": file.sha256 for file in corpus.files()}


def begin(name: str, asked: Asked) -> Path:
    """A fresh folder for a run; what an earlier one left is gone.

    Raises:
        HoneError: not writable.
    """
    folder = folder_of(name)
    discard(name)
    try:
        atomic.write_json(folder / FILE_NAME, {"schema_version": SCHEMA, **asdict(asked)})
    except OSError as error:
        raise HoneError(f"cannot keep the run in {folder}: {error.strerror or error}") from error
    return folder


def discard(name: str) -> None:
    shutil.rmtree(folder_of(name), ignore_errors=True)


def position(name: str) -> checkpoint.Position | None:
    """Where an unfinished run stands; None when there is none, or it had no checkpoint yet."""
    return checkpoint.newest(folder_of(name))


def read(name: str) -> Asked:
    """
    Raises:
        HoneError: there is no unfinished run with a checkpoint, or it cannot be read.
    """
    file = folder_of(name) / FILE_NAME
    if position(name) is None:
        others = sorted(folder.name for folder in paths.unfinished_dir().iterdir() if _can_go_on(folder.name))
        known = f"; unfinished: {', '.join(others)}" if others else ""
        raise HoneError(f"no unfinished run of {name} has a checkpoint to go on from{known}")
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if content.pop("schema_version") != SCHEMA:
            raise HoneError(f"{file} was written by another version of Hone; --restart begins anew")
        content["plan"] = from_json(content["plan"])
        content["sources"] = tuple(Source(**source) for source in content["sources"])
        return Asked(**content)
    except (OSError, ValueError, KeyError, TypeError, PlanError) as error:
        raise HoneError(f"cannot read {file}: {error}; --restart begins anew") from error


def _can_go_on(name: str) -> bool:
    try:
        return position(name) is not None
    except HoneError:
        return False


def check_corpus(name: str, asked: Asked, corpus: Corpus) -> None:
    """
    Raises:
        HoneError: the corpus is not what it was, and how.
    """
    now = files_of(corpus)
    if now == asked.files:
        return
    then = asked.files
    changed = [
        *(f"{key} is new" for key in now.keys() - then.keys()),
        *(f"{key} is gone" for key in then.keys() - now.keys()),
        *(f"{key} has changed" for key in now.keys() & then.keys() if now[key] != then[key]),
    ]
    raise HoneError(
        f"the corpus of the unfinished run of {name} is not what it was ({_some(sorted(changed))}); "
        "put it back, or begin anew with --restart"
    )


def _some(lines: Sequence[str], most: int = 3) -> str:
    more = f", and {len(lines) - most} more" if len(lines) > most else ""
    return ", ".join(lines[:most]) + more
