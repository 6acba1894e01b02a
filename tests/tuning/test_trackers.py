"""Where a run's figures go: a file always, TensorBoard's event files when asked for, nothing else."""

import json
import sys
from pathlib import Path

import pytest

from assistant.errors import HoneError
from tests.tuning.processes import CONTEXT, Rows, fresh, make_rows
from tuning import checkpoint, distributed, trackers
from tuning.checkpoint import Keeper
from tuning.plan import Plan
from tuning.ready import make_ready
from tuning.trackers import MetricsFile, check_tracker, read_metrics
from tuning.train import train


@pytest.fixture(scope="module")
def data() -> Rows:
    return make_rows(files=4)


class KilledError(BaseException):
    pass


def run(data: Rows, plan: Plan, folder: Path, killed_after: int | None = None) -> list:
    seen: list = []

    def report(progress) -> None:
        seen.append(progress)
        if progress.step == killed_after:
            raise KilledError

    accelerator = distributed.start(plan.tracker, folder / "track")
    keeper = Keeper(folder / "run", pytest.fail, every_minutes=0)
    start_from = checkpoint.read(folder / "run")
    train(make_ready(fresh(), plan, accelerator), data, plan, report, keeper=keeper, start_from=start_from)
    return seen


def test_every_step_is_one_line(data: Rows, tmp_path: Path):
    seen = run(data, Plan(steps=5, checks=2), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines == read_metrics(tmp_path / "run" / "metrics.jsonl")
    for line, progress in zip(lines, seen, strict=True):
        assert line["step"] == progress.step
        assert line["loss"] == progress.loss
        assert line["learning_rate"] == progress.learning_rate
        assert line["tokens"] == progress.tokens
        assert line["tokens_per_second"] == progress.tokens_per_second
        assert line["validation"] == progress.validation
        assert line["memory"] > 10_000_000
    assert sum(line["validation"] is not None for line in lines) == 2


def test_a_killed_run_goes_on_in_the_same_file_without_a_step_twice(data: Rows, tmp_path: Path):
    file = tmp_path / "run" / "metrics.jsonl"
    with pytest.raises(KilledError):
        run(data, Plan(steps=8), tmp_path, killed_after=4)
    # Step 4 was reported, its checkpoint was not made; and the kill left half a line.
    assert [line["step"] for line in read_metrics(file)] == [1, 2, 3, 4]
    with file.open("a") as opened:
        opened.write('{"step": 5, "lo')
    rest = run(data, Plan(steps=8), tmp_path)
    assert [progress.step for progress in rest] == [4, 5, 6, 7, 8]
    assert [line["step"] for line in read_metrics(file)] == list(range(1, 9))
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == list(range(1, 9))


def test_a_new_run_begins_an_empty_file(tmp_path: Path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n')
    metrics = MetricsFile(file, 0, pytest.fail)
    assert file.read_text() == ""
    metrics.append({"step": 1, "loss": 0.5})
    metrics.sync()
    assert read_metrics(file) == [{"step": 1, "loss": 0.5}]


@pytest.mark.parametrize("end", [b'{"step": 2', b'{"step": 2}', b"\xff\xfe\n", b"[1]\n", b'{"other": 1}\n'])
def test_lines_are_read_up_to_the_first_that_is_not_whole(tmp_path: Path, end: bytes):
    file = tmp_path / "metrics.jsonl"
    assert read_metrics(file) == []
    file.write_bytes(b'{"step": 1}\n' + end)
    assert read_metrics(file) == [{"step": 1}]


def events(folder: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_has_every_step_and_the_configuration(data: Rows, tmp_path: Path):
    pytest.importorskip("tensorboard")
    with pytest.raises(KilledError):
        run(data, Plan(steps=8, tracker="tensorboard"), tmp_path, killed_after=4)
    rest = run(data, Plan(steps=8, tracker="tensorboard"), tmp_path)
    found = events(tmp_path / "track" / trackers.PROJECT)
    losses = found.Scalars("loss")
    # What the killed process wrote of step 4 is hidden by what the next one wrote.
    assert [event.step for event in losses] == list(range(1, 9))
    assert [event.value for event in losses[3:]] == pytest.approx([progress.loss for progress in rest])
    assert {"learning_rate", "tokens", "tokens_per_second", "memory", "validation"} <= set(found.Tags()["scalars"])
    (validation,) = found.Scalars("validation")[-1:]
    assert validation.value == pytest.approx(rest[-1].validation)
    (hyper,) = {file.read_text() for file in (tmp_path / "track").rglob("hparams.yml")}
    assert "learning_rate: 0.001" in hyper
    assert "lora.rank: 32" in hyper


def test_a_tracker_that_fails_does_not_end_the_run(data: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorboard")
    plan, notes = Plan(steps=3, tracker="tensorboard"), []
    accelerator = distributed.start(plan.tracker, tmp_path)
    monkeypatch.setattr(accelerator, "log", lambda *_, **__: 1 / 0)
    keeper = Keeper(tmp_path / "run", notes.append)
    train(make_ready(fresh(), plan, accelerator), data, plan, lambda _: None, keeper=keeper)
    assert notes == ["the tracker failed at step 1: division by zero; training goes on without it"]
    assert len(read_metrics(keeper.metrics)) == 3


def test_a_tracker_that_cannot_begin_is_one_line(data: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorboard")
    plan = Plan(steps=3, tracker="tensorboard")
    accelerator = distributed.start(plan.tracker, tmp_path)

    def refuse(*_, **__) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(accelerator, "init_trackers", refuse)
    with pytest.raises(HoneError, match="tracker = 'tensorboard' cannot begin a run: nobody there"):
        train(make_ready(fresh(), plan, accelerator), data, plan, lambda _: None)


def test_what_is_not_installed_or_not_known_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(HoneError, match=r"pip install trackio$"):
        check_tracker("trackio")
    with pytest.raises(HoneError, match=r"pip install mlflow-skinny$"):
        distributed.start("mlflow")
    with pytest.raises(HoneError, match="'wandb' is not known; known: none, tensorboard, trackio, mlflow"):
        check_tracker("wandb")
    check_tracker("none")


def train_without_tracker(data: Rows, folder: Path) -> None:
    run(data, Plan(steps=2), folder)
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not loaded & {"tensorboard", "trackio", "mlflow", "wandb", "comet_ml", "aim", "clearml", "swanlab"}
    assert not any(name.startswith("torch.utils.tensorboard") for name in sys.modules)


def test_without_a_tracker_none_is_even_imported(data: Rows, tmp_path: Path):
    process = CONTEXT.Process(target=train_without_tracker, args=(data, tmp_path))
    process.start()
    process.join(180)
    assert process.exitcode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
