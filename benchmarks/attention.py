"""llama.cpp's flash attention on this processor, on and off: reading a prompt, and writing after it, by its length; and
how many greedy answers stay the same when they are asked for again, with their prompt cached.

    python -m benchmarks.attention [--prompts 20,600,1500] [--together 1,8] [--rounds N] [--tokens N] [--json]

xllamacpp's own server with Hone's settings and the file that Hone serves, a process for each setting, which is started
anew in every round, in alternating order. Rates are llama.cpp's own, of each request; of several requests together the
median is told. The answers that are asked for twice are to the beginnings of the benchmarks' own files.
"""

import argparse
import atexit
import json
import os
import statistics
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assistant import cores
from assistant.models import store
from assistant.models.serving_form import serving_gguf
from benchmarks import machine
from benchmarks.peers import Peer

MODEL = "smollm2-135m"
CONTEXT = 2048
_BATCH = 64
"""As the engine's."""
_LINES = 30
"""Of each prompt whose answer is asked for twice."""

AGAIN = -1
"""In place of a salt: ask for answers twice, after so many lines, and say of each whether it was the same."""

Rates = tuple[float, float]
"""Tokens per second of the prompt and of the answer."""


def _beginnings(lines: int) -> list[str]:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return ["".join(file.read_text("utf-8").splitlines(keepends=True)[:lines]) for file in files]


def serve(gguf: Path, flash: bool, together: int) -> Callable[[int, int, int], Rates | list[bool]]:
    """Of so many requests that begin at once; each has a prompt that no other one had."""
    import xllamacpp

    kinds = xllamacpp.llama_flash_attn_type
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_parallel = together
    params.n_ctx = CONTEXT * together
    params.kv_unified = False
    params.fit_params = False
    params.flash_attn_type = kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.n_batch = params.n_ubatch = _BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = cores.physical()
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.ui = False
    params.offline = True
    params.verbosity = 1
    folder = tempfile.TemporaryDirectory(prefix="hone-benchmark-")
    atexit.register(folder.cleanup)
    params.hostnames = [str(Path(folder.name) / "engine.sock")]
    server = xllamacpp.Server(params)

    def ask(salt: int, prompt_tokens: int, tokens: int, found: list[dict[str, Any]]) -> None:
        last: dict[str, Any] = {}

        def receive(event: dict[str, Any]) -> bool:
            last.update(event.get("timings") or {})
            return False

        prompt = [1 + salt % 1000, *(100 + (salt * 7 + at) % 30000 for at in range(prompt_tokens - 1))]
        fields = {"prompt": prompt, "n_predict": tokens, "temperature": 0.0, "ignore_eos": True, "stream": True}
        server.handle_completions({**fields, "timings_per_token": True}, receive)
        found.append(last)

    def text_of(prompt: str, tokens: int) -> str:
        pieces: list[str] = []

        def receive(event: dict[str, Any]) -> bool:
            pieces.extend(choice["text"] for choice in event.get("choices", ()))
            return False

        fields = {"prompt": prompt, "n_predict": tokens, "temperature": 0.0, "stream": True, "cache_prompt": True}
        server.handle_completions(fields, receive)
        return "".join(pieces)

    def run(salt: int, prompt_tokens: int, tokens: int) -> Rates | list[bool]:
        if salt == AGAIN:
            return [text_of(prompt, tokens) == text_of(prompt, tokens) for prompt in _beginnings(prompt_tokens)]
        found: list[dict[str, Any]] = []
        asked = [
            threading.Thread(target=ask, args=(salt * together + number, prompt_tokens, tokens, found))
            for number in range(together)
        ]
        for thread in asked:
            thread.start()
        for thread in asked:
            thread.join()
        return (
            statistics.median(one["prompt_per_second"] for one in found),
            statistics.median(one["predicted_per_second"] for one in found),
        )

    run(0, 8, 4)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", default="20,600,1500")
    parser.add_argument("--together", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    before = os.getloadavg()[0]
    base = store.fetch(MODEL)
    assert base.gguf is not None
    gguf = serving_gguf(base.gguf)
    prompts = [int(part) for part in options.prompts.split(",")]
    found: dict[tuple[int, int, bool], list[Rates]] = {}
    again: dict[bool, list[bool]] = {}
    for flash in (True, False):
        peer = Peer(serve, gguf, flash, 1)
        again[flash] = peer(AGAIN, _LINES, options.tokens)
        peer.close()
    for together in (int(part) for part in options.together.split(",")):
        for number in range(options.rounds):
            for flash in (True, False) if number % 2 == 0 else (False, True):
                peer = Peer(serve, gguf, flash, together)
                for at, length in enumerate(prompts):
                    rates = peer(number * len(prompts) + at + 1, length, options.tokens)
                    found.setdefault((together, length, flash), []).append(rates)
                peer.close()
    if options.json:
        rows = [
            {"together": together, "prompt_tokens": length, "flash_attention": flash, "rates": rates}
            for (together, length, flash), rates in found.items()
        ]
        load = {"before": before, "after": os.getloadavg()[0]}
        same = {"on": again[True], "off": again[False]}
        print(json.dumps({"schema_version": 1, "rows": rows, "same_answer_again": same, "load": load}))
        return
    print(f"{machine.describe()} ({before:.2f} before)")
    print(f"{options.rounds} rounds, median (minimum to maximum), tokens per second of each request")
    for together, length in dict.fromkeys((together, length) for together, length, _ in found):
        on, off = found[together, length, True], found[together, length, False]
        for name, index in (("prompt", 0), ("answer", 1)):
            ratio = statistics.median(two[index] / one[index] for one, two in zip(on, off, strict=True))
            print(
                f"{together} together, {length:>5} tokens before, {name}: "
                f"on {machine.spread([one[index] for one in on])}, off {machine.spread([one[index] for one in off])}, "
                f"ratio {ratio:.2f}"
            )

    for flash, same in again.items():
        print(f"{'on' if flash else 'off'}: {sum(same)} of {len(same)} answers were the same when asked for again")


if __name__ == "__main__":
    main()
