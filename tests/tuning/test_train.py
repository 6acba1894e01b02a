from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from assistant.errors import HoneError
from tests.tuning.processes import make_rows
from tests.tuning.tiny import make_model, make_tokenizer
from tuning.data import collate, order, prepare, step_batches
from tuning.examples.plain import IGNORED
from tuning.model import attention, lora
from tuning.model.footprint import MARGIN
from tuning.model.packed import PackedModel
from tuning.plan import LoraOptions, Plan
from tuning.ready import GPU_PASS, largest_pass, make_ready, rows_per_pass
from tuning.train import Diverged, _share_out, learning_rate_at, step_on, train, validation_bits


@pytest.fixture
def data():
    return make_rows(files=10, held_out=2, row_length=128)


def fresh():
    attention.register()
    return lora.add_lora(make_model(attention=attention.NAME), LoraOptions(rank=4, alpha=8), seed=0)


def run(data, plan: Plan, **options):
    model, seen = fresh(), []
    outcome = train(make_ready(model, plan), data, plan, seen.append, **options)
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


class Grads:
    """An optimizer that only looks."""

    def __init__(self, parameters) -> None:
        self.parameters = parameters

    def step(self) -> None:
        self.seen = [parameter.grad.clone() for parameter in self.parameters]

    def zero_grad(self, set_to_none: bool) -> None:
        for parameter in self.parameters:
            parameter.grad = None


def test_accumulated_rows_have_the_gradient_of_one_large_batch_in_short_steps_too(data):
    plan = Plan(epochs=1, rows_per_step=4)
    steps = [
        rows
        for (epoch, rows), _ in zip(step_batches(data.rows, 4, 0), range(len(data.rows)), strict=False)
        if not epoch
    ]
    assert sum(map(len, steps)) == len(data.rows)
    assert 0 < len(steps[-1]) < 4
    model = fresh()
    ready, plain = make_ready(model, plan), PackedModel(fresh())
    # B starts at zero, and so does the gradient of A.
    with torch.no_grad():
        for one, two in zip(ready.parameters, (p for p in plain.parameters() if p.requires_grad), strict=True):
            one.normal_(std=0.1, generator=torch.Generator().manual_seed(one.numel()))
            two.copy_(one)
    for rows in (steps[0], steps[-1]):
        grads = Grads(ready.parameters)
        loss, tokens = step_on(ready.accelerator, ready.wrapped, grads, ready.parameters, rows, clip=1e9)
        batch = collate(rows)
        expected = plain(batch) / int((batch.labels != IGNORED).sum())
        wanted = torch.autograd.grad(expected, [p for p in plain.parameters() if p.requires_grad])
        assert loss == pytest.approx(expected.item(), rel=1e-5)
        assert tokens == batch.tokens.numel()
        for found, want in zip(grads.seen, wanted, strict=True):
            torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-6)


