"""The training loop, whole and visible."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from assistant.errors import HoneError
from tuning.checkpoint import Checkpoint, Keeper, Position, capture, restore
from tuning.data import Batch, Data, collate, step_batches
from tuning.examples.pack import Row
from tuning.examples.plain import IGNORED
from tuning.model import fast, memory
from tuning.model.packed import PackedModel

CHECKS = 3
"""Validations in a run, after the one before it; each costs as much as a few steps."""


@dataclass(frozen=True)
class Plan:
    """What one run is asked to do. Exactly one of steps, minutes and epochs ends it.

    Defaults: rank and alpha after Biderman et al. 2024 (alpha = 2 rank, all linear layers); learning rate swept on the
    135M model (2e-4 suits billions); AdamW betas, weight decay, clip and warm-up as in the LoRA recipes of axolotl and
    torchtune.
    """

    steps: int | None = None
    minutes: float | None = None
    epochs: float | None = None
    rank: int = 32
    alpha: int = 64
    learning_rate: float = 1e-3
    warmup: float = 0.05
    """Share of the run in which the learning rate rises."""
    weight_decay: float = 0.01
    clip: float = 1.0
    row_length: int = 1024
    rows_per_step: int = 1
    seed: int = 0


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


@dataclass(frozen=True)
class Outcome:
    steps: int
    tokens: int
    seconds: float
    tokens_per_second: float
    validation_before: float | None
    validation_after: float | None
    interrupted: bool


def learning_rate_at(share: float, plan: Plan) -> float:
    """Linear warm-up, then cosine to zero, by the share of the run that is done."""
    if share < plan.warmup:
        return plan.learning_rate * max(share, 0.01) / plan.warmup
    rest = min(1.0, (share - plan.warmup) / (1 - plan.warmup))
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))


def train(
    model: Any,
    data: Data,
    plan: Plan,
    report: Callable[[Progress], None],
    stopped: Callable[[], bool] = lambda: False,
    keeper: Keeper | None = None,
    start_from: Checkpoint | None = None,
) -> Outcome:
    """Trains the adapter in place; at the end it holds the weights of the best validation.

    Args:
        model: a peft model loaded with packed attention.
        report: called after each optimizer step.
        stopped: asked after each step; True ends the run as if its time were up.
        keeper: keeps checkpoints; None makes none.
        start_from: a checkpoint of the same run (same data, plan and model).

    Raises:
        HoneError: nothing is supervised, the loss is no longer a number, or `start_from` is of another model.
    """
    from accelerate import Accelerator

    accelerator = Accelerator()
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    parameters = [parameter for _, parameter in named]
    adamw = optimizer_of(parameters, plan)
    wrapped, optimizer = accelerator.prepare(PackedModel(model), adamw)
    fast.speed_up(model)
    memory.keep_pages()
    total_steps = _total_steps(plan, len(data.rows))
    if start_from is None:
        bits = validation_bits(wrapped, data.validation, accelerator.device)
        at = Position(step=0, tokens=0, spent=0.0, elapsed=0.0, share=0.0, checks=0, before=bits, best=bits)
    else:
        at = start_from.position
    # B starts at zero, so until a validation improves on the base the best adapter is one that changes nothing.
    best_weights = _copies(parameters) if start_from is None else restore(start_from, named, adamw)
    step, tokens, spent, checks, best = at.step, at.tokens, at.spent, at.checks, at.best
    saved = time.monotonic()
    began = saved - at.elapsed
    interrupted = False
    wrapped.train()
    for epoch, rows in islice(step_batches(data.rows, plan.rows_per_step, plan.seed), step, None):
        share = _share(step, total_steps, time.monotonic() - began, plan)
        if share >= 1:
            break
        rate = learning_rate_at(share, plan)
        _set_rate(optimizer, rate)
        start = time.perf_counter()
        loss, counted = step_on(accelerator, wrapped, optimizer, parameters, rows, plan.clip)
        spent += time.perf_counter() - start
        step, tokens = step + 1, tokens + counted
        if not math.isfinite(loss):
            raise HoneError(
                f"the loss became {loss} at step {step}; try a lower --learning-rate (now {plan.learning_rate:g})"
            )
        share = _share(step, total_steps, time.monotonic() - began, plan)
        interrupted = stopped()
        bits = None
        if share >= 1 or interrupted or share >= (checks + 1) / CHECKS:
            checks = int(share * CHECKS)
            bits = validation_bits(wrapped, data.validation, accelerator.device)
            if bits is not None and (best is None or bits < best):
                best, best_weights = bits, _copies(parameters)
        elapsed = time.monotonic() - began
        report(
            Progress(
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
            )
        )
        if interrupted:
            break
        if keeper is not None and accelerator.is_main_process and time.monotonic() - saved >= keeper.every_minutes * 60:
            position = Position(step, tokens, spent, time.monotonic() - began, share, checks, at.before, best)
            keeper.save(capture(position, named, adamw, best_weights))
            saved = time.monotonic()
    if best is not None:
        _put(parameters, best_weights)
    return Outcome(
        steps=step,
        tokens=tokens,
        seconds=time.monotonic() - began,
        tokens_per_second=tokens / spent if spent else 0.0,
        validation_before=at.before,
        validation_after=best,
        interrupted=interrupted,
    )


def optimizer_of(parameters: Sequence[torch.nn.Parameter], plan: Plan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters, lr=plan.learning_rate, betas=(0.9, 0.95), weight_decay=plan.weight_decay, fused=True
    )


def _set_rate(optimizer: Any, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _copies(parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _put(parameters: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def _total_steps(plan: Plan, rows: int) -> int | None:
    """None when time ends the run."""
    if plan.steps is not None or plan.epochs is None:
        return plan.steps
    return math.ceil(plan.epochs * math.ceil(rows / plan.rows_per_step))


def _share(step: int, total_steps: int | None, elapsed: float, plan: Plan) -> float:
    if total_steps is not None:
        return min(1.0, step / total_steps)
    if plan.minutes is None:
        raise HoneError("a run needs one of --steps, --minutes and --epochs")
    return min(1.0, elapsed / (plan.minutes * 60))


def step_on(
    accelerator: Any, wrapped: Any, optimizer: Any, parameters: Sequence[torch.Tensor], rows: Sequence[Row], clip: float
) -> tuple[float, int]:
    """One optimizer step over `rows`, shared among the processes; returns (mean loss per label, tokens)."""
    mine = rows[accelerator.process_index :: accelerator.num_processes]
    batches = [_to(collate([row]), accelerator.device) for row in mine]
    labels = sum(int((batch.labels != IGNORED).sum()) for batch in batches)
    if accelerator.num_processes > 1:
        counts = torch.tensor([labels], device=accelerator.device)
        labels = int(accelerator.reduce(counts, "sum").item())
    if not labels:
        raise HoneError("a training step has no supervised token; the row length is too short for these files")
    summed = torch.zeros((), device=accelerator.device)
    for index, batch in enumerate(batches):
        last = index == len(batches) - 1
        with accelerator.no_sync(wrapped) if not last else accelerator.accumulate():
            loss = wrapped(batch)
            # DistributedDataParallel averages gradients over processes; the loss is a mean over all labels of the step.
            accelerator.backward(loss * (accelerator.num_processes / labels))
            summed += loss.detach()
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return accelerator.reduce(summed, "sum").item() / labels, sum(len(e.tokens) for row in rows for e in row)


def validation_bits(wrapped: Any, rows: Sequence[Row], device: torch.device, most: int = 12) -> float | None:
    """Bits per byte over at most `most` validation rows (the same ones each time); None without rows.

    End tokens count as bits but not as bytes.
    """
    if not rows:
        return None
    chosen = rows[:: max(1, len(rows) // most)][:most]
    was_training = wrapped.training
    wrapped.eval()
    with torch.no_grad():
        batches = [_to(collate([row]), device) for row in chosen]
        nats = sum(wrapped(batch).item() for batch in batches)
    wrapped.train(was_training)
    return nats / math.log(2) / sum(batch.text_bytes for batch in batches)


def _to(batch: Batch, device: torch.device) -> Batch:
    return Batch(
        batch.tokens.to(device),
        batch.positions.to(device),
        batch.labels.to(device),
        batch.document_lengths,
        batch.text_bytes,
    )
