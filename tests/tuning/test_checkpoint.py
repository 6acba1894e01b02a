"""A run that was killed goes on to the same adapter, bit for bit, whatever the disk did meanwhile."""

import errno
import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from assistant import atomic
from assistant.errors import HoneError
from tests.tuning.processes import Rows, finish, fresh, kill_after, make_rows, weights
from tests.tuning.tiny import make_model
from tuning import checkpoint
from tuning.checkpoint import Keeper
from tuning.model import attention, lora
from tuning.plan import LoraOptions, Plan
from tuning.ready import make_ready
from tuning.trackers import read_metrics
from tuning.train import train

PLAN = Plan(epochs=3, rows_per_step=3, learning_rate=1e-2, seed=2, checks=9, patience=4)
"""Several epochs and accumulated rows: 3 rows a step, the last step of an epoch shorter."""

EARLY = replace(PLAN, epochs=20, checks=20, patience=5)
"""A run that patience ends, on data that are learnt at the cost of those held out."""


@pytest.fixture(scope="module")
def data() -> Rows:
    rows = make_rows()
    assert len(rows.rows) % 3
    return rows


@pytest.fixture(scope="module")
def unlike(data) -> Rows:
    """Held-out rows that have nothing of what is learnt."""
    backwards = (replace(example, tokens=example.tokens[::-1]) for row in data.validation for example in row)
    return replace(data, validation=tuple((example,) for example in backwards))


def unbroken(data: Rows, plan: Plan):
    model, seen = fresh(), []
    outcome = train(make_ready(model, plan), data, plan, seen.append)
    return weights(model), outcome, seen


@pytest.fixture(scope="module")
def usual(data):
    """The weights, outcome and steps of `PLAN` without a break."""
    return unbroken(data, PLAN)


@pytest.fixture(scope="module")
def early(unlike):
    return unbroken(unlike, EARLY)


def killed_at(data: Rows, plan: Plan, folder: Path, step: int) -> None:
    """A run that keeps a checkpoint after each step and ends without a word after `step` of them."""

    class KilledError(BaseException):
        pass

    def report(progress) -> None:
        if progress.step > step:
            raise KilledError

    with pytest.raises(KilledError):
        train(make_ready(fresh(), plan), data, plan, report, keeper=Keeper(folder, pytest.fail, every_minutes=0))


def go_on(data: Rows, plan: Plan, folder: Path):
    kept = checkpoint.read(folder)
    assert kept is not None
    model, seen = fresh(), []
    outcome = train(make_ready(model, plan), data, plan, seen.append, start_from=kept)
    return weights(model), outcome, seen


def check_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        assert torch.equal(found[name], weight), name


@pytest.mark.parametrize("step", [1, 4, 7, 11])
def test_a_run_that_goes_on_from_a_checkpoint_ends_in_the_same_adapter_bit_for_bit(
    data, usual, tmp_path: Path, step: int
):
    expected, outcome, seen = usual
    assert outcome.steps > 12
    killed_at(data, PLAN, tmp_path / "run", step)
    found, resumed, rest = go_on(data, PLAN, tmp_path / "run")
    assert [progress.step for progress in rest] == list(range(step + 1, outcome.steps + 1))
    assert [progress.loss for progress in rest] == [progress.loss for progress in seen[step:]]
    assert [progress.validation for progress in rest] == [progress.validation for progress in seen[step:]]
    check_equal(found, expected)
    assert (resumed.steps, resumed.tokens) == (outcome.steps, outcome.tokens)
    assert (resumed.validation_before, resumed.validation_after) == (
        outcome.validation_before,
        outcome.validation_after,
    )


def test_patience_counts_on_after_a_kill(unlike, early, tmp_path: Path):
    expected, outcome, _ = early
    assert outcome.stopped_early
    # Between the validations that were no better, where a count from zero would end the run later.
    killed_at(unlike, EARLY, tmp_path / "run", outcome.steps - 1)
    kept = checkpoint.read(tmp_path / "run")
    assert kept is not None
    assert 0 < kept.position.stale < 5
    found, resumed, _ = go_on(unlike, EARLY, tmp_path / "run")
    assert (resumed.steps, resumed.stopped_early) == (outcome.steps, True)
    check_equal(found, expected)


