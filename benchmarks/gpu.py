"""Training on a CUDA GPU: speed, memory and operations reached, from 135M to 14B, beside a plain peft loop and TRL.

`python -m benchmarks.gpu [--models 135M,1.5B,7B] [--steps 6] [--rows 16] [--peers 135M,1.5B] [--four-bit 7B]`

The models have the sizes of `tuning.cost.LADDER` and random weights, made on the GPU: nothing is fetched, and neither
speed nor memory depends on what weights say. LoRA of rank 32 on all linear layers, bfloat16, AdamW, steps of `--rows`
rows of 1,024 tokens; a row is packed of documents whose lengths are drawn once. Every measurement has a process of its
own; the first two steps are not timed.

The plain loop is peft's documented recipe: the rows of a step as batches, documents seeing each other. TRL's
SFTTrainer packs the same documents without padding and keeps their boundaries. Both take torch's own attention, since
the flash-attn package is a build of its own, without activation checkpointing, with the largest batch of 16, 8, 4, 2
or 1 rows that fits. `--four-bit` measures QLoRA with activation checkpointing on the models named, and wants
bitsandbytes and room for them in the folder of temporary files.

MFU is `lora_flops_per_token` times tokens per second, over the GPU's fastest matrix product.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.peers import train_by_trl
from tuning.cost import LADDER, ROW, Architecture, Quantize, cost
from tuning.cost import MACHINES as COSTED

HONE, FOUR_BIT, PLAIN, TRL = "hone", "hone, 4-bit, checkpointing", "plain peft loop", "TRL SFTTrainer"
WARM = 2
GPU = next(one for one in COSTED if one.name.startswith("H100"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [_short(one) for one in LADDER]
    parser.add_argument("--models", type=lambda text: text.split(","), default=names)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=["135M", "1.5B"])
    parser.add_argument("--four-bit", type=lambda text: text.split(","), default=[])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        runner, name = json.loads(arguments.one)
        print(json.dumps(RUNNERS[runner](_architecture(name), arguments.steps, arguments.rows)))
        return
    print(_gpu())
    print(machine.describe(), flush=True)
    lines = []
    for name in arguments.models:
        asked = [HONE, *([PLAIN, TRL] if name in arguments.peers else [])]
        asked += [FOUR_BIT] if name in arguments.four_bit else []
        for runner in asked:
            lines.append(_row(_architecture(name), runner, _apart(runner, name, arguments)))
            print(lines[-1], flush=True)
    heads = (
        "model",
        "trainer",
        "rows at once",
        "tokens per second",
        "MFU",
        "most memory",
        "over the estimate",
        "one million tokens",
    )
    print("\n".join([f"\n| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *lines]))
    print(machine.describe())


def _short(architecture: Architecture) -> str:
    return architecture.name.rpartition(" ")[2]


def _architecture(name: str) -> Architecture:
    return next(one for one in LADDER if _short(one) == name)


def _gpu() -> str:
    import torch

    from tuning.model.flops import gemm_peak

    device = torch.device("cuda")
    peak = gemm_peak(torch.bfloat16, device) / 1e12
    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}, fastest matrix product {peak:.0f} TFLOP/s"


def _apart(runner: str, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own, which gives all memory back."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--one", json.dumps([runner, name])]
    command += ["--steps", str(arguments.steps), "--rows", str(arguments.rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no output"])[-1][:160]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _row(architecture: Architecture, runner: str, found: dict[str, Any]) -> str:
    if "failed" in found:
        return f"| {architecture.name} | {runner} | {found['failed']} | | | | | |"
    speed = found["tokens_per_second"]
    cells = [
        architecture.name,
        runner,
        str(found["size"]),
        f"{speed:,.0f} ({min(found['rounds']):,.0f} to {max(found['rounds']):,.0f})",
        f"{found['mfu']:.0%}",
        f"{found['memory'] / 1e9:.1f} GB",
        f"{found['memory'] / found['estimated']:.2f} times" if found.get("estimated") else "",
        f"{1e6 / speed:.0f} s",
    ]
    return f"| {' | '.join(cells)} |"


def _configuration(architecture: Architecture) -> Any:
    from transformers import LlamaConfig, Qwen2Config

    made = Qwen2Config if architecture.biases else LlamaConfig
    return made(
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.key_heads,
        intermediate_size=architecture.inner,
        vocab_size=architecture.vocabulary,
        tie_word_embeddings=architecture.tied,
        max_position_embeddings=8192,
    )


def _model(architecture: Architecture, attention: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(
            _configuration(architecture), dtype=torch.bfloat16, attn_implementation=attention
        )
    return model.requires_grad_(False)


def _steps(architecture: Architecture, steps: int, rows: int) -> list[list[Any]]:
    """Full rows of documents of 32 to 1,024 tokens, short ones more often."""
    from tuning.examples.plain import Example

    drawn, made = random.Random(0), []
    for _ in range((steps + WARM) * rows):
        row, room = [], ROW
        while room:
            length = min(room, int(2 ** drawn.uniform(5, 10)))
            if room - length < 32:
                length = room
            ids = tuple(drawn.randrange(architecture.vocabulary - 100) for _ in range(length))
            row.append(Example(ids, ((1, length),), length * 4))
            room -= length
        made.append(tuple(row))
    return [made[start : start + rows] for start in range(0, len(made), rows)]


def _found(
    architecture: Architecture,
    steps: list[list[Any]],
    stamps: list[float],
    losses: list[float],
    estimated: int = 0,
    size: int = 0,
) -> dict[str, Any]:
    import torch

    from tuning.model.flops import gemm_peak, lora_flops_per_token

    memory = torch.cuda.max_memory_allocated()
    tokens = len(steps[0]) * ROW
    speeds = [tokens / (end - start) for start, end in zip(stamps[WARM - 1 :], stamps[WARM:], strict=False)]
    lengths = [len(example.tokens) for rows in steps for row in rows for example in row]
    work = lora_flops_per_token(architecture.shape(32), sum(length**2 for length in lengths) / sum(lengths))
    speed = statistics.median(speeds)
    torch.cuda.empty_cache()
    peak = gemm_peak(torch.bfloat16, torch.device("cuda"))
    return {
        "tokens_per_second": speed,
        "rounds": speeds,
        "mfu": speed * work / peak,
        "memory": memory,
        "estimated": estimated,
        "size": size,
        "losses": losses,
    }


def _hone(architecture: Architecture, steps: int, rows: int, four_bit: bool = False) -> dict[str, Any]:
    import torch

    from tuning.model import attention, lora
    from tuning.model.footprint import available_memory
    from tuning.plan import LoraOptions, Plan
    from tuning.ready import largest_pass, make_ready
    from tuning.train import step_on

    attention.register()

    def estimated(tokens: int) -> int:
        quantize: Quantize = "4bit" if four_bit else "none"
        return cost(architecture, GPU, 1, row=tokens, quantize=quantize, recompute=four_bit).memory

    tokens = largest_pass(ROW, estimated, available_memory("cuda"))
    plan = Plan(steps=steps, rows_per_step=rows, activation_checkpointing=four_bit, pass_tokens=tokens)
    base = _four_bit(architecture) if four_bit else _model(architecture, attention.NAME)
    ready = make_ready(lora.add_lora(base, LoraOptions(), 0), plan)
    torch.cuda.reset_peak_memory_stats()
    ready.wrapped.train()
    stamps, losses = [], []
    batches = _steps(architecture, steps, rows)
    for each in batches:
        loss, _ = step_on(
            ready.accelerator, ready.wrapped, ready.optimizer, ready.parameters, each, 1.0, ready.rows_per_pass
        )
        torch.cuda.synchronize()
        stamps.append(time.perf_counter())
        losses.append(loss)
    return _found(architecture, batches, stamps, losses, estimated(ROW * ready.rows_per_pass), ready.rows_per_pass)


def _four_bit(architecture: Architecture) -> Any:
    import torch

    from tuning.model import attention
    from tuning.model.load import load_base

    with tempfile.TemporaryDirectory() as folder:
        _model(architecture, "sdpa").save_pretrained(folder)
        torch.cuda.empty_cache()
        return load_base(Path(folder), torch.bfloat16, attention.NAME, "4bit")


def _plain(architecture: Architecture, steps: int, rows: int) -> dict[str, Any]:
    import torch

    from tuning.model import lora
    from tuning.plan import LoraOptions

    model = lora.add_lora(_model(architecture, "sdpa"), LoraOptions(), 0)
    model.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    batches = _steps(architecture, steps, rows)

    def run(size: int) -> tuple[list[float], list[float]]:
        stamps, losses = [], []
        for each in batches:
            summed = 0.0
            for start in range(0, rows, size):
                some = each[start : start + size]
                tokens = torch.tensor([[token for example in row for token in example.tokens] for row in some]).cuda()
                loss = model(input_ids=tokens, labels=tokens, use_cache=False, num_items_in_batch=rows * ROW).loss
                loss.backward()
                summed += loss.item()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            torch.cuda.synchronize()
            stamps.append(time.perf_counter())
            losses.append(summed)
        return stamps, losses

    stamps, losses, size = _largest(run, rows)
    return _found(architecture, batches, stamps, losses, size=size)


def _trl(architecture: Architecture, steps: int, rows: int) -> dict[str, Any]:
    import torch
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from tuning.model import lora
    from tuning.plan import LoraOptions

    model = lora.add_lora(_model(architecture, "sdpa"), LoraOptions(), 0)
    batches = _steps(architecture, steps, rows)
    # Asked for its end token alone: the rows are token ids already.
    words = Tokenizer(models.BPE(vocab={"a": 0, "<end>": 1}, merges=[]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")

    def run(size: int) -> tuple[list[float], list[float]]:
        stamps: list[float] = []
        losses: list[float] = []

        def told(loss: float) -> None:
            torch.cuda.synchronize()
            stamps.append(time.perf_counter())
            losses.append(loss)

        train_by_trl(model, tokenizer, batches, size, told, learning_rate=1e-3, weight_decay=0.01, bf16=True)
        return stamps, losses

    stamps, losses, size = _largest(run, rows)
    return _found(architecture, batches, stamps, losses, size=size)


def _largest(run: Callable[[int], tuple[list[float], list[float]]], rows: int) -> tuple[list[float], list[float], int]:
    """What `run` measures with the largest batch that fits, and its rows."""
    import torch

    size = rows
    while True:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        try:
            return (*run(size), size)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2


RUNNERS: dict[str, Callable[[Architecture, int, int], dict[str, Any]]] = {
    HONE: _hone,
    FOUR_BIT: lambda architecture, steps, rows: _hone(architecture, steps, rows, four_bit=True),
    PLAIN: _plain,
    TRL: _trl,
}


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
