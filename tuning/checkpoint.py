"""Checkpoints of a training run: what a killed run needs to end in the same adapter, bit for bit, as an unbroken one.

A checkpoint is a folder that appears whole or not at all (`assistant.atomic.new_folder`); a half-written one has
another name and is never read. The newest one stays, older ones go.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from assistant import atomic
from assistant.errors import HoneError

EVERY_MINUTES = 2.0
"""A checkpoint of rank 32 on the 135M model is 160 MB and takes about a second."""


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


@dataclass(frozen=True)
class Checkpoint:
    position: Position
    tensors: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Keeper:
    """Where a run's checkpoints are kept, and how often one is made."""

    folder: Path
    note: Callable[[str], None]
    every_minutes: float = EVERY_MINUTES

    def save(self, checkpoint: Checkpoint) -> None:
        """A disk that refuses is noted; the training goes on and the earlier checkpoint stays."""
        try:
            write(self.folder, checkpoint)
        except OSError as error:
            self.note(f"no checkpoint at step {checkpoint.position.step}: {error.strerror or error}; training goes on")


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """
    Raises:
        OSError: not writable or full; what was there stays.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = folder / f"step-{checkpoint.position.step:08d}"
    if target.exists():
        return
    with atomic.new_folder(target) as staging:
        try:
            save_file(checkpoint.tensors, staging / "tensors.safetensors")
        except SafetensorError as error:
            raise OSError(28, str(error)) from error
        (staging / "position.json").write_text(json.dumps(asdict(checkpoint.position)), "utf-8")
    for older in _steps(folder)[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def newest(folder: Path) -> Position | None:
    """Where the newest checkpoint stands; None without one."""
    steps = _steps(folder)
    return _position(steps[-1]) if steps else None


def read(folder: Path) -> Checkpoint | None:
    """The newest checkpoint; None without one.

    Raises:
        HoneError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    steps = _steps(folder)
    if not steps:
        return None
    try:
        return Checkpoint(_position(steps[-1]), load_file(steps[-1] / "tensors.safetensors"))
    except (OSError, SafetensorError) as error:
        raise HoneError(f"cannot read the checkpoint {steps[-1]}: {error}; --restart begins anew") from error


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _position(folder: Path) -> Position:
    try:
        return Position(**json.loads((folder / "position.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise HoneError(f"cannot read the checkpoint {folder}: {error}; --restart begins anew") from error


def capture(
    position: Position,
    named: Sequence[tuple[str, torch.Tensor]],
    optimizer: torch.optim.Optimizer,
    best: Sequence[torch.Tensor],
) -> Checkpoint:
    """The adapter, its best weights so far and the optimizer's state, as they are now.

    Args:
        named: the trained parameters with their names; `best` is in the same order.
    """
    tensors: dict[str, torch.Tensor] = {"random": torch.get_rng_state()}
    for (name, parameter), weights in zip(named, best, strict=True):
        tensors[f"weight/{name}"] = parameter.detach()
        tensors[f"best/{name}"] = weights
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value
    return Checkpoint(position, {name: tensor.contiguous().cpu() for name, tensor in tensors.items()})


def restore(
    checkpoint: Checkpoint, named: Sequence[tuple[str, torch.Tensor]], optimizer: torch.optim.Optimizer
) -> list[torch.Tensor]:
    """Puts parameters and optimizer where they were; returns the best weights.

    Raises:
        HoneError: the checkpoint is of another model or another rank.
    """
    tensors = checkpoint.tensors
    states: dict[str, dict[str, Any]] = {name: {} for name, _ in named}
    for key in tensors:
        kind, _, name = key.partition("/")
        if kind not in ("weight", "best", "random"):
            states.setdefault(name, {})[kind] = tensors[key]
    if {f"weight/{name}" for name, _ in named} != {key for key in tensors if key.startswith("weight/")} or any(
        tensors[f"weight/{name}"].shape != parameter.shape for name, parameter in named
    ):
        raise HoneError("the checkpoint is of another model or rank; --restart begins anew")
    with torch.no_grad():
        for name, parameter in named:
            parameter.copy_(tensors[f"weight/{name}"])
            # The count of steps stays on the CPU, as the optimizer keeps it.
            optimizer.state[parameter] = {
                key: value.clone() if value.dim() == 0 else value.to(parameter.device, copy=True)
                for key, value in states[name].items()
            }
    torch.set_rng_state(tensors["random"])
    return [tensors[f"best/{name}"].to(parameter.device, copy=True) for name, parameter in named]