@pytest.mark.parametrize(("plan", "seed"), [(PLAN, 1), (PLAN, 2), (EARLY, 3)])
def test_runs_killed_at_random_points_end_in_the_same_adapter_bit_for_bit(
    data, unlike, usual, early, tmp_path: Path, plan: Plan, seed: int
):
    given, (expected, outcome, seen) = (unlike, early) if plan is EARLY else (data, usual)
    points = random.Random(seed)
    last = 0
    for _ in range(2):
        last = points.randint(last + 1, max(last + 1, (last + outcome.steps) // 2))
        kill_after(given, plan, tmp_path, last, delay=points.uniform(0, 0.05))
        last = max(int(kept.name.removeprefix("step-")) for kept in tmp_path.glob("step-*"))
    found = finish(given, plan, tmp_path)
    check_equal(found, expected)
    assert not list(tmp_path.glob(".step-*"))
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [progress.step for progress in seen]
    assert [line["loss"] for line in lines] == [progress.loss for progress in seen]


def test_the_newest_two_whole_checkpoints_are_kept_and_half_ones_are_neither_read_nor_kept(data, tmp_path: Path):
    killed_at(data, Plan(steps=9), tmp_path, 3)
    assert sorted(entry.name for entry in tmp_path.glob("step-*")) == ["step-00000002", "step-00000003"]
    half = tmp_path / ".step-00000004.abc.part"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    kept = checkpoint.read(tmp_path)
    assert kept is not None
    assert kept.position.step == 3
    checkpoint.write(tmp_path, replace(kept, position=replace(kept.position, step=4)))
    assert sorted(entry.name for entry in tmp_path.glob("*step-*")) == ["step-00000003", "step-00000004"]


def truncate(folder: Path) -> None:
    file = folder / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def flip(folder: Path) -> None:
    """One bit of a weight, which safetensors reads without a word."""
    file = folder / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 4
    file.write_bytes(content)


def lose_tensors(folder: Path) -> None:
    (folder / "tensors.safetensors").unlink()


def scribble(folder: Path) -> None:
    (folder / "position.json").write_text("{")


@pytest.mark.parametrize("damage", [truncate, flip, lose_tensors, scribble])
def test_a_damaged_checkpoint_is_said_and_answered_with_the_one_before_it(data, usual, tmp_path: Path, damage):
    expected, outcome, _ = usual
    killed_at(data, PLAN, tmp_path, 5)
    damage(tmp_path / "step-00000005")
    notes: list[str] = []
    kept = checkpoint.read(tmp_path, notes.append)
    assert kept is not None
    assert kept.position.step == 4
    (line,) = notes
    assert "step-00000005 is damaged" in line
    assert line.endswith("going on from the one before it, step-00000004")
    # The damaged one must not stand where the run writes its fifth step again.
    model = fresh()
    train(make_ready(model, PLAN), data, PLAN, lambda _: None, keeper=Keeper(tmp_path, pytest.fail, 0), start_from=kept)
    check_equal(weights(model), expected)
    again = checkpoint.read(tmp_path, pytest.fail)
    assert again is not None
    assert again.position.step == outcome.steps


def test_with_both_checkpoints_damaged_nothing_is_guessed_or_removed(data, tmp_path: Path):
    killed_at(data, PLAN, tmp_path, 5)
    for folder in tmp_path.glob("step-*"):
        truncate(folder)
    with pytest.raises(HoneError, match=r"step-00000005 is damaged.*--restart begins anew"):
        checkpoint.read(tmp_path, pytest.fail)
    assert len(list(tmp_path.glob("step-*"))) == 2


def test_the_position_of_a_run_is_that_of_a_checkpoint_that_can_be_read(data, tmp_path: Path):
    assert checkpoint.newest(tmp_path / "none") is None
    killed_at(data, PLAN, tmp_path, 5)
    scribble(tmp_path / "step-00000005")
    position = checkpoint.newest(tmp_path)
    assert position is not None
    assert position.step == 4
    scribble(tmp_path / "step-00000004")
    with pytest.raises(HoneError, match="--restart"):
        checkpoint.newest(tmp_path)


def test_a_checkpoint_of_before_patience_and_check_sums_is_read(data, tmp_path: Path):
    killed_at(data, PLAN, tmp_path, 5)
    kept = checkpoint.read(tmp_path)
    assert kept is not None
    file = tmp_path / "step-00000005" / "position.json"
    old = asdict(kept.position)
    del old["stale"]
    file.write_text(json.dumps(old))
    again = checkpoint.read(tmp_path, pytest.fail)
    assert again is not None
    assert again.position == replace(kept.position, stale=0)


def test_a_checkpoint_of_another_rank_is_refused(data, tmp_path: Path):
    killed_at(data, Plan(steps=9), tmp_path, 2)
    other = lora.add_lora(make_model(attention=attention.NAME), LoraOptions(rank=8, alpha=8), seed=0)
    ready = make_ready(other, Plan(steps=9))
    with pytest.raises(HoneError, match="another model or rank"):
        train(ready, data, Plan(steps=9), lambda _: None, start_from=checkpoint.read(tmp_path))


def test_a_disk_that_refuses_a_checkpoint_does_not_end_the_run(data, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    notes: list[str] = []
    keeper = Keeper(tmp_path / "file" / "run", notes.append, 0)
    outcome = train(make_ready(fresh(), Plan(steps=2)), data, Plan(steps=2), lambda _: None, keeper=keeper)
    assert outcome.steps == 2
    assert sum("no checkpoint at step" in note for note in notes) == 2
    assert sum("metrics.jsonl" in note for note in notes) == 1
    assert all(note.endswith("training goes on") for note in notes)


def test_a_disk_that_fills_up_during_a_checkpoint_leaves_the_one_before(
    data, usual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    expected, outcome, _ = usual
    usual, notes = atomic.sync_file, []

    def full(file: Path) -> None:
        # The checkpoint of step 5 and all after it.
        if file.name == "tensors.safetensors" and (tmp_path / "step-00000004").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        usual(file)

    monkeypatch.setattr(atomic, "sync_file", full)
    model = fresh()
    train(make_ready(model, PLAN), data, PLAN, lambda _: None, keeper=Keeper(tmp_path, notes.append, 0))
    check_equal(weights(model), expected)
    assert notes[0] == "no checkpoint at step 5: No space left on device; training goes on"
    assert len(notes) == outcome.steps - 4
    assert sorted(path.name for path in tmp_path.glob("*step-*")) == ["step-00000003", "step-00000004"]
    found, _, _ = go_on(data, PLAN, tmp_path)
    check_equal(found, expected)
