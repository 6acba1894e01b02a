"""The second run with the same rows, settings and machine measures nothing again, and is the same run."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuning import tiny_gguf
from tests.tuning.processes import fresh, make_rows, several
from tests.tuning.runs import plan_on, train_and_discard
from tests.tuning.tiny import make_tokenizer
from tuning import distributed, measured, preflight, train
from tuning.ground import Watcher
from tuning.plan import LoraOptions, Plan
from tuning.ready import make_ready
from tuning.run import dry_run


@pytest.fixture
def base(hone_home: Path, tmp_path: Path) -> str:
    return tiny_gguf.ready_base(tmp_path / "tiny.gguf")


@pytest.fixture
def plan(make_repository: Any) -> Plan:
    return plan_on(make_repository)


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the measurements that were made, in order."""
    made: list[str] = []

    def counted(module: Any, name: str) -> None:
        usual = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **kw: made.append(name) or usual(*args, **kw))

    for name in ("probe", "gemm_peak", "validation_bits"):
        counted(preflight, name)
    counted(train, "validation_bits")
    return made


def test_the_second_run_measures_nothing_and_shows_what_the_first_one_did(
    base: str, plan: Plan, measurements: list[str]
):
    first = train_and_discard(base, plan)
    # The last one is the validation at the end of the run, which is the run's own.
    assert measurements == ["probe", "gemm_peak", "validation_bits", "validation_bits"]
    measurements.clear()
    second = train_and_discard(base, plan)
    assert measurements == ["validation_bits"]
    assert (second.losses, second.validation) == (first.losses, first.validation)
    (then,), (now,) = ([line for line in one.notes if "at once in" in line] for one in (first, second))
    assert then.startswith("measured: ")
    assert now.startswith("measured before, at 20")
    assert now.partition(": ")[2] == then.partition(": ")[2]


def test_what_a_step_does_not_depend_on_is_no_reason_to_measure_and_the_rest_is(
    base: str, plan: Plan, measurements: list[str]
):
    quiet = Watcher(note=lambda _: None, progress=lambda _: None)

    def measures(changed: Plan) -> bool:
        measurements.clear()
        found = dry_run(changed, "look", base, quiet)
        assert (found.preflight["measured_at"] is None) == ("probe" in measurements)
        assert len(found.samples) == 3
        return bool(measurements)

    assert measures(plan)
    assert not measures(plan)
    assert not measures(replace(plan, steps=9, learning_rate=1e-4, checks=2))
    assert measures(replace(plan, lora=LoraOptions(rank=8)))
    assert measures(replace(plan, row_length=192))
    assert measures(replace(plan, activation_checkpointing=True))
    assert measures(replace(plan, dtype="bfloat16"))
    source = Path(plan.corpus.sources[0]) / "pkg" / "m1.py"
    source.write_text(source.read_text() + "\n\nCHANGED = 1\n")
    assert measures(plan)
    assert not measures(plan)


def test_a_damaged_measurement_is_made_again(base: str, plan: Plan, hone_home: Path, measurements: list[str]):
    first = train_and_discard(base, plan)
    for file in (hone_home / "cache").rglob(measured.FILE_NAME):
        file.write_text('{"numbers": [1, ')
    measurements.clear()
    assert train_and_discard(base, plan).losses == first.losses
    assert measurements == ["probe", "gemm_peak", "validation_bits", "validation_bits"]


def test_numbers_that_are_none_are_not_kept(hone_home: Path):
    accelerator = distributed.start()
    for _ in range(2):
        assert measured.once(accelerator, "speed", "key", lambda: [1.0, float("inf")]).at is None
    assert measured.once(accelerator, "speed", "key", lambda: [1.0, 2.0]).at is None
    kept = measured.once(accelerator, "speed", "key", lambda: pytest.fail("measured again"))
    assert kept.numbers == [1.0, 2.0]
    assert kept.at is not None
    # Without a key nothing is kept and nothing is looked up.
    assert measured.once(accelerator, "speed", None, lambda: [3.0]).numbers == [3.0]


def test_memory_is_looked_at_again_whatever_was_kept(hone_home: Path, monkeypatch: pytest.MonkeyPatch):
    data, plan = make_rows(), Plan(steps=1)
    free = [10**12, 0]
    monkeypatch.setattr(preflight, "available_memory", lambda _: free.pop(0))
    lines = []
    for _ in range(2):
        found = preflight.measure(make_ready(fresh(), plan), data, plan, make_tokenizer(), key="key")
        # More than this process holds, as in a process that did not make the probe.
        lines.append(replace(found, held_bytes=found.probe.peak_bytes // 2).describe()[-1])
    assert "1000.0 GB free; whole run" in lines[0]
    assert "0.0 GB free: it may not fit; a smaller row_length" in lines[1]


def measure_twice(rank: int, folder: Path) -> None:
    os.environ["HONE_HOME"] = str(folder / "home")
    accelerator = distributed.start()
    found = [
        measured.once(accelerator, "speed", "key", lambda: [rank + 1.0, 5.0]).numbers,
        measured.once(accelerator, "speed", "key", lambda: pytest.fail("measured again")).numbers,
    ]
    (folder / f"numbers-{rank}.json").write_text(json.dumps(found))


def test_the_first_process_decides_what_was_measured(tmp_path: Path):
    several(measure_twice, tmp_path)
    for rank in range(2):
        assert json.loads((tmp_path / f"numbers-{rank}.json").read_text()) == [[1.0, 5.0], [1.0, 5.0]]
