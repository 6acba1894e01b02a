"""llama.cpp's server, and a client that asks it as llama.vim does (autoload/llama.vim, its defaults)."""

import http.client
import json
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.skills import repository

PREFIX_LINES, SUFFIX_LINES = 256, 64
RING_CHUNKS, RING_CHUNK_LINES = 16, 32
LOOK_BACK = 10
CONTEXT_LENGTH = 4096
BATCH = 1024
PREDICTED = 256


@dataclass(frozen=True)
class Key:
    """One keystroke at one of them."""

    seconds: float
    shown: bool
    asked: bool
    """False: answered from a cache."""
    evaluated: int = 0
    """Prompt tokens that were computed."""
    prompt_tokens: int = 0


def llama_server(gguf: Path, threads: int, folder: str, name: str) -> Callable[..., Any]:
    """llama.cpp's server in this process; answers (path, body, stream)."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx = CONTEXT_LENGTH
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = BATCH
    params.n_cache_reuse = 256
    params.verbosity = -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.hostnames = [str(Path(folder) / name)]
    server = xllamacpp.Server(params)

    def ask(path: str, body: dict[str, Any], stream: bool) -> dict[str, Any]:
        assert server is not None
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(params.hostnames[0])
        began = time.perf_counter()
        connection.request("POST", path, json.dumps({**body, "stream": stream}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        try:
            if not stream:
                answer = json.loads(response.read())
                if response.status != 200:
                    raise HoneError(f"llama.cpp's server: {answer['error']['message']}")
                if "content" not in answer:
                    return dict(answer)
                return {"seconds": time.perf_counter() - began, "text": answer["content"], **_counts(answer)}
            for line in response:
                if line.startswith(b"data: ") and (event := json.loads(line[6:])).get("content"):
                    return {"seconds": time.perf_counter() - began, "text": event["content"], **_counts(event)}
            return {"seconds": time.perf_counter() - began, "text": "", "evaluated": 0, "prompt_tokens": 0}
        finally:
            connection.close()

    return ask


def _counts(answer: dict[str, Any]) -> dict[str, int]:
    timings = answer.get("timings") or {}
    evaluated = int(timings.get("prompt_n", 0))
    return {"evaluated": evaluated, "prompt_tokens": evaluated + int(timings.get("cache_n", 0))}


class Vim:
    """Asks as llama.vim does.

    Args:
        ring: (path, text) of other files' chunks.
        fim: whether the model has fill-in-the-middle tokens.
    """

    def __init__(self, server: Callable[..., Any], ring: Sequence[tuple[str, str]], fim: bool) -> None:
        self._server = server
        self._fim = fim
        self._ring = [{"text": text, "filename": path, "time": []} for path, text in ring]
        self._cache: dict[tuple[str, str], str] = {}
        # What the server writes in front for models without a token between files.
        extra = "".join(f"\n\n--- snippet ---\n\n{text}" for _, text in ring)
        self._extra = [] if fim else self._tokens(extra)[-(CONTEXT_LENGTH - BATCH - 2 * PREDICTED) :]
        if ring:
            # What its ring update sends ahead.
            self._send("", "", "", n_predict=0, t_max_predict_ms=1, samplers=[])

    def key(self, text: str, offset: int) -> Key:
        began = time.perf_counter()
        before, after = text[:offset].split("\n"), text[offset:].split("\n")
        prefix = "\n".join(before[-PREFIX_LINES - 1 : -1]) + "\n"
        suffix = "\n".join(after[: SUFFIX_LINES + 1]) + "\n"
        if len(after[0]) > 8:
            return Key(time.perf_counter() - began, False, False)
        line = before[-1]
        if not (line + after[0]).strip():
            line = ""
        known = self._known(prefix + line, suffix)
        if known is not None:
            return Key(time.perf_counter() - began, bool(known.strip()), False)
        answer = self._send(
            prefix,
            line,
            suffix,
            n_predict=PREDICTED,
            n_indent=len(line) - len(line.lstrip()),
            top_k=40,
            top_p=0.99,
            samplers=["top_k", "top_p", "infill"],
            t_max_predict_ms=1500,
            seed=0,
        )
        self._cache[prefix + line, suffix] = answer["text"]
        # Of the request alone: what this client does around it is not llama.vim's doing.
        return Key(answer["seconds"], bool(answer["text"].strip()), True, answer["evaluated"], answer["prompt_tokens"])

    def _known(self, before: str, suffix: str) -> str | None:
        for back in range(LOOK_BACK + 1):
            text = self._cache.get((before[: len(before) - back], suffix))
            if text is not None:
                typed = before[len(before) - back :]
                return text[back:] if text.startswith(typed) else None
        return None

    def _send(self, prefix: str, line: str, suffix: str, **fields: Any) -> dict[str, Any]:
        body = {**fields, "cache_prompt": True, "t_max_prompt_ms": 500}
        if self._fim:
            local = {"input_prefix": prefix, "prompt": line, "input_suffix": suffix, "input_extra": self._ring}
            return dict(self._server("/infill", {**body, **local}, False))
        # As the server itself cuts what it is sent to /infill.
        local = self._tokens(prefix)[-3 * (BATCH // 4) :] + self._tokens(line)
        body["samplers"] = [name for name in fields["samplers"] if name != "infill"]
        return dict(self._server("/completion", {**body, "prompt": self._extra + local}, False))

    def _tokens(self, text: str) -> list[int]:
        return list(self._server("/tokenize", {"content": text}, False)["tokens"])


def ring_of(root: Path, exclude: str, count: int, seed: int) -> list[tuple[str, str]]:
    """Chunks of other files, as if those had been open before."""
    drawn = random.Random(seed)
    names = [name for name in repository.tracked_sources(root) if name != exclude]
    chunks = []
    for name in drawn.sample(names, min(count, len(names))):
        lines = (root / name).read_text("utf-8", "replace").split("\n")
        first = drawn.randrange(max(1, len(lines) - RING_CHUNK_LINES))
        chunks.append((name, "\n".join(lines[first : first + RING_CHUNK_LINES]) + "\n"))
    return chunks
