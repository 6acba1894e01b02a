"""Training runs of the tiny model in processes of their own: to be killed, or to be several."""

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tuning.tiny import SAMPLE, make_model, make_tokenizer
from tuning import checkpoint, distributed
from tuning.checkpoint import Keeper
from tuning.examples.pack import Row, pack
from tuning.examples.plain import windows
from tuning.model import attention, lora
from tuning.plan import LoraOptions, Plan
from tuning.ready import make_ready
from tuning.train import Progress, train

CONTEXT = multiprocessing.get_context("forkserver")
# Each process is a copy of one that has imported what takes seconds to import.
CONTEXT.set_forkserver_preload(["torch", "peft", "accelerate", "transformers"])


@dataclass(frozen=True)
class Rows:
    """What the loop reads of `tuning.data.Data`."""

    rows: tuple[Row, ...]
    validation: tuple[Row, ...]
    end_token: int

    @property
    def train_tokens(self) -> int:
        return sum(len(example.tokens) for row in self.rows for example in row)


def make_rows(files: int = 7, held_out: int = 2, row_length: int = 192) -> Rows:
    tokenizer = make_tokenizer()
    end_token = tokenizer.get_vocab()["<|endoftext|>"]
    examples = [
        windows(f"pkg/m{number}.py", SAMPLE.replace("Box", f"Box{number}") * 3, tokenizer, row_length, end_token)
        for number in range(files + held_out)
    ]
    packed = [
        pack([example for file in some for example in file], row_length)
        for some in (examples[:files], examples[files:])
    ]
    return Rows(tuple(packed[0]), tuple(packed[1]), end_token)


def fresh() -> Any:
    attention.register()
    return lora.add_lora(make_model(attention=attention.NAME), LoraOptions(rank=4, alpha=8), seed=0)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def run_to_end(data: Rows, plan: Plan, folder: Path) -> None:
    """Trains with a checkpoint after each step, from the newest one in `folder`; then writes `adapter.safetensors`."""
    torch.set_num_threads(1)
    model = fresh()
    keeper = Keeper(folder, _fail, every_minutes=0)
    start_from = checkpoint.read(folder, _fail)

    def report(_: Progress) -> None:
        # So that a kill has a run to hit.
        time.sleep(0.01)

    train(make_ready(model, plan), data, plan, report, keeper=keeper, start_from=start_from)
    save_file(weights(model), folder / "adapter.safetensors")


def _fail(line: str) -> None:
    raise AssertionError(line)


def kill_after(data: Rows, plan: Plan, folder: Path, step: int, delay: float) -> None:
    """Kills a run `delay` seconds after its checkpoint of `step` is there."""
    process = CONTEXT.Process(target=run_to_end, args=(data, plan, folder))
    process.start()
    assert process.pid is not None
    while not any(int(kept.name.removeprefix("step-")) >= step for kept in folder.glob("step-*")):
        assert process.is_alive(), f"the run ended with {process.exitcode} before it could be killed"
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def finish(data: Rows, plan: Plan, folder: Path) -> dict[str, torch.Tensor]:
    process = CONTEXT.Process(target=run_to_end, args=(data, plan, folder))
    process.start()
    process.join(180)
    assert process.exitcode == 0
    return load_file(folder / "adapter.safetensors")


def several(task: Callable[..., None], folder: Path, *arguments: Any, count: int = 2, sharded: bool = False) -> None:
    """Runs `task(rank, folder, *arguments)` in `count` processes that know of each other, as a launcher would.

    Fails if one of them fails, or is still waiting for another after three minutes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment |= {"OMP_NUM_THREADS": 1}
    if sharded:
        environment |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": 2}
    processes = [
        CONTEXT.Process(target=_launched, args=(rank, environment, task, folder, *arguments)) for rank in range(count)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + 180
    for process in processes:
        process.join(max(0, end - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    if codes != [0] * count:
        pytest.fail(f"processes ended with {codes} (None: was still waiting)")


def _launched(rank: int, environment: dict[str, Any], task: Callable[..., None], folder: Path, *arguments: Any) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()})
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank)})
    torch.set_num_threads(1)
    task(rank, folder, *arguments)
    torch.distributed.destroy_process_group()


def train_together(
    rank: int, folder: Path, data: Rows, plan: Plan, stop_at: int | None = None, hasty_clock: bool = False
) -> None:
    """One of several processes of a run; the first writes what came of it to `folder`.

    Args:
        stop_at: the step after which the user stops the first process; the others are stopped at once.
        hasty_clock: the others' time runs a thousand times as fast.
    """
    accelerator = distributed.start()
    assert accelerator.num_processes == 2
    model = fresh()
    steps: list[dict[str, Any]] = []

    def report(progress: Progress) -> None:
        assert rank == 0, "only the first process reports"
        steps.append({"step": progress.step, "loss": progress.loss, "validation": progress.validation})

    def stopped() -> bool:
        # Asked before a step is reported.
        return stop_at is not None and (rank > 0 or len(steps) + 1 >= stop_at)

    if hasty_clock and rank:
        usual = time.monotonic
        time.monotonic = lambda: usual() * 1000  # type: ignore[assignment]
    keeper = Keeper(folder / "run", _fail, every_minutes=0)
    start_from = checkpoint.read(folder / "run", _fail)
    ready = make_ready(model, plan, accelerator)
    outcome = train(ready, data, plan, report, stopped, keeper, start_from)
    (folder / f"steps-{rank}").write_text(str(outcome.steps))
    whole = distributed.whole(model, fresh)
    if rank == 0:
        save_file(weights(whole), folder / "adapter.safetensors")
        (folder / "steps.json").write_text(json.dumps(steps))
