"""What the training run of a job measured, step by step."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.jobs import files

if TYPE_CHECKING:
    from tuning.train import Progress

VARIABLE = "HONE_JOB"
"""Environment variable by which a step knows the folder of its job."""

_NUMBERS = ("step", "share", "loss", "learning_rate", "tokens", "seconds", "tokens_per_second", "memory")


def recorded(tell: "Callable[[Progress], None]") -> "Callable[[Progress], None]":
    """`tell`, and in a job also its metrics.jsonl. A disk that refuses does not end the training."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return tell
    file = Path(folder) / "metrics.jsonl"

    def both(progress: "Progress") -> None:
        tell(progress)
        try:
            files.append_line(file, asdict(progress))
        except (OSError, ValueError):
            # A full disk is told by the checkpoints; a figure that is no number cannot be kept as JSON.
            return

    return both


@dataclass(frozen=True)
class Point:
    """One optimizer step; the fields are those of `tuning.train.Progress`."""

    step: float
    share: float
    loss: float
    learning_rate: float
    tokens: float
    seconds: float
    tokens_per_second: float
    memory: float
    eta_seconds: float | None
    validation: float | None


@dataclass
class Metrics:
    """The points of a metrics.jsonl in order of their steps, read on as the file grows."""

    file: Path
    points: list[Point] = field(default_factory=list)
    _offset: int = 0

    def read_on(self) -> bool:
        """Takes what was added; returns whether there was anything. Lines that are not whole wait for their end.

        A step at or before the last one begins anew from there: the run went on from a checkpoint, or another trial
        of a sweep began.
        """
        try:
            with self.file.open("rb") as opened:
                if opened.seek(0, os.SEEK_END) < self._offset:
                    self.points, self._offset = [], 0
                opened.seek(self._offset)
                data = opened.read()
        except OSError:
            return False
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            point = _point(line)
            if point is not None:
                while self.points and self.points[-1].step >= point.step:
                    self.points.pop()
                self.points.append(point)
        return bool(whole)


def last(file: Path) -> Point | None:
    """The newest point, without reading the whole file."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - 4096))
            lines = opened.read().split(b"\n")
    except OSError:
        return None
    # What follows the last line's end is not whole yet.
    return next((point for line in reversed(lines[:-1]) if (point := _point(line)) is not None), None)


def _point(line: bytes) -> Point | None:
    try:
        entry: Any = json.loads(line)
        values: dict[str, Any] = {name: float(entry[name]) for name in _NUMBERS}
        finite = all(map(math.isfinite, values.values()))
        for name in ("eta_seconds", "validation"):
            values[name] = None if entry.get(name) is None else float(entry[name])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Point(**values) if finite else None
