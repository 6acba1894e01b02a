"""Training speed: Hone's loop, a plain peft loop and TRL's SFTTrainer, alternating, on the same rows.

`python -m benchmarks.tune_speed [--rounds 5] [--steps 2] [--dtype bfloat16]`

All three: SmolLM2-135M, LoRA rank 32 on all linear layers, AdamW, rows of 1,024 tokens, two per step, the same number
format (by default the one that Hone takes on this machine). The plain loop is peft's documented recipe: whole rows
through the model, documents seeing each other. TRL packs with boundaries kept (`bfd`) and neither checkpoints nor
casts, since its defaults are slower on a CPU. Each has a process of its own, and ratios are medians over the rounds.
"""

import argparse
import contextlib
import os
import resource
import statistics
import sys
import tempfile
import time
from typing import Any

import torch

from assistant.models import store
from benchmarks import machine
from benchmarks.corpora import prepare as corpus
from benchmarks.peers import Peer
from tuning.data import collate, prepare
from tuning.examples.pack import Row
from tuning.model import attention, lora
from tuning.model.load import fastest_dtype, load_base, load_tokenizer
from tuning.plan import Plan

ROWS_PER_STEP = 2
PEERS = ("plain peft loop", "TRL SFTTrainer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of each in each round, after one to warm up")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    arguments = parser.parse_args()
    folder = store.tuning_form(store.fetch("smollm2-135m"))
    dtype = getattr(torch, arguments.dtype) if arguments.dtype else fastest_dtype(torch.device("cpu"))
    steps = _steps(prepare([corpus("strands-agents")], load_tokenizer(folder), Plan(steps=1)).rows)
    print(machine.describe())
    runners = {
        "hone": Peer(Ours, folder, dtype),
        "plain peft loop": Peer(Plain, folder, dtype),
        "TRL SFTTrainer": Peer(Trl, folder, dtype),
    }
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    peaks: dict[str, int] = {}
    needed = arguments.steps + 1
    for number in range(arguments.rounds):
        rows = steps[number * needed : (number + 1) * needed]
        for name, run in runners.items():
            speed, peaks[name] = run(rows)
            speeds[name].append(speed)
            print(f"round {number + 1}  {name:<16} {speed:7.1f} tok/s", flush=True)
    print(f"\n{dtype}, median tok/s (range) over {arguments.rounds} rounds of {arguments.steps} steps")
    for name, values in speeds.items():
        print(f"  {name:<16} {machine.spread(values)}   peak memory {peaks[name]:,} MB")
    for peer in PEERS:
        ratios = [mine / theirs for mine, theirs in zip(speeds["hone"], speeds[peer], strict=True)]
        print(
            f"  hone / {peer}: {statistics.median(ratios):.2f} (round by round {min(ratios):.2f} to {max(ratios):.2f})"
        )
    print(machine.describe())


def _steps(rows: tuple[Row, ...]) -> list[list[Row]]:
    full = [row for row in rows if sum(len(example.tokens) for example in row) > 1000]
    return [full[start : start + ROWS_PER_STEP] for start in range(0, len(full), ROWS_PER_STEP)]


def _count(rows: list[Row]) -> int:
    return sum(len(example.tokens) for row in rows for example in row)


def _peak_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Ours:
    def __init__(self, folder: Any, dtype: torch.dtype) -> None:
        from tuning.plan import LoraOptions
        from tuning.ready import make_ready

        attention.register()
        model = lora.add_lora(load_base(folder, dtype, attention.NAME), LoraOptions(), 0)
        self.ready = make_ready(model, Plan(steps=1))

    def __call__(self, steps: list[list[Row]]) -> tuple[float, int]:
        from tuning.train import step_on

        ready = self.ready
        ready.wrapped.train()
        tokens, spent = 0, 0.0
        for number, rows in enumerate(steps):
            start = time.perf_counter()
            _, counted = step_on(ready.accelerator, ready.wrapped, ready.optimizer, ready.parameters, rows, 1.0)
            if number:
                spent += time.perf_counter() - start
                tokens += counted
        return tokens / spent, _peak_megabytes()


class Plain:
    def __init__(self, folder: Any, dtype: torch.dtype) -> None:
        self.model = _peft(folder, dtype)
        self.model.train()
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-3, betas=(0.9, 0.95))

    def __call__(self, steps: list[list[Row]]) -> tuple[float, int]:
        tokens, spent = 0, 0.0
        for number, rows in enumerate(steps):
            start = time.perf_counter()
            for row in rows:
                batch = collate([row])
                self.model(input_ids=batch.tokens, labels=batch.tokens, use_cache=False).loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            if number:
                spent += time.perf_counter() - start
                tokens += _count(rows)
        return tokens / spent, _peak_megabytes()


class Trl:
    def __init__(self, folder: Any, dtype: torch.dtype) -> None:
        self.folder, self.model = folder, _peft(folder, dtype)

    def __call__(self, steps: list[list[Row]]) -> tuple[float, int]:
        from datasets import Dataset
        from transformers import TrainerCallback
        from trl import SFTConfig, SFTTrainer

        stamps: list[float] = []

        class Stamp(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                stamps.append(time.perf_counter())

        documents = [list(example.tokens) for rows in steps for row in rows for example in row]
        with tempfile.TemporaryDirectory() as out:
            configuration = SFTConfig(
                output_dir=out,
                max_length=1024,
                packing=True,
                packing_strategy="bfd",
                per_device_train_batch_size=1,
                gradient_accumulation_steps=ROWS_PER_STEP,
                max_steps=len(steps),
                learning_rate=1e-3,
                bf16=False,
                gradient_checkpointing=False,
                use_cpu=True,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            )
            trainer = SFTTrainer(
                model=self.model,
                args=configuration,
                train_dataset=Dataset.from_dict({"input_ids": documents}),
                processing_class=load_tokenizer(self.folder),
                callbacks=[Stamp()],
            )
            with contextlib.redirect_stdout(sys.stderr):
                trainer.train()
        # All rows are full within 2 %, so a step has the mean number of tokens.
        tokens = sum(map(len, documents)) / len(steps) * (len(stamps) - 1)
        return tokens / (stamps[-1] - stamps[0]), _peak_megabytes()


def _peft(folder: Any, dtype: torch.dtype) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    configuration = LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", task_type=TaskType.CAUSAL_LM)
    return get_peft_model(load_base(folder, dtype), configuration)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