def test_rows_computed_at_once_have_the_losses_of_one_after_the_other():
    made, losses = make_rows(files=8), {}
    for tokens in (None, 1 << 20):
        plan, seen = Plan(steps=6, rows_per_step=4, learning_rate=1e-2, pass_tokens=tokens), []
        train(make_ready(fresh(), plan), made, plan, seen.append)
        losses[tokens] = [(one.loss, one.validation or 0.0) for one in seen]
    for one, other in zip(*losses.values(), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize(
    ("device", "tokens", "row", "step", "expected"),
    [
        ("cpu", None, 1024, 64, 1),
        ("cuda", None, 1024, 64, 16),
        ("cuda", None, 1024, 4, 4),
        ("cuda", None, 32_768, 4, 1),
        ("cpu", 4096, 1024, 64, 4),
        ("cuda", 1500, 1024, 64, 1),
    ],
)
def test_a_gpu_computes_more_rows_at_once_than_a_cpu(device: str, tokens, row: int, step: int, expected: int):
    plan = Plan(pass_tokens=tokens, row_length=row, rows_per_step=step)
    assert rows_per_pass(plan, torch.device(device)) == expected


def test_a_gpu_computes_as_much_at_once_as_fits():
    assert largest_pass(1024, lambda tokens: tokens, 1 << 30) == GPU_PASS
    assert largest_pass(1024, lambda tokens: tokens, round(GPU_PASS / 2 * MARGIN)) == GPU_PASS // 2
    assert largest_pass(3000, lambda tokens: tokens, 1) == 3000
    assert largest_pass(1 << 20, lambda tokens: tokens, 1 << 30) == 1 << 20


@pytest.mark.parametrize(("rows", "at_once"), [(7, 2), (7, 3), (5, 4), (1, 2), (8, 2)])
def test_every_process_has_as_many_passes_and_each_row_counts_once(rows: int, at_once: int):
    made = make_rows(files=8).rows
    some = (made * rows)[:rows]
    passes, counted = set(), []
    for process in range(2):
        here = SimpleNamespace(process_index=process, num_processes=2, device=torch.device("cpu"))
        batches, count = _share_out(here, some, at_once)
        passes.add(len(batches))
        counted += [length for batch in batches[:count] for length in batch.document_lengths]
    assert len(passes) == 1
    assert sorted(counted) == sorted(len(example.tokens) for row in some for example in row)


def test_validation_never_asks_for_logits(data):
    ready = make_ready(fresh(), Plan(steps=1))
    head = ready.model.get_output_embeddings()
    head.forward = lambda *_: pytest.fail("the logits of a whole row were computed")
    bits = validation_bits(ready.accelerator, ready.wrapped, data.validation)
    assert bits is not None
    assert 0 < bits < 10


def test_rows_are_read_one_step_at_a_time(data):
    class Lazy:
        """Rows on a disk."""

        def __init__(self) -> None:
            self.read: list[int] = []

        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> str:
            self.read.append(index)
            return f"row {index}"

    lazy = Lazy()
    steps = step_batches(lazy, 4, seed=3, done=4)  # type: ignore[arg-type]
    assert lazy.read == []
    indices = order(10, 3, 1)
    assert next(steps) == (1, [f"row {index}" for index in indices[4:8]])
    assert lazy.read == indices[4:8]
    assert next(steps) == (1, [f"row {index}" for index in indices[8:]])
    assert next(steps) == (2, [f"row {index}" for index in order(10, 3, 2)[:4]])


@pytest.mark.parametrize("done", range(8))
def test_steps_that_are_done_are_left_out(data, done: int):
    rows = data.rows[:7]
    every = [batch for batch, _ in zip(step_batches(rows, 3, 1), range(12), strict=False)]
    rest = [batch for batch, _ in zip(step_batches(rows, 3, 1, done), range(12 - done), strict=False)]
    assert rest == every[done:]


def test_a_run_that_stops_improving_ends_early_with_the_best_adapter(data):
    plan = Plan(steps=60, learning_rate=0.05, checks=20, patience=2)
    model, outcome, seen = run(data, plan)
    measured = [progress.validation for progress in seen if progress.validation is not None]
    assert outcome.stopped_early
    assert not outcome.interrupted
    assert outcome.steps < 60
    # The last two were no better than the best, which came before them and is better than the base.
    assert outcome.validation_after == min(measured) == measured[-3]
    assert outcome.validation_after < outcome.validation_before
    ready = make_ready(model, plan)
    bits = validation_bits(ready.accelerator, ready.wrapped, data.validation)
    assert bits == pytest.approx(outcome.validation_after, rel=1e-6)
    # Without patience the same run goes on to its end.
    _, patient, _ = run(data, replace(plan, patience=None))
    assert (patient.steps, patient.stopped_early) == (60, False)


@pytest.mark.parametrize(("steps", "checks"), [(10, 0), (10, 1), (10, 5), (44, 22)])
def test_the_plan_says_how_often_is_validated(data, steps: int, checks: int):
    _, _, seen = run(data, Plan(steps=steps, checks=checks))
    assert sum(progress.validation is not None for progress in seen) == max(1, checks)
    assert seen[-1].validation is not None


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
    with pytest.raises(Diverged, match="the loss became nan at step 1"):
        train(make_ready(model, Plan(steps=2)), data, Plan(steps=2), lambda _: None)


def test_the_schedule_warms_up_and_ends_at_zero():
    plan = Plan(steps=1, learning_rate=1.0, warmup=0.1)
    rates = [learning_rate_at(step / 100, plan) for step in range(101)]
    assert rates[0] < 0.2
    assert max(rates) == pytest.approx(1.0, abs=1e-6)
    assert rates[100] == pytest.approx(0.0, abs=1e-9)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_nothing_usable_is_one_line(hone_home, make_repository, tmp_path: Path):
    with pytest.raises(HoneError, match="no tracked files"):
        prepare([make_repository({}, "empty")], make_tokenizer(), Plan(steps=1))
    with pytest.raises(HoneError, match="none of 1 files is usable source code"):
        prepare([make_repository({"a.txt": "hello"}, "texts")], make_tokenizer(), Plan(steps=1))
