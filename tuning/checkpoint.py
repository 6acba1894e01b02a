"""Checkpoints of a training run: what a killed run needs to end in the same adapter, bit for bit, as an unbroken one.

A checkpoint is a folder that appears whole or not at all (`assistant.atomic.new_folder`); a half-written one has
another name and is never read. The newest two stay: should the disk have damaged the newest, the one before it is
taken. Older ones go.
"""

import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from assistant import atomic
from assistant.errors import HoneError
from tuning.distributed import full, is_first, like
from tuning.position import Damaged, Position, checkpoints, newest, read_position

__all__ = ["Checkpoint", "Damaged", "Keeper", "Position", "capture", "newest", "read", "restore", "write"]

KEPT = 2

EVERY_MINUTES = 2.0
"""A checkpoint of rank 32 on the 135M model is 160 MB and takes about a second."""


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
    leaving: Callable[[], bool] = lambda: False
    """Asked after each step; True makes a checkpoint there and ends the process with `tuning.train.Left`."""

    @property
    def metrics(self) -> Path:
        """One JSON object per step; `tuning.trackers.MetricsFile`."""
        return self.folder / "metrics.jsonl"

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

    # What kills left behind; a run's folder has one writer.
    for half in folder.glob(".step-*.part"):
        shutil.rmtree(half, ignore_errors=True)
    target = folder / f"step-{checkpoint.position.step:08d}"
    if target.exists():
        return
    with atomic.new_folder(target) as staging:
        file = staging / "tensors.safetensors"
        try:
            save_file(checkpoint.tensors, file)
        except SafetensorError as error:
            raise OSError(28, str(error)) from error
        content = {**asdict(checkpoint.position), "crc32": _crc32(file)}
        (staging / "position.json").write_text(json.dumps(content), "utf-8")
    for older in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(older, ignore_errors=True)


def read(folder: Path, note: Callable[[str], None] = lambda _: None) -> Checkpoint | None:
    """The newest checkpoint; None without one.

    One that is damaged is removed, with a note, once an earlier one was read in its place.

    Raises:
        HoneError: none can be read.
    """
    damaged: list[tuple[Path, Damaged]] = []
    for step in reversed(checkpoints(folder)):
        try:
            checkpoint = _read(step)
        except Damaged as error:
            damaged.append((step, error))
            continue
        for bad, reason in damaged if is_first() else ():
            note(f"{reason}; going on from the one before it, {step.name}")
            shutil.rmtree(bad, ignore_errors=True)
        return checkpoint
    if damaged:
        raise HoneError(f"{damaged[0][1]}; --restart begins anew")
    return None


def _read(folder: Path) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    position, file = read_position(folder), folder / "tensors.safetensors"
    try:
        tensors = load_file(file)
        expected = json.loads((folder / "position.json").read_text("utf-8")).get("crc32")
        # Checkpoints of before the check sum have none.
        if expected is not None and expected != _crc32(file):
            raise Damaged(f"the checkpoint {folder} is damaged: its tensors are not what was written")
    except (OSError, SafetensorError) as error:
        raise Damaged(f"the checkpoint {folder} is damaged: {error}") from error
    return Checkpoint(position, tensors)


def _crc32(file: Path) -> int:
    checksum = 0
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def capture(
    position: Position,
    named: Sequence[tuple[str, torch.Tensor]],
    optimizer: torch.optim.Optimizer,
    best: Sequence[torch.Tensor],
) -> Checkpoint:
    """The adapter, its best weights so far and the optimizer's state, as they are now, whole and on the CPU.

    Where they are sharded, every process must capture.

    Args:
        named: the trained parameters with their names; `best` is in the same order.
    """
    tensors: dict[str, torch.Tensor] = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random_cuda"] = torch.cuda.get_rng_state()
    for (name, parameter), weights in zip(named, best, strict=True):
        tensors[f"weight/{name}"] = parameter.detach()
        tensors[f"best/{name}"] = weights
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value
    return Checkpoint(position, {name: full(tensor).contiguous().cpu() for name, tensor in tensors.items()})


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
        if kind not in ("weight", "best", "random", "random_cuda"):
            states.setdefault(name, {})[kind] = tensors[key]
    if {f"weight/{name}" for name, _ in named} != {key for key in tensors if key.startswith("weight/")} or any(
        tensors[f"weight/{name}"].shape != parameter.shape for name, parameter in named
    ):
        raise HoneError("the checkpoint is of another model or rank; --restart begins anew")
    with torch.no_grad():
        for name, parameter in named:
            parameter.copy_(like(tensors[f"weight/{name}"], parameter))
            # The count of steps is one number, sharded or not, where AdamW's fused kernel reads it.
            optimizer.state[parameter] = {
                key: value.to(parameter.device, copy=True) if value.dim() == 0 else like(value, parameter)
                for key, value in states[name].items()
            }
    torch.set_rng_state(tensors["random"])
    if "random_cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random_cuda"])
    return [like(tensors[f"best/{name}"], parameter) for name, parameter in named]
