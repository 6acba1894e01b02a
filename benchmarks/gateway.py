"""What the gateway costs over its engine alone, and how it holds up for a long time.

    python -m benchmarks.gateway [--rounds N] [--tokens N] [--json]
    python -m benchmarks.gateway --soak MINUTES [--model M] [--json]

Overhead: the engine alone is `assistant.engines.llamacpp`; the gateway is a private one with the same engine behind it,
asked by Hone's own client over its socket. Both run the embedded model greedily on the same prompts with the same
settings. In every round, in alternating order, one is started in a process of its own, measured and ended before the
other one is started: so neither ever waits for the other's threads or pages, and how a process happens to lie in memory
is drawn anew. Per request: a prompt that was computed before and one token. Per token: the time from the first text to
the end of the answer, divided by its tokens but one. Each is the median of a round; what is over is the median over
rounds of the difference between the two of one round.

Soak: `hone serve` and 4 clients that ask chats, completions, completions with a suffix, infilling, Tabby's completions,
token counts and model lists, whole and streamed; some leave in the middle. Memory is the resident set of the server and
its engine.
"""

import argparse
import atexit
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from assistant import paths
from assistant.client import connect
from assistant.config import load_settings
from assistant.engines.base import Request
from assistant.engines.llamacpp import LlamaCpp
from assistant.models import store
from assistant.models.serving_form import serving_gguf
from benchmarks import machine
from benchmarks.peers import Peer
from benchmarks.served import serving

MODEL = "smollm2-135m"
PROMPT = "def fibonacci(n):\n"
SHORT_REQUESTS, LONG_REQUESTS = 20, 3
"""Of one token, and of `--tokens`, in each round."""
CLIENTS = 4
_PIECES = (
    "def add(a, b):\n    return a + b\n\n",
    "import os\n\nprint(",
    "class Stack:\n    def push(self, item):\n        ",
)


@dataclass(frozen=True)
class Timed:
    """Seconds of one answer."""

    first: float
    rest: float
    tokens: int


@dataclass(frozen=True)
class Cost:
    """Medians of one round, in seconds."""

    request: float
    token: float


Pieces = Callable[[int], Iterator[tuple[str, int | None]]]
"""An answer of at most so many tokens: its texts, the last with the number of tokens."""


def timed(pieces: Iterator[tuple[str, int | None]]) -> Timed:
    began = time.perf_counter()
    first, tokens = None, 0
    for text, count in pieces:
        if first is None and (text or count is not None):
            first = time.perf_counter() - began
        tokens = count if count is not None else tokens
    first = first or 0.0
    return Timed(first, time.perf_counter() - began - first, tokens)


def measured(answer: Pieces, tokens: int) -> Cost:
    # The first one computes the prompt.
    timed(answer(8))
    short = [timed(answer(1)) for _ in range(SHORT_REQUESTS)]
    long = [timed(answer(tokens)) for _ in range(LONG_REQUESTS)]
    return Cost(
        statistics.median(one.first + one.rest for one in short),
        statistics.median(one.rest / max(one.tokens - 1, 1) for one in long),
    )


def by_engine(gguf: Path) -> Callable[[int], Cost]:
    settings = load_settings()
    engine = LlamaCpp(gguf, {}, settings.context_length, settings.threads, settings.slots)
    atexit.register(engine.close)

    def pieces(tokens: int) -> Iterator[tuple[str, int | None]]:
        for chunk in engine.stream(Request(PROMPT, max_tokens=tokens)):
            yield chunk.text, chunk.usage.completion_tokens if chunk.usage else None

    return lambda tokens: measured(pieces, tokens)


def by_gateway() -> Callable[[int], Cost]:
    running = ExitStack()
    client = running.enter_context(connect(load_settings(), MODEL))
    atexit.register(running.close)

    def pieces(tokens: int) -> Iterator[tuple[str, int | None]]:
        for delta in client.complete(PROMPT, max_tokens=tokens):
            yield delta.text, delta.details["completion_tokens"] if delta.details else None

    return lambda tokens: measured(pieces, tokens)


def overhead(rounds: int, tokens: int) -> dict[str, Any]:
    """
    Args:
        tokens: of a long answer.
    """
    base = store.fetch(MODEL)
    assert base.gguf is not None
    sides: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
        ("engine", by_engine, (serving_gguf(base.gguf),)),
        ("gateway", by_gateway, ()),
    ]
    found: dict[str, list[Cost]] = {"engine": [], "gateway": []}
    with own_state():
        for number in range(rounds):
            for name, make, arguments in sides if number % 2 == 0 else reversed(sides):
                peer = Peer(make, *arguments)
                found[name].append(peer(tokens))
                peer.close()
    return {what: _compared(found, what) for what in ("request", "token")}


@contextmanager
def own_state() -> Iterator[None]:
    """A state folder with the fetched models and nothing else: no gateway that runs, no promoted adapter."""
    models, before = paths.models_dir(), os.environ.get("HONE_HOME")
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-") as home:
        (Path(home) / "models").symlink_to(models)
        os.environ["HONE_HOME"] = home
        try:
            yield
        finally:
            if before is None:
                del os.environ["HONE_HOME"]
            else:
                os.environ["HONE_HOME"] = before


def _compared(found: dict[str, list[Cost]], what: str) -> dict[str, Any]:
    """Milliseconds."""
    engine, gateway = ([getattr(cost, what) * 1000 for cost in found[name]] for name in ("engine", "gateway"))
    over = [theirs - alone for alone, theirs in zip(engine, gateway, strict=True)]
    return {"engine_ms": engine, "gateway_ms": gateway, "over_ms": over, "over_ms_median": statistics.median(over)}


