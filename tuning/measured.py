"""What is measured before the first step, kept for the next run with the same rows, base, settings and machine, which
then starts at once."""

import json
import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from tuning import cache
from tuning.data import Data
from tuning.distributed import agreed, is_first
from tuning.manifest import versions
from tuning.plan import Plan
from tuning.ready import rows_per_pass

FORMAT = 1
FILE_NAME = "numbers.json"

Kind = Literal["speed", "validation"]


@dataclass(frozen=True)
class Measured:
    numbers: list[float]
    at: str | None
    """When an earlier run measured them, ISO 8601; None: now."""


def key_of(base_digest: str, data: Data, plan: Plan, dtype: torch.dtype, accelerator: Any) -> str:
    """Of everything that the loss, the speed and the memory of a step depend on.

    Args:
        base_digest: `BaseIdentity.digest`.
        dtype: that the run computes in.
    """
    return cache.key_of(
        FORMAT,
        base_digest,
        data.digest,
        asdict(plan.lora),
        plan.quantize,
        plan.activation_checkpointing,
        rows_per_pass(plan, accelerator.device),
        str(dtype),
        _machine(accelerator.device),
        accelerator.num_processes,
        str(accelerator.distributed_type),
        versions(),
    )


def once(accelerator: Any, kind: Kind, key: str | None, measure: Callable[[], Sequence[float]]) -> Measured:
    """The numbers of `measure`, or those that it gave an earlier run under `key`. Every process takes part.

    Args:
        key: of `key_of`; None measures and keeps nothing.
        measure: every process calls it, or none does. The first process's numbers count; they are kept if all of them
            are finite.

    Raises:
        HoneError: the disk is full or not writable.
    """
    kept = _read(kind, key) if key is not None and is_first() else None
    (count,) = agreed(accelerator, float(len(kept.numbers) if kept else 0))
    if count:
        numbers = agreed(accelerator, *(kept.numbers if kept else [0.0] * int(count)))
        return Measured(numbers, kept.at if kept else None)
    numbers = agreed(accelerator, *measure())
    if key is not None and is_first() and all(map(math.isfinite, numbers)):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        content = json.dumps({"numbers": numbers, "at": now})
        cache.folder_for(kind, key, lambda folder: _write(folder, content))
    return Measured(numbers, None)


def _write(folder: Path, content: str) -> None:
    (folder / FILE_NAME).write_text(content, "utf-8")


def _read(kind: Kind, key: str) -> Measured | None:
    folder = cache.found(kind, key)
    if folder is None:
        return None
    try:
        content = json.loads((folder / FILE_NAME).read_text("utf-8"))
        return Measured([float(number) for number in content["numbers"]], str(content["at"]))
    except (OSError, ValueError, KeyError, TypeError):
        # A damaged file is no measurement.
        return None


def _machine(device: torch.device) -> list[Any]:
    """What of this machine decides how fast it computes, and in which order it adds up."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return [
        device.type,
        gpu,
        platform.machine(),
        _processor(),
        os.cpu_count(),
        torch.get_num_threads(),
        torch.backends.cpu.get_cpu_capability(),
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
