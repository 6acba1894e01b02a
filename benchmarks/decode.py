"""Decode speed and time to first token: through Hone's gateway, raw xllamacpp, and transformers.

    python -m benchmarks.decode [--rounds N] [--tokens N] [--no-transformers] [--json]

All three run the embedded model with greedy decoding and as many threads as there are physical cores, one after the
other in every round, in rotated order; figures are medians over rounds and ratios are medians of the rounds' ratios.
Raw xllamacpp and transformers have a process each: the threads of torch would slow llama.cpp down in a common one.
The gateway is a private one, asked by Hone's own client over its socket. Tokens per second counts from the first token
to the last, so the prompt is not in it. Time to first token is for a prompt of 40 tokens that none of them has cached.
transformers runs the tuning form, the same weights dequantized to fp32.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from assistant.client import Client, connect
from assistant.models import store
from assistant.models.serving_form import serving_gguf
from benchmarks import machine
from benchmarks.peers import Peer

MODEL = "smollm2-135m"
PROMPT = "def fibonacci(n):\n"
PROMPT_TOKENS = 40
TRANSFORMERS_TOKENS = 32


@dataclass(frozen=True)
class Sample:
    first_seconds: float
    """From asking to the first text."""
    tokens_per_second: float


Runner = Callable[[list[int], int], Sample]
"""Generates from token ids, at most so many tokens."""


def timed(began: float, arrivals: Sequence[float], tokens: int) -> Sample:
    if tokens < 2 or len(arrivals) < 2:
        return Sample(arrivals[0] - began, float("nan"))
    return Sample(arrivals[0] - began, (tokens - 1) / (arrivals[-1] - arrivals[0]))


def through_gateway(client: Client) -> Runner:
    def run(prompt: list[int], limit: int) -> Sample:
        arrivals: list[float] = []
        details: dict[str, Any] = {}
        began = time.perf_counter()
        for delta in client.complete(prompt, max_tokens=limit):
            if delta.text:
                arrivals.append(time.perf_counter())
            details = delta.details or details
        return timed(began, arrivals, details["completion_tokens"])

    return run


def raw_xllamacpp(gguf: Path, threads: int) -> Runner:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx = 4096
    params.n_parallel = 1
    params.verbosity = -1
    params.port = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)

    def run(prompt: list[int], limit: int) -> Sample:
        arrivals: list[float] = []
        tokens = 0

        def receive(event: dict[str, Any]) -> bool:
            nonlocal tokens
            if event["choices"][0]["text"]:
                arrivals.append(time.perf_counter())
            tokens = event.get("usage", {}).get("completion_tokens", tokens)
            return False

        began = time.perf_counter()
        server.handle_completions({"prompt": prompt, "n_predict": limit, "temperature": 0, "stream": True}, receive)
        return timed(began, arrivals, tokens)

    return run


def transformers_generate(folder: Path, threads: int) -> Runner:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.generation.streamers import BaseStreamer

    torch.set_num_threads(threads)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    class Arrivals(BaseStreamer):
        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: Any) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None:
            return

    def run(prompt: list[int], limit: int) -> Sample:
        arrivals = Arrivals()
        began = time.perf_counter()
        model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=limit,
            do_sample=False,
            pad_token_id=0,
            streamer=arrivals,
        )
        # The first call hands over the prompt.
        return timed(began, arrivals.times[1:], len(arrivals.times) - 1)

    return run


def measure(runners: dict[str, Runner], client: Client, rounds: int, tokens: int) -> dict[str, list[dict[str, float]]]:
    """For each runner, a figure of both kinds for each round."""
    (prompt,) = client.tokenize([PROMPT])
    names = list(runners)
    for name in names:
        runners[name](prompt, 8)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        # Another first line in every round, so that nothing of it is cached.
        (fresh,) = client.tokenize([f"# part {number} of {rounds}\n" + "value = compute(first, second)\n" * 12])
        for name in names[number % len(names) :] + names[: number % len(names)]:
            limit = TRANSFORMERS_TOKENS if name == "transformers" else tokens
            speed = runners[name](prompt, limit).tokens_per_second
            first = runners[name](fresh[:PROMPT_TOKENS], 2).first_seconds
            found[name].append({"tokens_per_second": speed, "first_token_seconds": first})
    return found


def summarize(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    def values(name: str, what: str) -> list[float]:
        return [figures[what] for figures in found[name]]

    def ratio(other: str) -> float:
        pairs = zip(values("gateway", "tokens_per_second"), values(other, "tokens_per_second"), strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)

    later = zip(values("gateway", "first_token_seconds"), values("raw", "first_token_seconds"), strict=True)
    return {
        "median": {
            name: {what: statistics.median(values(name, what)) for what in ("tokens_per_second", "first_token_seconds")}
            for name in found
        },
        "gateway_to_raw": ratio("raw"),
        "gateway_to_transformers": ratio("transformers") if "transformers" in found else None,
        "first_token_over_raw_seconds": statistics.median(mine - theirs for mine, theirs in later),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--no-transformers", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    before = os.getloadavg()[0]
    threads = psutil.cpu_count(logical=False) or 1
    base = store.fetch(MODEL)
    assert base.gguf is not None
    with connect(model=MODEL) as client:
        runners: dict[str, Runner] = {
            "gateway": through_gateway(client),
            "raw": Peer(raw_xllamacpp, serving_gguf(base.gguf), threads),
        }
        if not options.no_transformers:
            runners["transformers"] = Peer(transformers_generate, store.tuning_form(base), threads)
        found = measure(runners, client, options.rounds, options.tokens)
    summary = summarize(found)
    load = {"before": before, "after": os.getloadavg()[0]}
    if options.json:
        print(json.dumps({"schema_version": 1, "rounds": found, "load": load, **summary}))
        return
    print(f"{machine.describe()} ({load['before']:.2f} before); {options.rounds} rounds, median (minimum to maximum)")
    for name, rows in found.items():
        speeds = [row["tokens_per_second"] for row in rows]
        firsts = [row["first_token_seconds"] * 1000 for row in rows]
        print(f"{name:<13} {machine.spread(speeds)} tokens/s   first token after {machine.spread(firsts)} ms")
    print(f"gateway / raw: {summary['gateway_to_raw']:.3f}")
    if summary["gateway_to_transformers"] is not None:
        print(f"gateway / transformers: {summary['gateway_to_transformers']:.2f}")
    print(f"first token over raw: {summary['first_token_over_raw_seconds'] * 1000:.1f} ms")


if __name__ == "__main__":
    main()