@dataclass
class Soak:
    """What the clients saw; written by several threads."""

    seconds: list[tuple[float, float]] = field(default_factory=list)
    """When each request ended, and how long it took."""
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    """When, and MiB."""


def soak(minutes: float, model: str) -> dict[str, Any]:
    found = Soak()
    with serving(model) as (process, url, key):
        began = time.monotonic()
        end = began + minutes * 60
        threads = [
            threading.Thread(target=_client, args=(url, key, number, end, began, found)) for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.memory.append((time.monotonic() - began, _resident(process)))
            time.sleep(min(5.0, minutes * 60 / 20))
        for thread in threads:
            thread.join()
    # Caches fill at first.
    settled = [entry for entry in found.memory if entry[0] > minutes * 60 / 4]
    return {
        "minutes": minutes,
        "requests": len(found.seconds),
        "errors": len(found.errors),
        "first_errors": found.errors[:5],
        "memory_mib": {"first": found.memory[0][1], "settled": settled[0][1], "last": settled[-1][1]},
        "memory_slope_mib_per_hour": _slope(settled) * 3600,
        "p50_ms": _quantile([seconds for _, seconds in found.seconds], 0.5),
        "p99_ms": _quantile([seconds for _, seconds in found.seconds], 0.99),
        "p99_ms_by_quarter": _quarters(found.seconds, minutes * 60),
    }


def _client(url: str, key: str, number: int, end: float, began: float, found: Soak) -> None:
    draw = random.Random(number)
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=300) as http:
        while time.monotonic() < end:
            started = time.monotonic()
            try:
                _ask(http, draw)
            except (httpx.HTTPError, ValueError) as error:
                found.errors.append(f"{type(error).__name__}: {error}")
                # A server that is gone would be asked thousands of times a second.
                time.sleep(0.5)
            found.seconds.append((time.monotonic() - began, time.monotonic() - started))


def _ask(http: httpx.Client, draw: random.Random) -> None:
    text = draw.choice(_PIECES) + f"value_{draw.randrange(1000)} = "
    common = {"max_tokens": draw.randrange(1, 48), "seed": draw.randrange(100), "stream": draw.random() < 0.5}
    requests: list[tuple[str, dict[str, Any] | None]] = [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **common}),
        ("/v1/completions", {"prompt": text, **common}),
        ("/v1/completions", {"prompt": text, "suffix": "\nprint(value)\n", **common}),
        ("/v1/completions", {"prompt": text, "n": 2, "logprobs": 2, **common}),
        ("/infill", {"input_prefix": text, "input_suffix": "\n", "n_predict": 16, "t_max_predict_ms": 500}),
        ("/infill", {"input_extra": [{"text": text, "filename": "a.py"}], "n_predict": 0}),
        ("/v1/completions", {"language": "python", "segments": {"prefix": text, "suffix": "\n"}}),
        ("/v1/tokenize", {"texts": [text]}),
        ("/v1/models", None),
    ]
    path, body = draw.choice(requests)
    if body is None:
        response = http.get(path)
    elif body.get("stream") and draw.random() < 0.2:
        with http.stream("POST", path, json=body) as left:
            left.raise_for_status()
            next(left.iter_bytes(), None)
        return
    else:
        response = http.post(path, json=body)
    response.raise_for_status()
    if '"error"' in response.text[:20] or '\ndata: {"error"' in response.text:
        raise ValueError(response.text[-300:])


def _resident(process: psutil.Process) -> float:
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 2**20


def _slope(points: list[tuple[float, float]]) -> float:
    if len(points) < 2:
        return 0.0
    return statistics.linear_regression([at for at, _ in points], [value for _, value in points]).slope


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 if ordered else 0.0


def _quarters(timed_requests: list[tuple[float, float]], whole: float) -> list[float]:
    by_quarter: list[list[float]] = [[], [], [], []]
    for at, seconds in timed_requests:
        by_quarter[min(int(at / whole * 4), 3)].append(seconds)
    return [round(_quantile(values, 0.99), 1) for values in by_quarter]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--model", default=MODEL, help="of the soak")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    result = soak(options.soak, options.model) if options.soak else overhead(options.rounds, options.tokens)
    load = {"before": before, "after": os.getloadavg()[0]}
    if options.json:
        print(json.dumps({"schema_version": 2, "load": load, **result}))
        return
    print(f"{machine.describe()} ({before:.2f} before)")
    if options.soak:
        _print_soak(result)
        return
    print(f"{options.rounds} rounds, median (minimum to maximum)")
    for what, figures in result.items():
        engine, gateway, over = (machine.spread(figures[name], 2) for name in ("engine_ms", "gateway_ms", "over_ms"))
        print(f"per {what}: engine {engine} ms, gateway {gateway} ms, over {over} ms")


def _print_soak(result: dict[str, Any]) -> None:
    print(f"{result['requests']} requests of {CLIENTS} clients in {result['minutes']:g} minutes")
    print(f"{result['errors']} errors")
    for error in result["first_errors"]:
        print(f"  {error}")
    memory = result["memory_mib"]
    print(
        f"memory {memory['first']:.1f} MiB at first, {memory['settled']:.1f} settled, {memory['last']:.1f} at the "
        f"end; slope {result['memory_slope_mib_per_hour']:+.1f} MiB per hour"
    )
    print(f"p50 {result['p50_ms']:.0f} ms, p99 {result['p99_ms']:.0f} ms; by quarter {result['p99_ms_by_quarter']} ms")


if __name__ == "__main__":
    main()
