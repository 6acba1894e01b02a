"""The process that holds one GGUF model: llama.cpp's server, driven by JSON lines on standard input and output.

Run as `python -m assistant.engines.llamacpp_child`. The first line it reads is the configuration, the first it writes
`{"ready": {...}}` or `{"failed": line}`. Then, each with the caller's `id`:

    {"id", "run": {request}}                          ->  {"id", "text", "logprobs"}...  {"id", "end": {...}}
    {"id", "cancel": true}                            ->  nothing; what that id asked for ends
    {"id", "tokenize": [text, ...], "parse_special"}  ->  {"id", "tokens": [[id, ...], ...]}
    {"id", "likelihoods": {texts, answers, adapter}}  ->  {"id", "logprobs": [[of each token], ...]}

or `{"id", "error": line, "invalid": whether the request was at fault}` in place of the end (reason and counts) or the
tokens. It exits when its standard input closes.
"""

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
import time
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

from assistant.children import end_with_parent
from assistant.engines import forced
from assistant.engines.base import InvalidRequestError, Request
from assistant.engines.indent import IndentStop
from assistant.engines.likelihoods import assemble, check_room, opening_of
from assistant.engines.verbatim import encode

# Prompts are computed in batches of this many tokens and can be cancelled between two of them. Measured on CPU: 64 is
# as fast as 512 (quantized matrices gain nothing from longer batches) and keeps the wait under half a second.
_BATCH = 64

# A token that comes sooner than this after the last text was sent goes along with the next one. Each message wakes the
# gateway and its client, which on two cores takes time from the two threads that compute: sent one by one at 65 tokens
# per second, tokens came 9 % slower. With several requests at a time each waits longer, so that their messages together
# are about as many; ten a second still read as flowing.
_PACE_SECONDS = 0.025
_SLOWEST_PACE_SECONDS = 0.1

_LEAST_LOGPROB = -104.0
"""Of a token whose probability is 0 in 32 bits, which llama.cpp tells as the least number there is."""

_BETWEEN = -1
"""No token's number: llama.cpp passes it through between texts that it tokenizes one by one."""

# llama.cpp draws a seed when it is given this one.
_RANDOM_SEED = 0xFFFFFFFF

# To llguidance, which compiles schemas for llama.cpp: without it a small model may write blanks until its limit.
_JSON_FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class _RefusedError(Exception):
    """The request is at fault, not the engine."""


class _Listener(http.client.HTTPConnection):
    """llama.cpp's own HTTP listener, which cannot be turned off: a Unix socket in a private folder, with a key."""

    def __init__(self, path: str, key: str) -> None:
        super().__init__("localhost")
        self._path = path
        self._key = key
        self._lock = threading.Lock()

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        with self._lock:
            try:
                self.request(method, path, data, headers)
                response = self.getresponse()
            except (http.client.HTTPException, OSError):
                # The listener closes connections that were idle for some seconds.
                self.close()
                self.request(method, path, data, headers)
                response = self.getresponse()
            answer = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(str(answer.get("error", {}).get("message", f"status {response.status}")))
        return answer


