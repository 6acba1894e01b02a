"""What this machine has used so far, where it counts: processor packages (RAPL) and NVIDIA's GPUs (NVML)."""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_NVML = "libnvidia-ml.so.1"
"""Of NVIDIA's driver, so that no package is needed."""


@dataclass(frozen=True)
class Counter:
    joules: float
    """Since some time in the past."""
    span: float | None
    """It starts again after so many; None: it does not."""


@dataclass(frozen=True)
class Reading:
    """All counters of one moment, by name; those of a kind are there together or not at all."""

    packages: Mapping[str, Counter]
    gpus: Mapping[str, Counter]

    @property
    def sources(self) -> str:
        """What is counted: `processor packages (RAPL) and GPUs (NVML)`; empty where nothing is."""
        told = (("processor packages (RAPL)", self.packages), ("GPUs (NVML)", self.gpus))
        return " and ".join(name for name, counters in told if counters)


Read = Callable[[], Reading]


def read() -> Reading:
    """The counters that may be read; RAPL's are root's alone on most systems."""
    return Reading(packages(POWERCAP), gpus())


def joules(before: Reading, after: Reading) -> float | None:
    """What was used between two readings; None where nothing counts, or not the same counters."""
    if before.packages.keys() != after.packages.keys() or before.gpus.keys() != after.gpus.keys():
        return None
    first, last = {**before.packages, **before.gpus}, {**after.packages, **after.gpus}
    used = [_used(first[name], last[name]) for name in first]
    known = [each for each in used if each is not None]
    return sum(known) if known and len(known) == len(used) else None


def packages(folder: Path) -> dict[str, Counter]:
    """Intel's and AMD's processor packages; none where one of them may not be read."""
    found = {}
    for package in sorted(folder.glob("intel-rapl:?")):
        try:
            count, span = (int((package / name).read_text("ascii")) for name in ("energy_uj", "max_energy_range_uj"))
        except (OSError, ValueError):
            return {}
        found[package.name] = Counter(count / 1e6, span / 1e6)
    return found


def gpus() -> dict[str, Counter]:
    """All of the machine's, whoever uses them; none where one of them does not count (before Volta)."""
    try:
        nvml = ctypes.CDLL(_NVML)
        if nvml.nvmlInit_v2():
            return {}
    except (OSError, AttributeError):
        return {}
    try:
        return _counted(nvml)
    finally:
        nvml.nvmlShutdown()


def _counted(nvml: ctypes.CDLL) -> dict[str, Counter]:
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return {}
    found = {}
    for number in range(count.value):
        device, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
        if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(device)):
            return {}
        if nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)):
            return {}
        found[f"gpu {number}"] = Counter(millijoules.value / 1e3, None)
    return found


def _used(before: Counter, after: Counter) -> float | None:
    used = after.joules - before.joules
    if used < 0:
        # It started again; a GPU's does so only with its driver.
        return used + after.span if after.span is not None else None
    return used
