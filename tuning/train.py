"""The training loop, whole and visible."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from assistant.errors import HoneError
from tuning.checkpoint import Checkpoint, Keeper, Position, capture, restore
from tuning.data import Batch, Data, collate, step_batches, to_device
from tuning.distributed import agreed, is_first
from tuning.examples.pack import Row
from tuning.examples.plain import IGNORED
from tuning.plan import Plan
from tuning.ready import Ready
from tuning.trackers import Metrics

VALIDATION_ROWS = 12
"""At most, the same ones each time."""


class Diverged(HoneError):
    """The loss of a step is no number: the learning rate is too high for these data."""


class Left(HoneError):
    """The run was told to leave and has a checkpoint to go on from."""

    exit_code = 143


@dataclass(frozen=True)
class Progress:
    step: int
    epoch: int
    share: float
    """Of the whole run, 0 to 1."""
    loss: float
    """Mean negative log-likelihood of the step's labels, nats per token."""
    learning_rate: float
    tokens: int
    seconds: float
    """Of training so far, validation not counted in `tokens_per_second`."""
    tokens_per_second: float
    eta_seconds: float | None
    validation: float | None = None
    """Bits per byte of the validation files, where measured at this step."""
    memory: int = 0
    """Bytes held by this process; on a GPU, of the GPU."""


@dataclass(frozen=True)
class Outcome:
    steps: int
    tokens: int
    seconds: float
    tokens_per_second: float
    validation_before: float | None
    validation_after: float | None
    interrupted: bool
    stopped_early: bool = False
    """Ended by `Plan.patience`."""


def learning_rate_at(share: float, plan: Plan) -> float:
    """Linear warm-up, then cosine to zero, by the share of the run that is done."""
    if share < plan.warmup:
        return plan.learning_rate * max(share, 0.01) / plan.warmup
    rest = min(1.0, (share - plan.warmup) / (1 - plan.warmup))
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))


