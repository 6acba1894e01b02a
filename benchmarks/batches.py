"""Tokens per second of the engine by how many requests are computed together.

    python -m benchmarks.batches [--together 1,2,4,8,16] [--rounds N] [--tokens N] [--json]

Every number of requests has an engine of its own with as many slots, all loaded at once and asked in rotated order.
The requests have short prompts, so nearly all of the time goes to writing; the answers are greedy.
"""

import argparse
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

from assistant.engines.base import Request
from assistant.engines.llamacpp import LlamaCpp
from assistant.models import store
from assistant.models.serving_form import serving_gguf
from benchmarks import machine

MODEL = "smollm2-135m"
CONTEXT = 1024


def rate(engine: LlamaCpp, together: int, tokens: int, salt: int) -> float:
    """Tokens per second of so many requests that begin at once."""

    def ask(number: int) -> int:
        prompt = f"# {salt}.{number}: the list of all words that begin with each letter of the alphabet\n"
        counts = [chunk.usage for chunk in engine.stream(Request(prompt, max_tokens=tokens, temperature=0.0))]
        assert counts[-1] is not None
        return counts[-1].completion_tokens

    began = time.perf_counter()
    with ThreadPoolExecutor(together) as workers:
        written = sum(workers.map(ask, range(together)))
    return written / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--together", default="1,2,4,8,16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    numbers = [int(part) for part in options.together.split(",")]
    before = os.getloadavg()[0]
    base = store.fetch(MODEL)
    assert base.gguf is not None
    gguf = serving_gguf(base.gguf)
    found: dict[int, list[float]] = {number: [] for number in numbers}
    with ExitStack() as stack:
        engines = {
            number: stack.enter_context(closing(LlamaCpp(gguf, context_length=CONTEXT, slots=number)))
            for number in numbers
        }
        for number, engine in engines.items():
            rate(engine, number, 4, -1)
        for turn in range(options.rounds):
            for number in numbers[turn % len(numbers) :] + numbers[: turn % len(numbers)]:
                found[number].append(rate(engines[number], number, options.tokens, turn))
    if options.json:
        load = {"before": before, "after": os.getloadavg()[0]}
        print(json.dumps({"schema_version": 1, "tokens_per_second": found, "load": load}))
        return
    print(f"{machine.describe()} ({before:.2f} before)")
    alone = statistics.median(found[numbers[0]])
    for number, rates in found.items():
        middle = statistics.median(rates)
        print(f"{number:>3} together: {machine.spread(rates)} tok/s, {middle / alone:.2f} of {numbers[0]}")


if __name__ == "__main__":
    main()
