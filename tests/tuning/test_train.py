from pathlib import Path

import pytest
import torch

from assistant.errors import HoneError
from tests.tuning.tiny import SAMPLE, make_model, make_tokenizer
from tuning import checkpoint
from tuning.checkpoint import Keeper
from tuning.data import prepare, shuffled
from tuning.model import attention, lora
from tuning.train import Plan, learning_rate_at, train


@pytest.fixture
def data(make_repository):
    files = {f"pkg/m{number}.py": SAMPLE.replace("Box", f"Box{number}") * 3 for number in range(12)}
    return prepare([make_repository(files)], make_tokenizer(), 128)


def fresh():
    attention.register()
    return lora.add_lora(make_model(attention=attention.NAME), rank=4, alpha=8, seed=0)


def run(data, plan: Plan, **options):
    model, seen = fresh(), []
    outcome = train(model, data, plan, seen.append, **options)
    return model, outcome, seen


def test_loss_falls_and_only_the_adapter_changes(data):
    model, outcome, seen = run(data, Plan(steps=40, learning_rate=1e-2))
    assert seen[-1].loss < seen[0].loss - 0.3
    assert outcome.validation_after < outcome.validation_before
    before = make_model().state_dict()
    for name, value in model.get_base_model().state_dict().items():
        if "lora" not in name:
            torch.testing.assert_close(value, before[name.replace(".base_layer", "")], rtol=0, atol=0)


def test_the_same_seed_gives_the_same_adapter_bit_for_bit(data):
    one, _, _ = run(data, Plan(steps=6, seed=5))
    two, _, _ = run(data, Plan(steps=6, seed=5))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_accumulated_rows_equal_one_large_batch(data):
    # The loss of a step is a mean over all its labels, however its rows are spread over passes.
    _, _, seen = run(data, Plan(steps=1, rows_per_step=4))
    from tuning.data import collate
    from tuning.model.packed import PackedModel

    rows = shuffled(data.rows, 0, 0)[:4]
    batch = collate(rows)
    expected = PackedModel(fresh())(batch).item() / int((batch.labels != -100).sum())
    assert seen[0].loss == pytest.approx(expected, rel=1e-5)


def test_epochs_steps_and_minutes_end_the_run(data):
    _, by_steps, seen = run(data, Plan(steps=3))
    assert by_steps.steps == 3
    assert seen[-1].share == 1
    _, by_epochs, _ = run(data, Plan(epochs=1, rows_per_step=2))
    assert by_epochs.steps == -(-len(data.rows) // 2)
    _, by_minutes, seen = run(data, Plan(minutes=0.01))
    assert by_minutes.steps >= 1
    assert seen[-1].validation is not None


def test_stopping_keeps_what_was_learnt(data):
    calls = []

    def stopped() -> bool:
        calls.append(1)
        return len(calls) == 4

    _, outcome, seen = run(data, Plan(steps=100, learning_rate=1e-2), stopped=stopped)
    assert outcome.interrupted
    assert outcome.steps == 4
    assert seen[-1].validation is not None


def test_a_diverged_run_is_refused(data):
    model = fresh()
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(HoneError, match="the loss became nan at step 1"):
        train(model, data, Plan(steps=2), lambda _: None)


def test_the_schedule_warms_up_and_ends_at_zero():
    plan = Plan(steps=1, learning_rate=1.0, warmup=0.1)
    rates = [learning_rate_at(step / 100, plan) for step in range(101)]
    assert rates[0] < 0.2
    assert max(rates) == pytest.approx(1.0, abs=1e-6)
    assert rates[100] == pytest.approx(0.0, abs=1e-9)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_nothing_usable_is_one_line(make_repository, tmp_path: Path):
    with pytest.raises(HoneError, match="no tracked files"):
        prepare([make_repository({}, "empty")], make_tokenizer(), 128)
    with pytest.raises(HoneError, match="none of them usable source code"):
        prepare([make_repository({"a.txt": "hello"}, "texts")], make_tokenizer(), 128)


def test_secrets_are_replaced_before_tokenizing(make_repository):
    secret = "AKIA" + "IOSFODNN7EXAMPL2"
    files = {f"m{number}.py": f"value_{number} = {number}\nkey = '{secret}'\n" for number in range(8)}
    tokenizer = make_tokenizer()
    data = prepare([make_repository(files)], tokenizer, 128)
    text = "".join(tokenizer.decode(example.tokens) for row in data.rows for example in row)
    assert secret not in text
    assert "<AWS_ACCESS_KEY>" in text
    assert data.redactions["AWS Access Key"] >= 4


def killed_at(data, plan: Plan, folder: Path, step: int) -> None:
    """A run that keeps a checkpoint after each step and ends without a word after `step` of them."""
    model = fresh()

    class KilledError(BaseException):
        pass

    def report(progress) -> None:
        if progress.step > step:
            raise KilledError

    with pytest.raises(KilledError):
        train(model, data, plan, report, keeper=Keeper(folder, pytest.fail, every_minutes=0))


@pytest.mark.parametrize("step", [1, 4, 7, 11])
def test_a_run_that_goes_on_from_a_checkpoint_ends_in_the_same_adapter_bit_for_bit(data, tmp_path: Path, step: int):
    # Several epochs and accumulated rows: 3 rows a step, the last step of an epoch shorter.
    plan = Plan(epochs=3, rows_per_step=3, learning_rate=1e-2, seed=2)
    unbroken, outcome, seen = run(data, plan)
    assert outcome.steps > 12
    killed_at(data, plan, tmp_path / "run", step)
    kept = checkpoint.read(tmp_path / "run")
    assert kept is not None
    assert kept.position.step == step
    model, rest = fresh(), []
    resumed = train(model, data, plan, rest.append, start_from=kept)
    assert [progress.step for progress in rest] == list(range(step + 1, outcome.steps + 1))
    assert [progress.loss for progress in rest] == [progress.loss for progress in seen[step:]]
    for a, b in zip(unbroken.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (resumed.steps, resumed.tokens) == (outcome.steps, outcome.tokens)
    assert (resumed.validation_before, resumed.validation_after) == (
        outcome.validation_before,
        outcome.validation_after,
    )


def test_only_the_newest_whole_checkpoint_is_kept_and_read(data, tmp_path: Path):
    folder = tmp_path / "run"
    killed_at(data, Plan(steps=9), folder, 3)
    assert [entry.name for entry in folder.iterdir()] == ["step-00000003"]
    half = folder / ".step-00000004.abc.part"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    kept = checkpoint.read(folder)
    assert kept is not None
    assert kept.position.step == 3


def test_a_checkpoint_of_another_rank_is_refused(data, tmp_path: Path):
    killed_at(data, Plan(steps=9), tmp_path / "run", 2)
    other = lora.add_lora(make_model(attention=attention.NAME), rank=8, alpha=8, seed=0)
    with pytest.raises(HoneError, match="another model or rank"):
        train(other, data, Plan(steps=9), lambda _: None, start_from=checkpoint.read(tmp_path / "run"))


def test_a_disk_that_refuses_a_checkpoint_does_not_end_the_run(data, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    notes: list[str] = []
    model, seen = fresh(), []
    outcome = train(model, data, Plan(steps=2), seen.append, keeper=Keeper(tmp_path / "file" / "run", notes.append, 0))
    assert outcome.steps == 2
    assert len(notes) == 2
    assert "training goes on" in notes[0]
