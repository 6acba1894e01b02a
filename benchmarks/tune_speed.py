"""Training speed: Hone's loop, a plain peft loop and TRL's SFTTrainer, alternating, on the same rows.

`python -m benchmarks.tune_speed [--rounds 5] [--steps 2] [--dtype bfloat16]`
`python -m benchmarks.tune_speed --curves [20]`

All three: SmolLM2-135M, the same LoRA of rank 32 on all linear layers, AdamW, rows of 1,024 tokens, two per step, the
same number format (by default the one that Hone takes on this machine). The plain loop is peft's documented recipe:
whole rows through the model, documents seeing each other. TRL gets the rows as its own packing (`bfd`) makes them, with
the lengths of their documents, so that it keeps the boundaries; it neither checkpoints nor casts, since its defaults
are slower on a CPU. Each has a process of its own, and ratios are medians over the rounds.

MFU is the work of a token (`lora_flops_per_token`, the same for all three, attention within documents) times tokens per
second, over the machine's fastest matrix product in that format, measured between the rounds.

`--curves`: that many steps of one row in float32 from the same start, and the losses side by side. The plain loop then
computes document by document, which is what the other two must come to.
"""

import argparse
import os
import resource
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from assistant.models import store
from benchmarks import machine
from benchmarks.corpora import prepare as corpus
from benchmarks.peers import Peer, labels_of, train_by_trl
from tuning.data import collate, prepare
from tuning.examples.pack import Row
from tuning.examples.plain import IGNORED
from tuning.model import attention, lora
from tuning.model.flops import gemm_peak, lora_flops_per_token, shape_of
from tuning.model.load import fastest_dtype, load_base, load_tokenizer
from tuning.plan import LoraOptions, Plan

ROWS_PER_STEP = 2
HONE, PLAIN, TRL = "hone", "plain peft loop", "TRL SFTTrainer"
PLAN = Plan(steps=1, learning_rate=1e-3, weight_decay=0.01, clip=1.0)


@dataclass(frozen=True)
class Trained:
    """What some steps came to, the first of which is not timed."""

    tokens_per_second: float
    losses: list[float]
    """Nats per label, of each step."""
    peak_megabytes: int
    """Held by the process at most since it began."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of each in each round, after one to warm up")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--curves", type=int, nargs="?", const=20, metavar="STEPS", help="compare losses, not speed")
    arguments = parser.parse_args()
    folder = store.tuning_form(store.fetch("smollm2-135m"))
    steps = full_steps(prepare([corpus("strands-agents")], load_tokenizer(folder), PLAN).rows)
    print(machine.describe())
    if arguments.curves:
        curves(folder, [rows[:1] for rows in steps[: arguments.curves]])
    else:
        dtype = getattr(torch, arguments.dtype) if arguments.dtype else fastest_dtype(torch.device("cpu"))
        needed = arguments.steps + 1
        speeds(folder, dtype, [steps[at * needed : (at + 1) * needed] for at in range(arguments.rounds)])
    print(machine.describe())


def speeds(folder: Any, dtype: torch.dtype, rounds: list[list[list[Row]]]) -> None:
    runners = {HONE: Peer(Ours, folder, dtype), PLAIN: Peer(Plain, folder, dtype), TRL: Peer(Trl, folder, dtype)}
    bound = Peer(Bound, folder, dtype)
    found: dict[str, list[Trained]] = {name: [] for name in runners}
    mfu: dict[str, list[float]] = {name: [] for name in runners}
    peaks = []
    for number, steps in enumerate(rounds, 1):
        peak, work = bound(steps)
        peaks.append(peak / 1e9)
        for name, run in runners.items():
            one = run(steps)
            found[name].append(one)
            mfu[name].append(100 * one.tokens_per_second * work / peak)
            print(f"round {number}  {name:<16} {one.tokens_per_second:7.1f} tok/s", flush=True)
    print(f"\n{dtype}, medians (ranges) over {len(rounds)} rounds of {len(rounds[0]) - 1} steps")
    print(f"  fastest matrix product {machine.spread(peaks, 0)} GFLOP/s; {work / 1e6:.0f} MFLOP a token")
    for name, each in found.items():
        print(
            f"  {name:<16} {machine.spread([one.tokens_per_second for one in each])} tok/s   "
            f"MFU {machine.spread(mfu[name], 0)} %   peak memory {each[-1].peak_megabytes:,} MB"
        )
    for peer in (PLAIN, TRL):
        pairs = list(zip(found[HONE], found[peer], strict=True))
        ratios = [mine.tokens_per_second / theirs.tokens_per_second for mine, theirs in pairs]
        print(
            f"  hone / {peer}: {statistics.median(ratios):.2f} (round by round {min(ratios):.2f} to {max(ratios):.2f})"
            f", peak memory {pairs[-1][0].peak_megabytes / pairs[-1][1].peak_megabytes:.2f}"
        )


def curves(folder: Any, steps: list[list[Row]]) -> None:
    dtype = torch.float32
    found = {
        HONE: Peer(Ours, folder, dtype)(steps).losses,
        "peft by document": Peer(Plain, folder, dtype, True)(steps).losses,
        TRL: Peer(Trl, folder, dtype)(steps).losses,
    }
    print(f"\nloss, {len(steps)} steps of one row in float32\nstep  " + "  ".join(f"{name:>16}" for name in found))
    for number, losses in enumerate(zip(*found.values(), strict=True), 1):
        print(f"{number:4}  " + "  ".join(f"{loss:16.6f}" for loss in losses))
    for name, losses in found.items():
        if name != HONE:
            largest = max(abs(mine - theirs) for mine, theirs in zip(found[HONE], losses, strict=True))
            print(f"  hone and {name}: largest difference {largest:.1e}")


def full_steps(rows: Any) -> list[list[Row]]:
    """Steps of `ROWS_PER_STEP` rows each, of rows that are nearly full."""
    full = [row for row in rows if sum(len(example.tokens) for example in row) > 1000]
    return [full[start : start + ROWS_PER_STEP] for start in range(0, len(full), ROWS_PER_STEP)]


class Bound:
    """(operations per second of the fastest matrix product now, operations that a token of some steps is worth)."""

    def __init__(self, folder: Any, dtype: torch.dtype) -> None:
        self.dtype, self.shape = dtype, shape_of(_plain_model(folder, dtype))

    def __call__(self, steps: list[list[Row]]) -> tuple[float, float]:
        batch = collate([row for rows in steps for row in rows])
        tokens, lengths = len(batch.labels), batch.document_lengths
        context = sum(length * length for length in lengths) / tokens
        learnt = int((batch.labels != IGNORED).sum()) / tokens
        return gemm_peak(self.dtype, torch.device("cpu")), lora_flops_per_token(self.shape, context, learnt)


class Stopwatch:
    """Collects what `Trained` has, step by step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.stamps: list[float] = []
        self.tokens: list[int] = []

    def step(self, loss: float, rows: list[Row]) -> None:
        self.stamps.append(time.perf_counter())
        self.losses.append(loss)
        self.tokens.append(sum(len(example.tokens) for row in rows for example in row))

    def trained(self) -> Trained:
        seconds = self.stamps[-1] - self.stamps[0]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return Trained(sum(self.tokens[1:]) / seconds, self.losses, peak)


