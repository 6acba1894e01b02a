"""A sweep: which trials there are, which one wins, and what is left when it is cut short."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from tuning.plan import LoraOptions, Plan
from tuning.sweep import sweep, trial_plans

PLAN = Plan(steps=100, sweep={"learning_rate": (2e-4, 5e-4, 1e-3)}, patience=2, tracker="tensorboard")
BITS = {2e-4: 0.9, 5e-4: 0.7, 1e-3: 0.8}


def bits_of(plan: Plan) -> float:
    return BITS[plan.learning_rate]


def quiet(_: str) -> None:
    pass


def test_the_lowest_validation_wins_and_the_run_gets_the_rest_of_the_plan():
    notes: list[str] = []
    made = sweep(PLAN, 100, bits_of, notes.append)
    assert made.best.settings == {"learning_rate": 5e-4}
    assert made.plan == Plan(steps=100, learning_rate=5e-4, patience=2, tracker="tensorboard")
    assert [trial.validation for trial in made.trials] == [0.9, 0.7, 0.8]
    assert notes[1] == "trial 2 of 3: learning_rate 0.0005: 0.7000 bits per byte"
    assert made.table().splitlines()[1].split() == ["0.0005", "10", "0.7000", "chosen"]
    assert json.loads(json.dumps(made.to_json()))["chosen"] == {"learning_rate": 5e-4}


def test_several_keys_are_a_grid_and_every_trial_sees_the_same_tokens():
    plan = Plan(
        epochs=3, rows_per_step=2, lora=LoraOptions(dropout=0.1), sweep={"rows_per_step": (1, 4), "lora.rank": (8, 16)}
    )
    trials = [tried for _, tried in trial_plans(plan, 200)]
    assert [(tried.rows_per_step, tried.lora.rank) for tried in trials] == [(1, 8), (1, 16), (4, 8), (4, 16)]
    assert {tried.steps * tried.rows_per_step for tried in trials} == {40}
    assert {(tried.epochs, tried.lora.dropout, tried.seed, bool(tried.sweep)) for tried in trials} == {
        (None, 0.1, 0, False)
    }


@given(st.lists(st.floats(0.1, 5), min_size=2, max_size=6))
def test_the_first_of_the_best_is_chosen(validations: list[float]):
    values = [1e-4 * (at + 1) for at in range(len(validations))]
    plan = Plan(steps=10, sweep={"learning_rate": tuple(values)})
    found = dict(zip(values, validations, strict=True))
    made = sweep(plan, 10, lambda tried: found[tried.learning_rate], quiet)
    assert made.plan.learning_rate == values[validations.index(min(validations))]


def test_a_trial_that_diverges_cannot_win_and_a_sweep_of_them_is_refused():
    made = sweep(PLAN, 100, lambda plan: math.nan if plan.learning_rate == 5e-4 else bits_of(plan), quiet)
    assert made.best.settings == {"learning_rate": 1e-3}
    assert "diverged" in made.table()
    json.dumps(made.to_json(), allow_nan=False)
    with pytest.raises(HoneError, match="in every trial"):
        sweep(PLAN, 100, lambda _: math.inf, quiet)


def test_a_killed_sweep_goes_on_after_its_last_whole_trial(tmp_path: Path):
    file, made = tmp_path / "sweep.json", []

    def dies(plan: Plan) -> float:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(plan.learning_rate)
        return bits_of(plan)

    with pytest.raises(KeyboardInterrupt):
        sweep(PLAN, 100, dies, quiet, keep=file)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]
    rest: list[float] = []
    again = sweep(PLAN, 100, lambda plan: rest.append(plan.learning_rate) or bits_of(plan), quiet, keep=file)
    assert (made, rest) == ([2e-4, 5e-4], [1e-3])
    assert again.best.settings == {"learning_rate": 5e-4}


def test_trials_of_other_rows_or_another_plan_do_not_count(tmp_path: Path):
    def trials_made(plan: Plan, identity: str) -> int:
        made: list[Plan] = []
        sweep(plan, 100, lambda tried: made.append(tried) or bits_of(tried), quiet, keep=file, identity=identity)
        return len(made)

    file = tmp_path / "sweep.json"
    assert trials_made(PLAN, "rows") == 3
    assert trials_made(PLAN, "rows") == 0
    assert trials_made(PLAN, "other rows") == 3
    assert trials_made(Plan(steps=100, seed=1, sweep=PLAN.sweep), "other rows") == 3
    file.write_text('{"schema_version": 1, "trials"')
    assert trials_made(PLAN, "rows") == 3


def test_a_trial_that_was_stopped_does_not_count(tmp_path: Path):
    file, calls = tmp_path / "sweep.json", []
    with pytest.raises(HoneError, match=r"stopped in trial 2 of 3; what was measured is kept"):
        sweep(PLAN, 100, bits_of, quiet, lambda: bool(calls.append(1)) or len(calls) == 2, file)
    assert len(json.loads(file.read_text())["trials"]) == 1
    with pytest.raises(HoneError, match=r"stopped in trial 1 of 3; nothing was saved"):
        sweep(PLAN, 100, bits_of, quiet, lambda: True)


@pytest.mark.parametrize(("seconds", "left"), [(60.0, 17), (600.0, 14)])
def test_trials_count_in_the_minutes_of_a_run_but_not_beyond_their_share(
    monkeypatch: pytest.MonkeyPatch, seconds: float, left: float
):
    clock = [0.0]
    monkeypatch.setattr("tuning.sweep.time.monotonic", lambda: clock[0])

    def takes_long(plan: Plan) -> float:
        clock[0] += seconds
        return bits_of(plan)

    made = sweep(Plan(minutes=20, sweep=PLAN.sweep), 1000, takes_long, quiet)
    assert made.plan.minutes == pytest.approx(left)
    assert made.plan.steps is None


def test_a_disk_that_refuses_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(HoneError, match="cannot keep the sweep's trials"):
        sweep(PLAN, 100, bits_of, quiet, keep=tmp_path / "file" / "sweep.json")