class _Child:
    def __init__(self, output: int, config: dict[str, Any]) -> None:
        self._output = output
        self._output_lock = threading.Lock()
        self._cancelled: dict[int, bool] = {}
        self._adapters: list[str] = [name for name, _ in config["adapters"]]
        self._server, self._listener = _load(config)
        properties = self._listener.call("GET", "/props")
        self._context_length = int(properties["default_generation_settings"]["n_ctx"])
        self._bos = str(properties.get("bos_token") or "")
        self._write(
            {
                "ready": {
                    "context_length": self._context_length,
                    "bos_token": self._bos,
                    "eos_token": str(properties.get("eos_token") or ""),
                }
            }
        )

    def _write(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._output_lock:
            while data:
                data = data[os.write(self._output, data) :]

    def serve(self, lines: Any) -> None:
        for line in lines:
            message = json.loads(line)
            number = message["id"]
            if "cancel" in message:
                if number in self._cancelled:
                    self._cancelled[number] = True
                continue
            self._cancelled[number] = False
            threading.Thread(target=self._answer, args=(number, message), daemon=True).start()

    def _answer(self, number: int, message: dict[str, Any]) -> None:
        try:
            if "run" in message:
                last: dict[str, Any] = {"end": self._run(number, message["run"])}
            elif "likelihoods" in message:
                last = self._likelihoods(number, **message["likelihoods"])
            else:
                last = {"tokens": self._tokenize_all(message["tokenize"], message["parse_special"])}
        except (_RefusedError, InvalidRequestError) as error:
            last = {"error": str(error), "invalid": True}
        except Exception as error:
            last = {"error": f"llama.cpp: {error}", "invalid": False}
        self._cancelled.pop(number, None)
        self._write({"id": number, **last})

    def _tokenize(self, text: str, parse_special: bool, add_special: bool = False) -> list[int]:
        body = {"content": text, "parse_special": parse_special, "add_special": add_special}
        return list(self._listener.call("POST", "/tokenize", body)["tokens"])

    def _tokenize_all(self, texts: list[str], parse_special: bool) -> list[list[int]]:
        """By one call: a call for each line of a file takes seconds."""
        mixed: list[str | int] = [part for text in texts for part in (text, _BETWEEN)]
        body = {"content": mixed, "parse_special": parse_special, "add_special": False}
        found: list[list[int]] = [[]]
        for token in self._listener.call("POST", "/tokenize", body)["tokens"]:
            if token == _BETWEEN:
                found.append([])
            else:
                found[-1].append(token)
        return found[:-1]

    def _likelihoods(self, number: int, texts: list[str], answers: list[str], adapter: str | None) -> dict[str, Any]:
        unnamed: set[int] = set()

        @cache
        def tokenize(text: str) -> list[int]:
            body = {"content": text, "parse_special": False, "add_special": False, "with_pieces": True}
            entries = self._listener.call("POST", "/tokenize", body)["tokens"]
            # A grammar refuses tokens that are no whole characters, of which a list of bytes is told, and a zero byte.
            unnamed.update(one["id"] for one in entries if not isinstance(one["piece"], str) or "\0" in one["piece"])
            return [int(one["id"]) for one in entries]

        opening = opening_of(tokenize, lambda text: self._tokenize(text, parse_special=False, add_special=True))
        reading = assemble(tokenize, opening, texts, answers)
        check_room(reading, self._context_length)
        request = vars(Request(texts[0], top_k=1, adapter=adapter))
        # Any token of whole characters.
        other = next(token for token in tokenize("a")[::-1] if token not in unnamed)
        found: dict[int, float] = {}
        complete = partial(self._listener.call, "POST", "/completion")
        for start, end in forced.runs(reading, frozenset(unnamed)):
            if self._cancelled[number]:
                return {"end": {"reason": "cancelled"}}
            fields = engine_fields(request, list(reading.tokens[:start]), end - start, self._adapters)
            if reading.tokens[start] in unnamed:
                found[start] = forced.listed(complete, fields, reading.tokens[start], other)
            else:
                values = forced.drawn(complete, fields, reading.tokens[start:end])
                found.update(zip(range(start, end), values, strict=True))
        return {
            "logprobs": [
                [max(found[position], _LEAST_LOGPROB) for position in range(start, end)] for start, end in reading.spans
            ]
        }

    def _prompt(self, request: dict[str, Any]) -> list[int]:
        prompt = request["prompt"]
        if isinstance(prompt, str):
            special = bool(request["parse_special"])
            # A chat template may have written the beginning token already.
            begun = special and self._bos != "" and prompt.startswith(self._bos)
            if special and request["verbatim"]:
                return encode(prompt, request["verbatim"], not begun, self._tokenize)
            return self._tokenize(prompt, special, add_special=not begun)
        return list(prompt)

    def _pace(self) -> float:
        """Seconds between two messages of one answer."""
        return min(_PACE_SECONDS * len(self._cancelled), _SLOWEST_PACE_SECONDS)

    def _run(self, number: int, request: dict[str, Any]) -> dict[str, Any]:
        prompt = self._prompt(request)
        room = self._context_length - len(prompt)
        if room < 1:
            raise _RefusedError(
                f"the prompt has {len(prompt)} tokens and the context of this model holds {self._context_length}; "
                "shorten the prompt or raise context_length"
            )
        asked = engine_fields(request, prompt, min(request["max_tokens"], room), self._adapters)
        state: dict[str, Any] = {}
        pieces: list[str] = []
        whole: list[str] = []
        indent = IndentStop(request["min_indent"])
        logprobs: list[dict[str, Any]] = []
        sent = 0.0

        def send() -> None:
            nonlocal sent
            if any(pieces) or logprobs:
                message = {"id": number, "text": "".join(pieces)}
                self._write({**message, "logprobs": logprobs} if logprobs else message)
                pieces.clear()
                logprobs.clear()
                sent = time.perf_counter()

        def receive(event: dict[str, Any]) -> bool:
            if "error" in event:
                state["error"] = event["error"]
                return True
            choice = event["choices"][0]
            state["timings"] = event.get("timings") or state.get("timings")
            if choice.get("logprobs"):
                logprobs.extend(_drawn(choice["logprobs"]["content"], request["logprobs"]))
            # Asked for no token, llama.cpp draws one all the same.
            text = indent.add(choice["text"]) if request["max_tokens"] > 0 else ""
            if text:
                pieces.append(text)
                whole.append(text)
                if time.perf_counter() - sent >= self._pace():
                    send()
            reason = "stop" if indent.stopped else choice["finish_reason"]
            if reason is not None:
                state["reason"] = reason
            return self._cancelled[number] or indent.stopped

        self._server.handle_completions(asked, receive)
        if state.get("reason") == "stop" and logprobs and not logprobs[-1]["token"]:
            # The end token, which is no part of the answer.
            logprobs.pop()
        pieces.append(indent.rest())
        send()
        if "error" in state:
            message = str(state["error"].get("message", "unknown error"))
            if state["error"].get("code") == 400:
                raise _RefusedError(message)
            raise RuntimeError(message)
        if "reason" not in state and not self._cancelled[number]:
            raise RuntimeError("the generation ended without a finish reason")
        if _whole_json_due(request, state) and not _is_json("".join(whole)):
            # It logs a schema that it cannot compile and goes on without.
            raise RuntimeError("the answer is not of the schema that was asked for")
        timings = state.get("timings") or {}
        return {
            "reason": state.get("reason", "cancelled"),
            "prompt_tokens": len(prompt),
            "cached_tokens": timings.get("cache_n", 0),
            "completion_tokens": min(timings.get("predicted_n", 0), request["max_tokens"]),
            "prompt_seconds": timings.get("prompt_ms", 0.0) / 1000,
            "completion_seconds": timings.get("predicted_ms", 0.0) / 1000,
        }


def _whole_json_due(request: dict[str, Any], state: dict[str, Any]) -> bool:
    """A stop string, which llama.cpp does not tell from the end token, may have cut the answer."""
    return request["json_schema"] is not None and not request["stop"] and state.get("reason") == "stop"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _drawn(entries: list[dict[str, Any]], top: int) -> list[dict[str, Any]]:
    """llama.cpp's entries with no more alternatives than were asked for: it gives none at all for 0."""
    return [{**entry, "top_logprobs": entry["top_logprobs"][:top]} for entry in entries]


def engine_fields(request: dict[str, Any], prompt: list[int], max_tokens: int, adapters: list[str]) -> dict[str, Any]:
    """The fields that reach llama.cpp: only these, whatever was asked for."""
    seed = request["seed"]
    fields: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": max_tokens,
        "temperature": request["temperature"],
        "top_p": request["top_p"],
        "top_k": request["top_k"],
        "min_p": request["min_p"],
        "repeat_penalty": request["repeat_penalty"],
        "frequency_penalty": request["frequency_penalty"],
        "presence_penalty": request["presence_penalty"],
        "seed": secrets.randbelow(_RANDOM_SEED) if seed is None else seed % _RANDOM_SEED,
        "stop": request["stop"],
        "stream": True,
        "cache_prompt": True,
        # These two make llama.cpp call back between the batches of a prompt, which is where a cancel can take effect.
        "return_progress": True,
        "timings_per_token": True,
    }
    if request["json_schema"] is not None:
        fields["json_schema"] = {**request["json_schema"], "x-guidance": _JSON_FORM}
    if request["samplers"] is not None:
        fields["samplers"] = request["samplers"]
    if request["logprobs"] is not None:
        fields["n_probs"] = max(request["logprobs"], 1)
    if request["line_seconds"] is not None:
        fields["t_max_predict_ms"] = max(int(request["line_seconds"] * 1000), 1)
    if adapters:
        # An empty list would mean the global scales, so every adapter is named.
        fields["lora"] = [
            {"id": index, "scale": 1.0 if name == request["adapter"] else 0.0} for index, name in enumerate(adapters)
        ]
    return fields