def train(
    ready: Ready,
    data: Data,
    plan: Plan,
    report: Callable[[Progress], None],
    stopped: Callable[[], bool] = lambda: False,
    keeper: Keeper | None = None,
    start_from: Checkpoint | None = None,
    before: float | None = None,
    leaving: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains the adapter in place; at the end it holds the weights of the best validation.

    With several processes each of them calls this with the same arguments. The first one's clock, `stopped`, `keeper`
    and `leaving` count, and it alone reports.

    Args:
        report: called after each optimizer step.
        stopped: asked after each step; True ends the run as if its time were up.
        keeper: keeps checkpoints and the figures of each step; None keeps nothing.
        start_from: a checkpoint of the same run (same data, plan and model).
        before: bits per byte of the validation files before the first step, where they are known already.
        leaving: asked after each step where there is no keeper, which has its own.

    Raises:
        Diverged: the loss is no longer a number.
        Left: told to leave; a keeper has a checkpoint of this step.
        HoneError: nothing is supervised, `start_from` is of another model, or the plan's tracker refuses.
    """
    accelerator, wrapped, parameters = ready.accelerator, ready.wrapped, ready.parameters
    keeper, tell = (keeper, report) if is_first() else (None, _say_nothing)
    planned = total_steps(plan, len(data.rows))
    at, best = _begin(ready, data, start_from, before)
    step, tokens, spent, checks = at.step, at.tokens, at.spent, at.checks
    saved = time.monotonic()
    began = saved - at.elapsed
    # A run that is resumed at its end has no step left, and was validated.
    interrupted, stopped_early, validated = False, False, True
    wrapped.train()
    with _open_metrics(accelerator, plan, keeper, at.step) as metrics:
        for epoch, rows in step_batches(data.rows, plan.rows_per_step, plan.seed, step):
            (share,) = agreed(accelerator, _share(step, planned, time.monotonic() - began, plan))
            # The time may have run out since the last step; the run ends with a validated one.
            if share >= 1 and validated:
                break
            rate = learning_rate_at(share, plan)
            _set_rate(ready.optimizer, rate)
            start = time.perf_counter()
            loss, counted = step_on(
                accelerator, wrapped, ready.optimizer, parameters, rows, plan.clip, ready.rows_per_pass
            )
            spent += time.perf_counter() - start
            step, tokens = step + 1, tokens + counted
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss became {loss} at step {step}; try a lower --learning-rate (now {plan.learning_rate:g})"
                )
            share, pressed = agreed(
                accelerator, _share(step, planned, time.monotonic() - began, plan), float(stopped())
            )
            interrupted = bool(pressed)
            bits = None
            validated = share >= 1 or interrupted or bool(plan.checks and share >= (checks + 1) / plan.checks)
            if validated:
                # At least one more: 2 of 44 steps times 22 validations is less than 1, rounded.
                checks = max(checks + 1, int(share * plan.checks))
                bits = validation_bits(accelerator, wrapped, data.validation, rows_per_pass=ready.rows_per_pass)
                best.offer(bits, parameters)
                stopped_early = share < 1 and not interrupted and best.stale >= (plan.patience or math.inf)
            elapsed = time.monotonic() - began
            progress = Progress(
                step=step,
                epoch=epoch,
                share=share,
                loss=loss,
                learning_rate=rate,
                tokens=tokens,
                seconds=elapsed,
                tokens_per_second=tokens / spent,
                eta_seconds=elapsed * (1 - share) / share if share else None,
                validation=bits,
                memory=held_memory(accelerator.device),
            )
            metrics.log({name: value for name, value in asdict(progress).items() if name != "eta_seconds"})
            tell(progress)
            if interrupted or stopped_early:
                break
            due, told = agreed(accelerator, *_asked_of(keeper, leaving, saved))
            if due:
                elapsed = time.monotonic() - began
                position = Position(step, tokens, spent, elapsed, share, checks, at.before, best.bits, best.stale)
                # Every process takes part, since each may hold a shard; the first one writes.
                captured = capture(position, ready.named, ready.adamw, best.weights)
                if keeper is not None:
                    metrics.sync()
                    keeper.save(captured)
                saved = time.monotonic()
            if told:
                raise Left(f"left at step {step} ({share:.0%}) as told; --resume goes on from its last checkpoint")
    if best.bits is not None:
        _put(parameters, best.weights)
    return Outcome(
        steps=step,
        tokens=tokens,
        seconds=time.monotonic() - began,
        tokens_per_second=tokens / spent if spent else 0.0,
        validation_before=at.before,
        validation_after=best.bits,
        interrupted=interrupted,
        stopped_early=stopped_early,
    )


def _begin(ready: Ready, data: Data, start_from: Checkpoint | None, before: float | None) -> tuple[Position, "_Best"]:
    """Where a run stands before its next step, and its best weights so far."""
    if start_from is not None:
        at = start_from.position
        return at, _Best(at.best, restore(start_from, ready.named, ready.adamw), at.stale)
    bits = before
    if bits is None:
        bits = validation_bits(ready.accelerator, ready.wrapped, data.validation, rows_per_pass=ready.rows_per_pass)
    at = Position(step=0, tokens=0, spent=0.0, elapsed=0.0, share=0.0, checks=0, before=bits, best=bits)
    # B starts at zero, so until a validation improves on the base the best adapter is one that changes nothing.
    return at, _Best(bits, _copies(ready.parameters), 0)


def _asked_of(keeper: Keeper | None, leaving: Callable[[], bool], saved: float) -> tuple[float, float]:
    """Whether a checkpoint is due, and whether the run shall leave with it.

    Args:
        leaving: asked without a keeper.
        saved: when the last one was made.
    """
    if keeper is None:
        return 0.0, float(leaving())
    told = keeper.leaving()
    return float(told or time.monotonic() - saved >= keeper.every_minutes * 60), float(told)


@dataclass
class _Best:
    """The best validation so far, what it was measured on, and how many since were no better."""

    bits: float | None
    weights: list[torch.Tensor]
    stale: int

    def offer(self, bits: float | None, parameters: Sequence[torch.Tensor]) -> None:
        if bits is None:
            return
        if self.bits is None or bits < self.bits:
            self.bits, self.weights, self.stale = bits, _copies(parameters), 0
        else:
            self.stale += 1


def _say_nothing(_: Progress) -> None:
    """The report of every process but the first."""


@contextmanager
def _open_metrics(accelerator: Any, plan: Plan, keeper: Keeper | None, after_step: int) -> Iterator[Metrics]:
    path, note = (None, lambda _: None) if keeper is None else (keeper.metrics, keeper.note)
    metrics = Metrics(accelerator, plan, path, after_step, note)
    try:
        yield metrics
    finally:
        metrics.close()


def held_memory(device: torch.device) -> int:
    """Bytes held by this process now; on a GPU, of the GPU."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    import psutil

    return int(psutil.Process().memory_info().rss)


def _set_rate(optimizer: Any, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _copies(parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _put(parameters: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def total_steps(plan: Plan, rows: int) -> int | None:
    """Optimizer steps of a run over `rows` rows; None when time ends it."""
    if plan.steps is not None or plan.epochs is None:
        return plan.steps
    return math.ceil(plan.epochs * math.ceil(rows / plan.rows_per_step))


def _share(step: int, planned: int | None, elapsed: float, plan: Plan) -> float:
    if planned is not None:
        return min(1.0, step / planned)
    if plan.minutes is None:
        raise HoneError("a run needs one of --steps, --minutes and --epochs")
    return min(1.0, elapsed / (plan.minutes * 60))


def step_on(
    accelerator: Any,
    wrapped: Any,
    optimizer: Any,
    parameters: Sequence[torch.Tensor],
    rows: Sequence[Row],
    clip: float,
    rows_per_pass: int = 1,
) -> tuple[float, int]:
    """One optimizer step over `rows`, shared among the processes; returns (mean loss per label, tokens)."""
    batches, counted = _share_out(accelerator, rows, rows_per_pass)
    labels = sum(int((batch.labels != IGNORED).sum()) for batch in batches[:counted])
    labels = int(_sum(accelerator, float(labels)))
    if not labels:
        raise HoneError("a training step has no supervised token; the row length is too short for these files")
    summed = torch.zeros((), device=accelerator.device)
    for index, batch in enumerate(batches):
        last = index == len(batches) - 1
        with accelerator.no_sync(wrapped) if not last else accelerator.accumulate():
            loss = wrapped(batch) * float(index < counted)
            # Gradients are averaged over the processes; the loss is a mean over all labels of the step.
            accelerator.backward(loss * (accelerator.num_processes / labels))
            summed += loss.detach()
    accelerator.clip_grad_norm_(parameters, clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return _sum(accelerator, summed.item()) / labels, sum(len(e.tokens) for row in rows for e in row)


def _share_out(accelerator: Any, rows: Sequence[Row], rows_per_pass: int) -> tuple[list[Batch], int]:
    """This process's rows as batches, one a pass, and how many of them count.

    Every process has as many, since they meet in each pass; one with a pass less fills up with a row that counts for
    nothing.
    """
    mine = rows[accelerator.process_index :: accelerator.num_processes]
    groups = [mine[start : start + rows_per_pass] for start in range(0, len(mine), rows_per_pass)]
    counted, passes = len(groups), math.ceil(math.ceil(len(rows) / accelerator.num_processes) / rows_per_pass)
    groups += [rows[:1]] * (passes - counted)
    return [to_device(collate(group), accelerator.device) for group in groups], counted


def _sum(accelerator: Any, value: float) -> float:
    """Over the processes; the same float in each of them."""
    if accelerator.num_processes == 1:
        return value
    total = torch.tensor([value], dtype=torch.float64, device=accelerator.device)
    return float(accelerator.reduce(total, "sum").item())


def validation_bits(
    accelerator: Any, wrapped: Any, rows: Sequence[Row], most: int = VALIDATION_ROWS, rows_per_pass: int = 1
) -> float | None:
    """Bits per byte over at most `most` validation rows (the same ones each time); None without rows.

    End tokens count as bits but not as bytes. Logits are held for a few hundred tokens at a time and not kept.
    """
    if not rows:
        return None
    chosen = evenly(rows, most)
    batches, counted = _share_out(accelerator, chosen, rows_per_pass)
    was_training = wrapped.training
    wrapped.eval()
    with torch.no_grad():
        nats = [wrapped(batch).item() for batch in batches][:counted]
    wrapped.train(was_training)
    text_bytes = _sum(accelerator, sum(batch.text_bytes for batch in batches[:counted]))
    return _sum(accelerator, sum(nats)) / math.log(2) / text_bytes if text_bytes else None


def evenly(rows: Sequence[Row], most: int) -> list[Row]:
    """At most `most` of the rows, from the first on and as far apart as each other."""
    apart = max(1, len(rows) // most)
    return [rows[index] for index in range(0, len(rows), apart)][:most]
