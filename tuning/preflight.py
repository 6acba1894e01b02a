"""What is looked at before the first step: nonsense is refused, one step is measured, some examples are shown.

Nothing here changes the run: a run with a pre-flight ends in the same adapter, bit for bit, as one without. What an
earlier run measured is not measured again.
"""

import itertools
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch

from assistant.errors import HoneError
from tuning import measured
from tuning.data import Data, collate, to_device
from tuning.examples.pack import Row
from tuning.examples.plain import IGNORED, Example
from tuning.model.flops import gemm_peak, lora_flops_per_token, shape_of
from tuning.model.footprint import available_memory, gigabytes
from tuning.plan import Plan
from tuning.ready import Ready
from tuning.train import VALIDATION_ROWS, evenly, held_memory, total_steps, validation_bits

LOOKED_AT = 512
"""Rows that the shares are counted in, taken evenly from all of them."""

MARKS = ("⟦", "⟧")
"""Around what is learnt, in decoded examples."""


@dataclass(frozen=True)
class Probe:
    """The rows of one pass, forward and backward, as the loop computes them."""

    tokens: int
    loss: float
    """Nats per label, of the base."""
    forward_seconds: float
    seconds: float
    """Forward and backward."""
    peak_bytes: int
    """Held by the process at most, the model included; on a GPU, of the GPU."""


@dataclass(frozen=True)
class Preflight:
    rows: int
    validation_rows: int
    train_tokens: int
    supervised_share: float
    """Of the tokens, 0 to 1; those that are learnt."""
    trained: int
    """Trained parameters."""
    dtype: str
    device: str
    processes: int
    probe: Probe
    tokens_per_second: float
    """Of all processes together."""
    training_bytes: int
    """The probe's peak, and what the optimizer and the copy of the best weights add; more rows per step add nothing,
    since they follow each other."""
    held_bytes: int
    """Held by the process before the probe, now."""
    available_bytes: int
    """That were free then; now, whenever the rest was measured."""
    eta_seconds: float
    """Training and its validations."""
    flops_per_token: float
    peak_flops: float
    """Floating point operations per second of the machine's fastest matrix product, per process."""
    samples: tuple[str, ...]
    """Decoded examples, what is learnt between `MARKS`."""
    measured_at: str | None = None
    """When an earlier run measured the row and the peak, ISO 8601; None: now."""

    @property
    def mfu(self) -> float:
        """Model FLOPs utilization, 0 to 1."""
        return self.tokens_per_second / self.processes * self.flops_per_token / self.peak_flops

    def describe(self) -> list[str]:
        """A line each on the data, the measured row, and the run to come; `samples` are apart."""
        probe = self.probe
        together = f" in {self.processes} processes" if self.processes > 1 else ""
        when = f"measured before, at {self.measured_at}" if self.measured_at else "measured"
        # The probe's memory is part of this process only where the probe was made now.
        tight = self.training_bytes - self.held_bytes > self.available_bytes
        help_ = ": it may not fit; a smaller row_length, a lower rank or activation_checkpointing takes less"
        return [
            f"{self.rows} rows ({self.train_tokens:,} tokens, {self.supervised_share:.1%} of them learnt), "
            f"{self.validation_rows} validation rows; {self.trained / 1e6:.1f} M trained parameters",
            f"{when}: {probe.tokens:,} tokens at once in {probe.seconds:.2f} s, {self.tokens_per_second:,.0f} tok/s"
            f"{together} ({self.dtype}, {self.device}), MFU {self.mfu:.0%} of {self.peak_flops / 1e9:,.0f} GFLOP/s; "
            f"base loss {probe.loss:.3f}",
            f"memory {gigabytes(self.training_bytes)} (measured {gigabytes(probe.peak_bytes)} without the optimizer), "
            f"{gigabytes(self.available_bytes)} free{help_ if tight else ''}; whole run {_duration(self.eta_seconds)}",
        ]