def _load(config: dict[str, Any]) -> tuple[Any, _Listener]:
    import xllamacpp

    key = secrets.token_urlsafe(24)
    path = str(Path(config["folder"]) / "engine.sock")
    params = xllamacpp.CommonParams()
    params.model.path = config["gguf"]
    # Each sequence gets the whole context length.
    params.n_parallel = config["slots"]
    params.n_ctx = config["context_length"] * config["slots"]
    params.kv_unified = False
    params.fit_params = False
    # It computes each token alone, so that an answer is the same whether its prompt was cached or not. Without it a
    # token takes two thirds of the time at 1,500 tokens of context, and greedy answers change when they are asked for
    # again (`benchmarks/attention.py`).
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.n_batch = _BATCH
    params.n_ubatch = _BATCH
    params.cpuparams.n_threads = config["threads"]
    params.cpuparams_batch.n_threads = config["threads"]
    # llama.cpp's cache of earlier states does not tell adapters apart: with it on, one adapter was seen to continue
    # from a prompt that another one had computed.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.hostnames = [path]
    params.api_keys = [key]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.offline = True
    params.verbosity = 1
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(file, 0.0) for _, file in config["adapters"]]
    return xllamacpp.Server(params), _Listener(path, key)


def _end(folder: str) -> NoReturn:
    # llama.cpp's threads would delay or crash an orderly exit; nothing else needs one.
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    # Ctrl-C and a closed terminal reach the whole process group; the parent decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_with_parent(signal.SIGTERM)
    # What native code prints must not mix with the messages.
    output = os.dup(1)
    os.dup2(2, 1)
    lines = sys.stdin.buffer
    first = lines.readline()
    if not first:
        os._exit(0)
    config = json.loads(first)
    signal.signal(signal.SIGTERM, lambda *_: _end(config["folder"]))
    try:
        child = _Child(output, config)
    except Exception as error:
        os.write(output, json.dumps({"failed": str(error)}).encode() + b"\n")
    else:
        child.serve(lines)
    _end(config["folder"])


if __name__ == "__main__":
    main()
