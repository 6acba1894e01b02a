"""How far a run is, as its checkpoints say. Apart from them, so that who only asks need not import torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import HoneError


@dataclass(frozen=True)
class Position:
    """How far a run is. The order of rows is a function of seed and epoch alone, so the step tells the next row."""

    step: int
    tokens: int
    spent: float
    """Seconds in optimizer steps."""
    elapsed: float
    """Seconds since the run began, pauses between a kill and a resume not counted."""
    share: float
    """Of the whole run, 0 to 1."""
    checks: int
    """Validations done."""
    before: float | None
    best: float | None
    """Bits per byte of validation before training and at best."""
    stale: int = 0
    """Validations in a row that were no better than the best."""


class Damaged(HoneError):
    """A checkpoint that is not what was written."""


def newest(folder: Path) -> Position | None:
    """Where the newest checkpoint whose position can be read stands; None without any checkpoint.

    Raises:
        HoneError: there are checkpoints, and none can be read.
    """
    damaged: Damaged | None = None
    for step in reversed(checkpoints(folder)):
        try:
            return read_position(step)
        except Damaged as error:
            damaged = damaged or error
    if damaged is not None:
        raise HoneError(f"{damaged}; --restart begins anew")
    return None


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def read_position(folder: Path) -> Position:
    try:
        content = json.loads((folder / "position.json").read_text("utf-8"))
        content.pop("crc32", None)
        return Position(**content)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"the checkpoint {folder} is damaged: {error}") from error
