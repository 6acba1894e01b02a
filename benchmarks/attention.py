"""llama.cpp's flash attention on this processor, on and off: reading a prompt, and writing after it, by its length.

    python -m benchmarks.attention [--prompts 20,600,1500] [--together 1,8] [--rounds N] [--tokens N] [--json]

xllamacpp's own server with Hone's settings and the file that Hone serves, a process for each setting, which is started
anew in every round, in alternating order. Rates are llama.cpp's own, of each request; of several requests together the
median is told.
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

Rates = tuple[float, float]
"""Tokens per second of the prompt and of the answer."""


def serve(gguf: Path, flash: bool, together: int) -> Callable[[int, int, int], Rates]:
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

    def run(salt: int, prompt_tokens: int, tokens: int) -> Rates:
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
        print(json.dumps({"schema_version": 1, "rows": rows, "load": {"before": before, "after": os.getloadavg()[0]}}))
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


if __name__ == "__main__":
    main()
