"""From a key to ghost text: Hone beside llama.cpp's own server, typing along a real file.

    python -m benchmarks.complete [--repository FOLDER] [--file PATH] [--line N] [--keys N] [--ring N] [--cold N]
                                  [--minutes N] [--threads N] [--model M] [--seed N] [--json]

A person types `--keys` characters of a file, from line `--line` on, in front of the rest of the file. It ends after
about `--minutes`: typing stops at the key where its share of them is over, and so do the cold places; how many keys and
places there were is printed. Three are asked at every key, one after the other, the peers in turned order, each in
processes of its own, with as many threads as there are physical cores, on the same GGUF:

- Hone: `Ghost.suggest`, with the repository's index, through a private gateway; the text it returns is whole and
  filtered.
- llama.vim: llama.cpp's server started with the flags that llama.vim asks for (`-b 1024 -ub 1024 --cache-reuse 256`),
  asked as llama.vim asks it: 256 lines before the cursor, 64 after it, a ring of 16 chunks of 32 lines of other files
  that was sent ahead, `cache_prompt`, at most 256 tokens and 1500 ms, no stream, and its cache that looks back 10
  characters. A model without fill-in-the-middle tokens has no `/infill` there (the server refuses it), so the same
  text without what stands after the cursor goes to `/completion`.
- same prompt: a second server with the same flags, asked for what Hone asked its gateway at that key, byte for byte,
  streamed; the time is that of the first text, so it is the least that any client of that server could show.

Times count from the key to what can be shown; what waits before that (debounce) is left out on all sides. Prompt
tokens evaluated at a key are llama.cpp's own count. Hone's is taken by replaying the requests of the run on its
engine, since a completion that a filter ends is cancelled before the counts come. `--cold` asks at places of other
files that neither has seen.
"""

import argparse
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from assistant.client import Client, Delta, connect
from assistant.config import load_settings
from assistant.engines.base import Request
from assistant.engines.llamacpp import LlamaCpp
from assistant.errors import HoneError
from assistant.models import store
from assistant.models.serving_form import serving_gguf
from assistant.skills import repository
from assistant.skills.complete import model_form
from assistant.skills.ghost import Ghost
from benchmarks import machine
from benchmarks.llama_vim import CONTEXT_LENGTH, RING_CHUNKS, Key, Vim, llama_server, ring_of
from benchmarks.peers import Peer

_TYPING, _COLD = 0.6, 0.2
"""Shares of the minutes that are left when all is loaded and indexed; the rest is for the replay, which takes as long
as Hone took of the typing."""


@dataclass(frozen=True)
class Asked:
    """A request of Hone's, to be replayed."""

    key: int
    prompt: str
    parse_special: bool
    max_tokens: int
    stop: tuple[str, ...]
    received: int
    """Characters after which it was ended; all when it was not."""


