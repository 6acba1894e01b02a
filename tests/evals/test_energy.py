"""Counters of energy: real files, and a driver's library that is played."""

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evals.tasks import energy
from evals.tasks.energy import Counter, Reading


def write(folder: Path, name: str, microjoules: int | str, span: int = 262_143_328_850) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{span}\n")


def test_processors_are_summed_and_their_parts_are_not(tmp_path: Path) -> None:
    assert energy.packages(tmp_path) == {}
    write(tmp_path, "intel-rapl:0", 1_500_000)
    write(tmp_path, "intel-rapl:1", 2_500_000)
    # A part of the first one.
    write(tmp_path, "intel-rapl:0:0", 9_000_000)
    before = Reading(energy.packages(tmp_path), {})
    assert [counter.joules for counter in before.packages.values()] == [1.5, 2.5]
    write(tmp_path, "intel-rapl:0", 3_500_000)
    write(tmp_path, "intel-rapl:1", 3_000_000)
    assert energy.joules(before, Reading(energy.packages(tmp_path), {})) == 2.5
    # One that cannot be read leaves no sum.
    write(tmp_path, "intel-rapl:1", "soon")
    assert energy.packages(tmp_path) == {}
    assert energy.joules(before, Reading(energy.packages(tmp_path), {})) is None


def test_a_counter_that_starts_again_loses_nothing(tmp_path: Path) -> None:
    write(tmp_path, "intel-rapl:0", 9_000_000, span=10_000_000)
    before = Reading(energy.packages(tmp_path), {})
    write(tmp_path, "intel-rapl:0", 2_000_000, span=10_000_000)
    assert energy.joules(before, Reading(energy.packages(tmp_path), {})) == 3.0
    # A GPU's starts again with its driver only: what it counted before is lost.
    assert energy.joules(Reading({}, {"gpu 0": Counter(9, None)}), Reading({}, {"gpu 0": Counter(2, None)})) is None


def test_what_was_counted_is_told() -> None:
    one = {"a": Counter(1, None)}
    assert Reading(one, one).sources == "processor packages (RAPL) and GPUs (NVML)"
    assert Reading({}, one).sources == "GPUs (NVML)"
    assert energy.joules(Reading({}, {}), Reading({}, {})) is None
    assert (
        energy.joules(Reading({"p": Counter(1, 9)}, one), Reading({"p": Counter(3, 9)}, {"a": Counter(4, None)})) == 5
    )


class Driver:
    """NVML, for two GPUs; `counts` False: one of them is too old to count."""

    def __init__(self) -> None:
        self.counts = True
        self.open = 0
        self.library = SimpleNamespace(
            nvmlInit_v2=lambda: self._hold(1),
            nvmlShutdown=lambda: self._hold(-1),
            nvmlDeviceGetCount_v2=lambda count: _give(count, 2),
            nvmlDeviceGetHandleByIndex_v2=lambda number, device: _give(device, 100 + number.value),
            nvmlDeviceGetTotalEnergyConsumption=self._count,
        )

    def _hold(self, change: int) -> int:
        self.open += change
        return 0

    def _count(self, device: ctypes.c_void_p, millijoules: Any) -> int:
        # NVML_ERROR_NOT_SUPPORTED
        return _give(millijoules, 1000 * (device.value or 0) + 500) if self.counts or device.value == 100 else 3


def _give(pointer: Any, value: int) -> int:
    pointer._obj.value = value
    return 0


def test_gpus_are_read_from_their_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver.library)
    assert energy.gpus() == {"gpu 0": Counter(100.5, None), "gpu 1": Counter(101.5, None)}
    driver.counts = False
    assert energy.gpus() == {}
    assert driver.open == 0


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert energy.gpus() == {}
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert energy.gpus() == {}