class Ours:
    def __init__(self, folder: Any, dtype: torch.dtype) -> None:
        from tuning.ready import make_ready

        attention.register()
        self.ready = make_ready(lora.add_lora(load_base(folder, dtype, attention.NAME), LoraOptions(), 0), PLAN)

    def __call__(self, steps: list[list[Row]]) -> Trained:
        from tuning.train import step_on

        ready, watch = self.ready, Stopwatch()
        ready.wrapped.train()
        for rows in steps:
            loss, _ = step_on(ready.accelerator, ready.wrapped, ready.optimizer, ready.parameters, rows, PLAN.clip)
            watch.step(loss, rows)
        return watch.trained()


class Plain:
    """
    Args:
        by_document: a forward pass for each document, instead of one for a row in which they see each other.
    """

    def __init__(self, folder: Any, dtype: torch.dtype, by_document: bool = False) -> None:
        self.model, self.by_document = _plain_model(folder, dtype), by_document
        self.model.train()
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=PLAN.learning_rate, betas=(0.9, 0.95), weight_decay=PLAN.weight_decay
        )

    def __call__(self, steps: list[list[Row]]) -> Trained:
        watch = Stopwatch()
        for rows in steps:
            pieces = [(example,) for row in rows for example in row] if self.by_document else rows
            count = sum(label != IGNORED for row in rows for example in row for label in example.labels[1:])
            summed = 0.0
            for piece in pieces:
                tokens = torch.tensor([[token for example in piece for token in example.tokens]])
                labels = torch.tensor([[label for example in piece for label in labels_of(example)]])
                loss = self.model(input_ids=tokens, labels=labels, use_cache=False, num_items_in_batch=count).loss
                loss.backward()
                summed += loss.item()
            torch.nn.utils.clip_grad_norm_(self.parameters, PLAN.clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
            watch.step(summed, rows)
        return watch.trained()


class Trl:
    def __init__(self, folder: Any, dtype: torch.dtype) -> None:
        self.folder, self.model = folder, _plain_model(folder, dtype)

    def __call__(self, steps: list[list[Row]]) -> Trained:
        watch = Stopwatch()
        train_by_trl(
            self.model,
            load_tokenizer(self.folder),
            steps,
            1,
            lambda loss: watch.step(loss, steps[len(watch.losses)]),
            learning_rate=PLAN.learning_rate,
            weight_decay=PLAN.weight_decay,
            max_grad_norm=PLAN.clip,
            bf16=False,
            use_cpu=True,
        )
        return watch.trained()


def _plain_model(folder: Any, dtype: torch.dtype) -> Any:
    """peft's own layers, and the adapter that Hone starts from."""
    return lora.add_lora(load_base(folder, dtype), LoraOptions(), 0)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