def check_data(data: Data, plan: Plan) -> None:
    """Refuses data that nothing can be learnt from, or that a model would learn never to stop from.

    Raises:
        HoneError: one line.
    """
    if plan.learning_rate <= 0:
        raise HoneError("a learning rate of 0 would learn nothing; 1e-3 suits small models, 2e-4 large ones")
    if not len(data.rows):
        raise HoneError("there is nothing to train on; name a larger corpus")
    if not any(label != IGNORED for label in _labels(data.rows)):
        raise HoneError("no token is supervised, so nothing would be learnt; look at the examples with --dry-run")
    if not any(label == data.end_token for label in _labels(data.rows)):
        raise HoneError(
            f"the end token ({data.end_token}) is never supervised, so the model would learn not to stop; end the "
            "examples with it, or take a longer row_length"
        )
    if not len(data.validation):
        raise HoneError(
            f"the corpus is too small to split: {len(data.rows)} rows to train on and nothing held out to validate "
            "with; name a larger one"
        )


def measure(
    ready: Ready, data: Data, plan: Plan, tokenizer: Any = None, passes: int = 2, key: str | None = None
) -> Preflight:
    """Measures one pass and says what the run will take. Every process takes part.

    Args:
        tokenizer: decodes the samples; None shows none.
        passes: over the same rows, of which the fastest counts; the first one is slower than a run's steps.
        key: of `measured.key_of`; what an earlier run measured under it is taken as it is, and only the memory is
            looked at again. None measures.

    Raises:
        HoneError: the rows do not fit in memory, or the base's loss on them is not a number.
    """
    accelerator = ready.accelerator
    device = accelerator.device
    looked_at = evenly(data.rows, LOOKED_AT)
    labels = [label for row in looked_at for label in _row_labels(row)]
    fullest = sorted(looked_at, key=_size, reverse=True)[: ready.rows_per_pass]
    free, held = available_memory(device.type), held_memory(device)
    dtype = next(p.dtype for p in ready.model.parameters() if not p.requires_grad and p.is_floating_point())

    def numbers() -> list[float]:
        # The numbers that dropout and the matrix products draw here are not missing in the run.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            return [*astuple(probe(ready, fullest, passes)), gemm_peak(dtype, device)]

    measurement = measured.once(accelerator, "speed", key, numbers)
    found, peak = _probe_of(measurement.numbers), measurement.numbers[-1]
    learnt = sum(label != IGNORED for label in _labels(fullest))
    shape = shape_of(ready.model)
    speed = accelerator.num_processes * found.tokens / found.seconds
    lengths = [len(example.tokens) for row in fullest for example in row]
    validation_tokens = sum(_size(row) for row in evenly(data.validation, VALIDATION_ROWS))
    validation = validation_tokens / accelerator.num_processes * found.forward_seconds / found.tokens
    return Preflight(
        rows=len(data.rows),
        validation_rows=len(data.validation),
        train_tokens=data.train_tokens,
        supervised_share=sum(label != IGNORED for label in labels) / len(labels),
        trained=shape.lora,
        dtype=str(dtype).removeprefix("torch."),
        device=device.type,
        processes=accelerator.num_processes,
        probe=found,
        tokens_per_second=speed,
        # Two moments and the copy of the best, all in fp32.
        training_bytes=found.peak_bytes + 12 * sum(parameter.numel() for parameter in ready.parameters),
        held_bytes=held,
        available_bytes=free,
        eta_seconds=planned_seconds(plan, len(data.rows), data.train_tokens, speed, validation),
        flops_per_token=lora_flops_per_token(
            shape, sum(length * length for length in lengths) / sum(lengths), learnt / found.tokens
        ),
        peak_flops=peak,
        samples=samples(data.rows, tokenizer) if tokenizer is not None else (),
        measured_at=measurement.at,
    )


def _probe_of(numbers: Sequence[float]) -> Probe:
    tokens, loss, forward_seconds, seconds, peak_bytes, _ = numbers
    return Probe(int(tokens), loss, forward_seconds, seconds, int(peak_bytes))


def base_bits(ready: Ready, data: Data, key: str | None = None) -> float | None:
    """Bits per byte of the validation files before the first step; None where they cannot be measured. Every process
    takes part.

    Args:
        key: as for `measure`.
    """

    def numbers() -> list[float]:
        bits = validation_bits(ready.accelerator, ready.wrapped, data.validation, rows_per_pass=ready.rows_per_pass)
        return [math.nan if bits is None else bits]

    (bits,) = measured.once(ready.accelerator, "validation", key, numbers).numbers
    return None if math.isnan(bits) else bits


