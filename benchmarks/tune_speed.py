"""Training speed: Hone's loop, a plain peft loop and TRL's SFTTrainer, alternating, on the same rows.

`python -m benchmarks.tune_speed [--rounds 3] [--steps 4] [--dtype float32]`

All three: SmolLM2-135M, LoRA rank 32 on all linear layers, AdamW, rows of 1,024 tokens, two per step, the same number
format. The plain loop is peft's documented recipe: whole rows through the model, documents seeing each other. TRL packs
with boundaries kept (`bfd`) and neither checkpoints nor casts, since its defaults are slower on a CPU.
"""

import argparse
import os
import statistics
import tempfile
import time
from typing import Any

import torch

from assistant.models import store
from benchmarks import machine
from benchmarks.corpora import prepare as corpus
from tuning.data import collate, prepare
from tuning.examples.pack import Row
from tuning.model import attention, lora
from tuning.model.load import load_base, load_tokenizer

ROWS_PER_STEP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each in each round, after one to warm up")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()
    folder = store.tuning_form(store.fetch("smollm2-135m"))
    dtype = getattr(torch, arguments.dtype)
    tokenizer = load_tokenizer(folder)
    data = prepare([corpus("strands-agents")], tokenizer, 1024)
    steps = _steps(data.rows)
    attention.register()
    print(machine.describe())
    ours = Ours(folder, dtype)
    plain = Plain(folder, dtype)
    trl = Trl(folder, dtype)
    speeds: dict[str, list[float]] = {"hone": [], "plain peft loop": [], "TRL SFTTrainer": []}
    needed = arguments.steps + 1
    for number in range(arguments.rounds):
        rows = steps[number * needed : (number + 1) * needed]
        for name, runner in (("hone", ours), ("plain peft loop", plain), ("TRL SFTTrainer", trl)):
            speeds[name].append(runner.run(rows))
            print(f"round {number + 1}  {name:<16} {speeds[name][-1]:7.1f} tok/s", flush=True)
    print(f"\n{arguments.dtype}, median tok/s (range) over {arguments.rounds} rounds of {arguments.steps} steps")
    for name, values in speeds.items():
        print(f"  {name:<16} {machine.spread(values)}")
    for peer in ("plain peft loop", "TRL SFTTrainer"):
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


class Ours:
    def __init__(self, folder: Any, dtype: torch.dtype) -> None:
        from accelerate import Accelerator

        from tuning.model import fast, memory
        from tuning.model.packed import PackedModel

        model = lora.add_lora(load_base(folder, dtype, attention.NAME), 32, 64, 0)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.accelerator = Accelerator(cpu=True)
        optimizer = torch.optim.AdamW(self.parameters, lr=1e-3, betas=(0.9, 0.95), fused=True)
        self.wrapped, self.optimizer = self.accelerator.prepare(PackedModel(model), optimizer)
        fast.speed_up(model)
        memory.keep_pages()

    def run(self, steps: list[list[Row]]) -> float:
        from tuning.train import step_on

        self.wrapped.train()
        tokens, spent = 0, 0.0
        for number, rows in enumerate(steps):
            start = time.perf_counter()
            _, counted = step_on(self.accelerator, self.wrapped, self.optimizer, self.parameters, rows, 1.0)
            if number:
                spent += time.perf_counter() - start
                tokens += counted
        return tokens / spent


class Plain:
    def __init__(self, folder: Any, dtype: torch.dtype) -> None:
        self.model = _peft(folder, dtype)
        self.model.train()
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-3, betas=(0.9, 0.95))

    def run(self, steps: list[list[Row]]) -> float:
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
        return tokens / spent


class Trl:
    def __init__(self, folder: Any, dtype: torch.dtype) -> None:
        self.folder, self.model = folder, _peft(folder, dtype)

    def run(self, steps: list[list[Row]]) -> float:
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
            trainer.train()
        # All rows are full within 2 %, so a step has the mean number of tokens.
        tokens = sum(map(len, documents)) / len(steps) * (len(stamps) - 1)
        return tokens / (stamps[-1] - stamps[0])


def _peft(folder: Any, dtype: torch.dtype) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    configuration = LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", task_type=TaskType.CAUSAL_LM)
    return get_peft_model(load_base(folder, dtype), configuration)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