class Recorder:
    """A gateway client that notes what is asked."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.key = 0
        self.asked: list[Asked] = []

    def models(self) -> list[dict[str, Any]]:
        return self._client.models()

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]:
        return self._client.tokenize(texts, model)

    def complete(self, prompt: str, **options: Any) -> Iterator[Delta]:
        received = 0
        try:
            for delta in self._client.complete(prompt, **options):
                received += len(delta.text)
                yield delta
        finally:
            self.asked.append(
                Asked(
                    self.key, prompt, options["parse_special"], options["max_tokens"], tuple(options["stop"]), received
                )
            )


def keys_of(text: str, line: int, count: int) -> list[tuple[str, int]]:
    """The file and the cursor after each key: from a line on, characters are typed that the file has there; what it has
    after them stands behind the cursor."""
    lines = text.split("\n")
    start = len("\n".join(lines[: line - 1])) + 1 if line > 1 else 0
    end = min(start + count, len(text))
    newline = text.find("\n", end)
    rest = text[newline if newline >= 0 else len(text) :]
    return [(text[:at] + rest, at) for at in range(start + 1, end + 1)]


def type_along(
    ghost: Ghost,
    recorder: Recorder,
    vim: Vim,
    server: Callable[..., Any],
    path: str,
    keys: Sequence[tuple[str, int]],
    until: float,
) -> dict[str, list[Key]]:
    """
    Args:
        until: of `time.monotonic()`; no key begins after it.
    """
    found: dict[str, list[Key]] = {"hone": [], "llama.vim": [], "same prompt": []}
    for number, (text, offset) in enumerate(keys):
        if time.monotonic() > until:
            break
        recorder.key = number
        asked = len(recorder.asked)
        began = time.perf_counter()
        shown = ghost.suggest(path, text, offset)
        found["hone"].append(Key(time.perf_counter() - began, shown is not None, len(recorder.asked) > asked))
        peers: list[Callable[[], None]] = [lambda at=(text, offset): found["llama.vim"].append(vim.key(*at))]  # type: ignore[misc]
        if len(recorder.asked) > asked:
            last = recorder.asked[-1]
            peers.append(lambda last=last: found["same prompt"].append(_same(server, last)))  # type: ignore[misc]
        for ask in peers if number % 2 else reversed(peers):
            ask()
    return found


def _same(server: Callable[..., Any], asked: Asked) -> Key:
    body = {"prompt": asked.prompt, "n_predict": asked.max_tokens, "temperature": 0, "cache_prompt": True}
    answer = server("/completion", {**body, "timings_per_token": True}, True)
    return Key(answer["seconds"], bool(answer["text"]), True, answer["evaluated"], answer["prompt_tokens"])


def evaluated(asked: Sequence[Asked], gguf: Path, threads: int) -> list[tuple[int, int]]:
    """Prompt tokens computed, and all of the prompt's, of each request, replayed on Hone's engine in the same order."""
    engine = LlamaCpp(gguf, context_length=CONTEXT_LENGTH, threads=threads)
    counts = []
    try:
        for one in asked:
            counts.append(_replay(engine, one))
    finally:
        engine.close()
    return counts


def _replay(engine: LlamaCpp, asked: Asked) -> tuple[int, int]:
    from queue import SimpleQueue

    chunks: SimpleQueue[Any] = SimpleQueue()
    request = Request(asked.prompt, asked.max_tokens, stop=asked.stop, parse_special=asked.parse_special)
    cancel = engine.start(request, chunks.put)
    received = 0
    while True:
        chunk = chunks.get()
        if isinstance(chunk, HoneError):
            raise chunk
        received += len(chunk.text)
        if chunk.finish_reason is not None:
            usage = chunk.usage
            return usage.prompt_tokens - usage.cached_tokens, usage.prompt_tokens
        if received >= asked.received:
            cancel()


def cold(
    ghost: Callable[[], Ghost], vim: Vim, root: Path, exclude: str, count: int, seed: int, until: float
) -> dict[str, list[float]]:
    """Seconds to the first suggestion in the middle of files that were not asked about before."""
    drawn = random.Random(seed)
    names = [name for name in repository.tracked_sources(root) if name != exclude]
    found: dict[str, list[float]] = {"hone": [], "llama.vim": []}
    for name in drawn.sample(names, min(count, len(names))):
        text = (root / name).read_text("utf-8", "replace")
        ends = [at for at, sign in enumerate(text) if sign == "\n"]
        if len(ends) < 4:
            continue
        if time.monotonic() > until:
            break
        offset = ends[len(ends) // 2]
        fresh = ghost()
        began = time.perf_counter()
        fresh.suggest(name, text, offset, manual=True)
        found["hone"].append(time.perf_counter() - began)
        fresh.close()
        found["llama.vim"].append(vim.key(text, offset).seconds)
    return found


def summary(keys: Sequence[Key]) -> dict[str, Any]:
    seconds = sorted(key.seconds for key in keys)
    asked = [key for key in keys if key.asked]
    shares = sorted(key.evaluated / key.prompt_tokens if key.asked and key.prompt_tokens else 0.0 for key in keys)
    return {
        "keys": len(keys),
        "asked": len(asked),
        "shown": sum(key.shown for key in keys),
        "p50_seconds": _at(seconds, 0.5),
        "p95_seconds": _at(seconds, 0.95),
        "p50_seconds_shown": _at(sorted(key.seconds for key in keys if key.shown), 0.5),
        "evaluated_tokens": {
            "p50": _at(sorted(key.evaluated for key in keys), 0.5),
            "p50_asked": _at(sorted(key.evaluated for key in asked), 0.5),
            "p95": _at(sorted(key.evaluated for key in keys), 0.95),
        },
        "evaluated_share_of_prompt": {
            "p50": _at(shares, 0.5),
            "p50_asked": _at(sorted(key.evaluated / key.prompt_tokens for key in asked if key.prompt_tokens), 0.5),
            "p95": _at(shares, 0.95),
        },
        "prompt_tokens": _at(sorted(key.prompt_tokens for key in asked), 0.5),
    }


def _at(ordered: Sequence[float], share: float) -> float | None:
    """The nearest rank."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--file", default="assistant/skills/complete.py", help="below the repository")
    parser.add_argument("--line", type=int, default=200, help="where typing begins")
    parser.add_argument("--keys", type=int, default=400)
    parser.add_argument("--ring", type=int, default=RING_CHUNKS, help="llama.vim's chunks of other files")
    parser.add_argument("--cold", type=int, default=8, help="places")
    parser.add_argument("--minutes", type=float, default=5.0, help="for everything, about")
    parser.add_argument("--threads", type=int, help="of each; by default one for each physical core")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    started = time.monotonic()
    base = store.fetch(options.model)
    if base.gguf is None:
        parser.error(f"{options.model} has no GGUF")
    gguf = serving_gguf(base.gguf)
    root = options.repository.resolve()
    threads = options.threads or psutil.cpu_count(logical=False) or 1
    text = (root / options.file).read_text("utf-8")
    with (
        connect(load_settings(threads=threads), model=options.model) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        form = model_form(client, options.model)
        recorder = Recorder(client)
        began = time.perf_counter()
        ghost = Ghost(recorder, options.model, root)
        # The index is built once for a repository; what changed is read later.
        ghost.wait(600)
        index_seconds = time.perf_counter() - began
        # One each: they would throw each other's prompt out of the cache.
        server = Peer(llama_server, gguf, threads, folder, "vim.sock")
        same = Peer(llama_server, gguf, threads, folder, "same.sock")
        ring = ring_of(root, options.file, options.ring, options.seed)
        vim = Vim(server, ring, form.fim is not None)
        keys = keys_of(text, options.line, options.keys)
        left = options.minutes * 60 - (time.monotonic() - started)
        began = time.monotonic()
        found = type_along(ghost, recorder, vim, same, options.file, keys, began + _TYPING * left)
        ghost.close()
        until = began + (_TYPING + _COLD) * left
        places = options.cold, options.seed, until
        first = cold(lambda: Ghost(client, options.model, root), vim, root, options.file, *places)
    counts = evaluated(recorder.asked, gguf, threads)
    by_key = dict(zip((one.key for one in recorder.asked), counts, strict=True))
    found["hone"] = [
        Key(key.seconds, key.shown, key.asked, *by_key.get(number, (0, 0))) for number, key in enumerate(found["hone"])
    ]
    report = {
        "schema_version": 1,
        "model": options.model,
        "fim": form.fim is not None,
        "file": options.file,
        "minutes": (time.monotonic() - started) / 60,
        "index_seconds": index_seconds,
        "typing": {name: summary(rows) for name, rows in found.items()},
        "cold_seconds": {name: [round(value, 4) for value in rows] for name, rows in first.items()},
        "load": os.getloadavg()[0],
    }
    typing = report["typing"]
    report["typing_p50_ratio"] = typing["hone"]["p50_seconds"] / typing["llama.vim"]["p50_seconds"]
    if options.json:
        print(json.dumps(report))
        return
    _print(report)


def _print(report: dict[str, Any]) -> None:
    print(machine.describe())
    mode = "fill-in-the-middle" if report["fim"] else "left to right (no fill-in-the-middle tokens)"
    print(f"{report['model']}, {mode}; typing along {report['file']}; index after {report['index_seconds']:.1f} s")
    print(f"{report['minutes']:.1f} minutes in all")
    for name, row in report["typing"].items():
        tokens, share = row["evaluated_tokens"], row["evaluated_share_of_prompt"]
        print(
            f"{name:<12} p50 {_ms(row['p50_seconds'])}, p95 {_ms(row['p95_seconds'])}, where text was shown p50 "
            f"{_ms(row['p50_seconds_shown'])}; {row['asked']} of {row['keys']} keys asked, {row['shown']} shown"
        )
        print(
            f"{'':<12} prompt tokens evaluated at a key: p50 {tokens['p50']}, p95 {tokens['p95']}, where asked p50 "
            f"{tokens['p50_asked']} of {row['prompt_tokens']} ({share['p50_asked'] or 0:.1%}; of all keys "
            f"{share['p50'] or 0:.1%})"
        )
    print(f"hone / llama.vim, typing, p50: {report['typing_p50_ratio']:.2f}")
    for name, values in report["cold_seconds"].items():
        if values:
            spread = f"{_ms(min(values))} to {_ms(max(values))}, {len(values)} places"
            print(f"cold {name:<12} {_ms(statistics.median(values))} ({spread})")


def _ms(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    main()