def probe(ready: Ready, rows: Sequence[Row], passes: int = 2) -> Probe:
    """Forward and backward over the rows of one pass, without a step; weights and gradients are left as they were.

    Raises:
        HoneError: they do not fit in memory, or their loss is not a number.
    """
    device, wrapped = ready.accelerator.device, ready.wrapped
    was_training = wrapped.training
    wrapped.train()
    batch = to_device(collate(rows), device)
    size = sum(map(_size, rows))
    labels = int((batch.labels != IGNORED).sum())
    if not labels:
        raise HoneError("the fullest row has no supervised token, so nothing would be learnt")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    forward = whole = math.inf
    try:
        for _ in range(passes):
            start = time.perf_counter()
            loss = wrapped(batch) / labels
            value = loss.item()
            middle = time.perf_counter()
            ready.accelerator.backward(loss)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            end = time.perf_counter()
            forward, whole = min(forward, middle - start), min(whole, end - start)
            peak = held_memory(device) if ready.pages_kept else _most_held()
            ready.optimizer.zero_grad(set_to_none=True)
    except torch.OutOfMemoryError as error:
        raise HoneError(
            f"{size:,} tokens at once do not fit in the GPU's memory; take a smaller "
            f"{'pass_tokens' if len(rows) > 1 else 'row_length'}, a lower rank or activation_checkpointing"
        ) from error
    finally:
        wrapped.train(was_training)
    if not math.isfinite(value):
        raise HoneError(f"the base model's loss on the training data is {value}; its weights or its dtype are unusable")
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    return Probe(size, value, forward, whole, peak)


def _most_held() -> int:
    """Bytes that this process has held at most since it began."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def planned_seconds(plan: Plan, rows: int, tokens: int, tokens_per_second: float, validation: float) -> float:
    """How long a plan takes, as far as its first steps tell.

    Args:
        rows, tokens: of one epoch.
        validation: seconds of one validation.
    """
    if plan.minutes is not None:
        return plan.minutes * 60
    if plan.steps is not None:
        epochs = plan.steps / math.ceil(rows / plan.rows_per_step)
    else:
        epochs = plan.epochs or 0.0
    return epochs * tokens / tokens_per_second + (max(1, plan.checks) + 1) * validation


def whole_steps(plan: Plan, rows: int, tokens: int, tokens_per_second: float) -> int:
    """Optimizer steps of a plan; for one of minutes, as many as the measured speed allows.

    Args:
        rows, tokens: of one epoch.
    """
    per_epoch = math.ceil(rows / plan.rows_per_step)
    if plan.minutes is None:
        return total_steps(plan, rows) or 1
    return max(1, round(plan.minutes * 60 * tokens_per_second * per_epoch / tokens))


def samples(rows: Sequence[Row], tokenizer: Any, count: int = 3) -> tuple[str, ...]:
    """Decoded examples from as many places of the corpus, what is learnt between `MARKS`."""
    return tuple(marked(row[-1], tokenizer) for row in evenly(rows, count))


def marked(example: Example, tokenizer: Any) -> str:
    """The text of an example with what is learnt between `MARKS`.

    The first token is never learnt, since nothing comes before it.
    """
    learnt = [False, *(label != IGNORED for label in example.labels[1:])]
    parts = []
    for is_learnt, run in itertools.groupby(zip(learnt, example.tokens, strict=True), key=lambda pair: pair[0]):
        text = tokenizer.decode([token for _, token in run], skip_special_tokens=False)
        parts.append(f"{MARKS[0]}{text}{MARKS[1]}" if is_learnt else text)
    return "".join(parts)


def shortened(text: str, lines: int = 12) -> str:
    """The first and last lines of a long text."""
    every = text.splitlines()
    if len(every) <= lines:
        return text
    half = lines // 2
    return "\n".join([*every[:half], f"[{len(every) - 2 * half} lines]", *every[-half:]])


def _labels(rows: Iterable[Row]) -> Iterator[int]:
    return (label for row in rows for label in _row_labels(row))


def _row_labels(row: Row) -> Iterator[int]:
    """Label of every token, the first of a document excepted: nothing predicts it, and the last predicts nothing."""
    for example in row:
        yield from example.labels[1:]
        yield IGNORED


def _size(row: Row) -> int:
    return sum(len(example.tokens) for example in row)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
