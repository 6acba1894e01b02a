"""Two processes on the loopback, as `accelerate launch` or torchrun starts them, against one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from assistant.errors import HoneError
from tests.tuning.processes import Rows, fresh, make_rows, several, train_together, weights
from tuning import checkpoint, distributed
from tuning.plan import Plan
from tuning.ready import make_ready
from tuning.train import train


@pytest.fixture(scope="module")
def data() -> Rows:
    return make_rows()


@pytest.fixture(scope="module")
def plan(data) -> Plan:
    """Two epochs of steps that two processes cannot share out evenly, the last of an epoch shorter still."""
    assert len(data.rows) % 3
    return Plan(epochs=2, rows_per_step=3, learning_rate=1e-2)


@pytest.fixture(scope="module")
def alone(data, plan: Plan):
    model, seen = fresh(), []
    train(make_ready(model, plan), data, plan, seen.append)
    return seen, weights(model)


def check_like(folder: Path, alone) -> None:
    seen, expected = alone
    steps = json.loads((folder / "steps.json").read_text())
    assert [one["step"] for one in steps] == [one.step for one in seen][-len(steps) :]
    for one, wanted in zip(steps, seen[-len(steps) :], strict=True):
        assert one["loss"] == pytest.approx(wanted.loss, abs=1e-5)
        assert (one["validation"] is None) == (wanted.validation is None)
        if one["validation"] is not None:
            assert one["validation"] == pytest.approx(wanted.validation, abs=1e-5)
    found = load_file(folder / "adapter.safetensors")
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        # AdamW divides by the gradient's own size, so a rounding of a tiny gradient moves a weight by more than one.
        torch.testing.assert_close(found[name], weight, rtol=0, atol=2e-4)


def test_two_processes_have_the_loss_curve_of_one(data, plan: Plan, alone, tmp_path: Path):
    several(train_together, tmp_path, data, plan)
    check_like(tmp_path, alone)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, len(alone[0]) + 1))


def test_sharded_processes_have_it_too_and_go_on_from_a_checkpoint(data, plan: Plan, alone, tmp_path: Path):
    several(train_together, tmp_path, data, plan, 3, sharded=True)
    kept = checkpoint.read(tmp_path / "run")
    assert kept is not None
    assert kept.position.step == 2
    # A checkpoint holds the whole adapter: one process could go on from it too.
    assert {key.removeprefix("weight/") for key in kept.tensors if key.startswith("weight/")} == alone[1].keys()
    several(train_together, tmp_path, data, plan, sharded=True)
    check_like(tmp_path, alone)


@pytest.mark.parametrize("sharded", [False, True])
def test_the_first_process_alone_decides_when_a_run_ends(data, tmp_path: Path, sharded: bool):
    several(train_together, tmp_path, data, Plan(minutes=10), 4, True, sharded=sharded)
    assert [(tmp_path / f"steps-{rank}").read_text() for rank in range(2)] == ["4", "4"]


def test_time_ends_a_run_at_the_same_step_in_every_process(data, tmp_path: Path):
    several(train_together, tmp_path, data, Plan(minutes=0.02), None, True)
    steps = {(tmp_path / f"steps-{rank}").read_text() for rank in range(2)}
    assert len(steps) == 1
    # Slow processes are through after one.
    assert int(steps.pop()) >= 1


def test_the_first_version_of_fsdp_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(HoneError, match="--fsdp_version 2"):
        distributed.start()


def test_processes_that_did_not_find_each_other_are_refused(monkeypatch: pytest.MonkeyPatch):
    # The state of this process is that of one process already.
    distributed.start()
    monkeypatch.setattr(distributed, "launched", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(HoneError, match="2 processes were launched and 1 of them found each other"):
        distributed.start()


def test_without_a_launcher_the_values_of_this_process_count():
    accelerator = distributed.start()
    assert distributed.is_first()
    assert distributed.agreed(accelerator, 1.5, 0.0) == [1.5, 0.0]
    model = fresh()
    assert distributed.whole(model, lambda: pytest.fail("not sharded")) is model
