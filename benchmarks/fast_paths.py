"""What each fast path of the training loop is worth: steps with all of them, without each, and with what was left out.

`python -m benchmarks.fast_paths [--rounds 3] [--steps 2] [--dtype bfloat16] [--only NAME]`

SmolLM2-135M, LoRA of rank 32 on all linear layers, the rows of `benchmarks.tune_speed`. Each variant runs in a process
of its own, one after the other, in as many rounds; ratios are medians over the rounds. The first step, which warms up
or compiles, is told apart. The losses of all steps are compared with those of the loop as it is, so that a variant that
computes something else is seen.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from assistant.models import store
from benchmarks import machine
from benchmarks.corpora import prepare as corpus
from benchmarks.peers import Peer
from benchmarks.tune_speed import PLAN, Ours, Trained, full_steps
from tuning.data import prepare
from tuning.examples.pack import Row
from tuning.examples.plain import IGNORED
from tuning.model import attention, fast, memory, packed
from tuning.model.load import fastest_dtype, load_tokenizer

AS_IT_IS = "as it is"


def _without_joined_products() -> None:
    """Each linear layer apart, with transformers' rotary embedding and SwiGLU; the LoRA function stays."""
    fast.ATTENTIONS = fast.MLPS = ()


def _with_pefts_layers() -> None:
    _without_joined_products()
    fast.lora.speed_up = lambda model: 0  # type: ignore[attr-defined]


def _with_transformers_norms() -> None:
    fast.NORMS = ()


def _with_torchs_attention_backward() -> None:
    """Of torch's kernel, which the loop leaves alone in float32 anyway."""

    class Kernel:
        @staticmethod
        def apply(query: Any, key: Any, value: Any, lengths: tuple[int, ...], scale: float) -> torch.Tensor:
            parts = zip(*(each.split(lengths, dim=2) for each in (query, key, value)), strict=True)
            grouped = query.shape[1] != key.shape[1]
            outputs = [
                functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
                for q, k, v in parts
            ]
            return torch.cat(outputs, dim=2)

    attention._Attention = Kernel  # type: ignore[misc, assignment]


def _with_logits_of_every_position() -> None:
    """By autograd, in memory at once, rows without a label too."""

    def loss(hidden: torch.Tensor, head: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = functional.linear(hidden, head).float()
        return functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")

    packed.summed_cross_entropy = loss


def _with_pages_given_back() -> None:
    memory.keep_pages = lambda: False


def _as_it_is() -> None:
    pass


VARIANTS: dict[str, Callable[[], None]] = {
    AS_IT_IS: _as_it_is,
    "products not joined": _without_joined_products,
    "peft's layers": _with_pefts_layers,
    "transformers' norms": _with_transformers_norms,
    "torch's attention backward": _with_torchs_attention_backward,
    "logits of every position": _with_logits_of_every_position,
    "pages given back": _with_pages_given_back,
    # Tried and left out of the loop.
    "torch.compile of each block": _as_it_is,
}


class Variant:
    def __init__(self, folder: Any, dtype: torch.dtype, name: str) -> None:
        VARIANTS[name]()
        self.ours = Ours(folder, dtype)
        if name.startswith("torch.compile"):
            base = packed.base_of(self.ours.ready.model)
            for layer in getattr(base, base.base_model_prefix).layers:
                layer.compile()

    def __call__(self, steps: list[list[Row]]) -> tuple[Trained, float]:
        """What the steps came to, and the seconds of the first one."""
        began = time.perf_counter()
        found = self.ours(steps)
        whole = time.perf_counter() - began
        timed = sum(len(example.tokens) for rows in steps[1:] for row in rows for example in row)
        return found, whole - timed / found.tokens_per_second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="timed steps in each round, after one to warm up")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--only", action="append", choices=list(VARIANTS), help="besides the loop as it is; repeat it")
    arguments = parser.parse_args()
    folder = store.tuning_form(store.fetch("smollm2-135m"))
    dtype = getattr(torch, arguments.dtype) if arguments.dtype else fastest_dtype(torch.device("cpu"))
    steps = full_steps(prepare([corpus("strands-agents")], load_tokenizer(folder), PLAN).rows)
    names = [name for name in VARIANTS if name == AS_IT_IS or name in (arguments.only or VARIANTS)]
    print(machine.describe(), flush=True)
    found: dict[str, list[tuple[Trained, float]]] = {name: [] for name in names}
    for number in range(arguments.rounds):
        some = steps[number * (arguments.steps + 1) : (number + 1) * (arguments.steps + 1)]
        for name in names:
            peer = Peer(Variant, folder, dtype, name)
            try:
                found[name].append(peer(some))
            except EOFError:
                print(f"round {number + 1}  {name:<28} did not run; what it said stands above", flush=True)
                continue
            finally:
                peer.close()
            print(f"round {number + 1}  {name:<28} {found[name][-1][0].tokens_per_second:7.1f} tok/s", flush=True)
    print(f"\n{dtype}, medians (ranges) over {arguments.rounds} rounds of {arguments.steps} steps")
    for name in names:
        print(_line(name, found[name], found[AS_IT_IS]) if found[name] else f"  {name:<28} did not run")
    print(machine.describe(), flush=True)


def _line(name: str, mine: Sequence[tuple[Trained, float]], loop: Sequence[tuple[Trained, float]]) -> str:
    pairs = [(one, other) for (one, _), (other, _) in zip(mine, loop, strict=True)]
    ratios = [one.tokens_per_second / other.tokens_per_second for one, other in pairs]
    apart = max(abs(a - b) for one, other in pairs for a, b in zip(one.losses, other.losses, strict=True))
    speeds = machine.spread([one.tokens_per_second for one, _ in mine])
    return (
        f"  {name:<28} {speeds} tok/s   {statistics.median(ratios):.2f} of the loop   "
        f"first step {statistics.median(first for _, first in mine):.1f} s   peak {mine[-1][0].peak_megabytes:,} MB   "
        f"losses apart by {apart:.1e}"
    )


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
