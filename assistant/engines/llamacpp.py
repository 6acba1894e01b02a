"""The llama.cpp engine: a GGUF model and its LoRA adapters in a child process.

A crash in native code, or a kill, ends the running requests with an `EngineError`; the next one starts a new child.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

from assistant import cores
from assistant.engines.base import (
    Cancel,
    Chunk,
    Emit,
    InvalidRequestError,
    Request,
    TokenLogprob,
    Usage,
    check_request,
    iterate,
)
from assistant.engines.likelihoods import check
from assistant.errors import EngineError, HoneError
from assistant.models.gguf_file import read_header

# OpenMP's threads wait for each other by spinning this many times, then they sleep. Sleeping early is slow on a quiet
# machine (for a while the thread that is woken shares a core with the one that woke it), spinning long is slow on a
# busy one. Tokens per second on two cores, alone: 27 with 1,000 and 57 with OpenMP's default of 300,000 in one run; 62
# with 40,000 and with the default in another. Beside three busy processes: 17 with 1,000, 11 with 40,000, 9 with the
# default.
_SPIN_COUNT = "40000"

_LOOK_SECONDS = 0.1
"""Between two looks whether a question was cancelled."""

_LEAST_LOGPROB = -9999.0
"""What OpenAI's API gives where there is nothing to measure."""

_SAMPLERS = frozenset(
    {"penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature", "infill"}
)


@dataclass
class _Job:
    """A message for the child and where its answers go."""

    message: dict[str, Any]
    receive: Callable[[dict[str, Any] | HoneError], None]
    adapter: str | None
    exclusive: bool
    """Runs only beside jobs with the same adapter."""
    cancelled: bool = False


class LlamaCpp:
    """Requests with the same adapter run together, others wait their turn: mixed in one batch, results were seen to
    differ from the same request alone.

    Args:
        context_length: tokens, of each slot.
        slots: requests that are computed together; more of them wait in llama.cpp's queue.

    Raises:
        HoneError: a file is missing, damaged or no GGUF.
        EngineError: llama.cpp cannot load the model or an adapter.
    """

    def __init__(
        self,
        gguf: Path,
        adapters: Mapping[str, Path] | None = None,
        context_length: int = 4096,
        threads: int | None = None,
        slots: int = 2,
    ) -> None:
        self._adapters = dict(adapters or {})
        # Checked before native code parses them.
        self._chat_template = read_header(gguf).chat_template or None
        for file in self._adapters.values():
            read_header(file)
        self._config = {
            "gguf": str(gguf.absolute()),
            "adapters": [(name, str(path.absolute())) for name, path in self._adapters.items()],
            "context_length": context_length,
            "threads": threads or cores.physical(),
            "slots": slots,
        }
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._waiting: deque[tuple[int, _Job]] = deque()
        self._running: dict[int, _Job] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._alive = False
        self._ready = False
        self._closed = False
        self._properties: dict[str, Any] = {}
        loaded: SimpleQueue[HoneError | None] = SimpleQueue()
        self._begin(loaded.put)
        failure = loaded.get()
        if failure is not None:
            raise failure

    @property
    def adapters(self) -> frozenset[str]:
        return frozenset(self._adapters)

    @property
    def context_length(self) -> int:
        return int(self._properties["context_length"])

    @property
    def chat_template(self) -> str | None:
        return self._chat_template

    @property
    def special_tokens(self) -> Mapping[str, str]:
        return {name: self._properties[name] for name in ("bos_token", "eos_token")}

    @property
    def samplers(self) -> frozenset[str]:
        return _SAMPLERS

    @property
    def enforces_schemas(self) -> bool:
        return True

    @property
    def process_id(self) -> int | None:
        """Of the child, None while there is none."""
        return self._process.pid if self._process and self._alive else None

    def start(self, request: Request, emit: Emit) -> Cancel:
        check_request(request, tuple(self._adapters))

        def receive(message: dict[str, Any] | HoneError) -> None:
            if isinstance(message, HoneError):
                emit(message)
            elif "text" in message:
                emit(Chunk(message["text"], tuple(_logprob(entry) for entry in message.get("logprobs", ()))))
            else:
                end = dict(message["end"])
                emit(Chunk(finish_reason=end.pop("reason"), usage=Usage(**end)))

        number = self._submit(_Job({"run": vars(request)}, receive, request.adapter, exclusive=True))
        return lambda: self._cancel(number)

    def stream(self, request: Request) -> Iterator[Chunk]:
        return iterate(self.start, request)

    def tokenize(self, text: str, parse_special: bool = False) -> list[int]:
        return self.tokenize_all([text], parse_special)[0]

    def tokenize_all(self, texts: Sequence[str], parse_special: bool = False) -> list[list[int]]:
        received: SimpleQueue[dict[str, Any] | HoneError] = SimpleQueue()
        message = {"tokenize": list(texts), "parse_special": parse_special}
        self._submit(_Job(message, received.put, None, exclusive=False))
        answer = received.get()
        if isinstance(answer, HoneError):
            raise answer
        return [list(tokens) for tokens in answer["tokens"]]

    def likelihoods(
        self,
        texts: Sequence[str],
        answers: Sequence[str],
        adapter: str | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[list[float]]:
        check(texts, answers)
        if adapter is not None and adapter not in self._adapters:
            raise InvalidRequestError(f"the engine has no adapter {adapter}")
        received: SimpleQueue[dict[str, Any] | HoneError] = SimpleQueue()
        message = {"likelihoods": {"texts": list(texts), "answers": list(answers), "adapter": adapter}}
        number = self._submit(_Job(message, received.put, adapter, exclusive=True))
        answer: dict[str, Any] | HoneError | None = None
        while answer is None:
            if cancelled():
                self._cancel(number)
            with suppress(Empty):
                answer = received.get(timeout=_LOOK_SECONDS)
        if isinstance(answer, HoneError):
            raise answer
        if "logprobs" not in answer:
            raise EngineError("the question was cancelled")
        return [[float(value) for value in row] for row in answer["logprobs"]]

    def find_token(self, text: str) -> int | None:
        special, plain = self.tokenize(text, parse_special=True), self.tokenize(text)
        return special[0] if len(special) == 1 and special != plain else None

    def close(self) -> None:
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            _stop(process)

    def _submit(self, job: _Job) -> int:
        number = next(self._numbers)
        with self._lock:
            if self._closed:
                raise EngineError("the engine is closed")
            self._waiting.append((number, job))
            dead = not self._alive
            if not dead:
                self._dispatch()
        if dead:
            self._begin(None)
        return number

    def _dispatch(self) -> None:
        """Sends what may run now; the lock is held."""
        while self._waiting and self._ready:
            number, job = self._waiting[0]
            others = [running for running in self._running.values() if running.exclusive]
            if job.exclusive and others and others[0].adapter != job.adapter:
                return
            # What was cancelled ends within a token. Begun before that, a request that continues its prompt (the next
            # key's does) would find the slot taken and compute all of it in another one.
            if job.exclusive and any(running.cancelled for running in others):
                return
            self._waiting.popleft()
            self._running[number] = job
            self._send({"id": number, **job.message})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            # The child is gone: the reading thread sees its end and fails what was running.
            return

    def _cancel(self, number: int) -> None:
        with self._lock:
            if number in self._running:
                self._running[number].cancelled = True
                self._send({"id": number, "cancel": True})
                return
            job = next((job for waiting, job in self._waiting if waiting == number), None)
            if job is None:
                return
            self._waiting = deque(item for item in self._waiting if item[0] != number)
            self._dispatch()
        end = {"reason": "cancelled", **dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), 0)}
        job.receive({"end": {**end, "prompt_seconds": 0.0, "completion_seconds": 0.0}})

    def _begin(self, loaded: Callable[[HoneError | None], None] | None) -> None:
        with self._lock:
            if self._alive or self._closed:
                return
            self._alive = True
        # The thread that starts the child lives as long as the child: the kernel takes its end for the parent's.
        threading.Thread(target=self._read, args=(loaded,), name="llamacpp", daemon=True).start()

    def _read(self, loaded: Callable[[HoneError | None], None] | None) -> None:
        def when_ready() -> None:
            nonlocal loaded
            if loaded is not None:
                loaded(None)
                loaded = None

        try:
            with tempfile.TemporaryDirectory(prefix="hone-engine-", ignore_cleanup_errors=True) as folder:
                failure = self._attend(folder, when_ready)
        except OSError as error:
            failure = EngineError(f"cannot start the model's process: {error.strerror or error}")
        self._fail(failure, loaded)

    def _attend(self, folder: str, when_ready: Callable[[], None]) -> HoneError:
        """Starts a child and hands out its answers until it ends; returns why it ended."""
        failure: HoneError | None = None
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "assistant.engines.llamacpp_child"],
                env={**os.environ, "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", _SPIN_COUNT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
            assert process.stdout is not None
            with self._lock:
                self._process = process
                self._send({**self._config, "folder": folder})
                closed = self._closed
            if closed:
                _stop(process)
            for line in process.stdout:
                message = json.loads(line)
                if "id" in message:
                    self._route(message)
                elif "ready" in message:
                    with self._lock:
                        self._properties = message["ready"]
                        self._ready = True
                        self._dispatch()
                    when_ready()
                else:
                    failure = EngineError(f"cannot load {self._config['gguf']}: {_reason(log, message['failed'])}")
            code = process.wait()
            return failure or EngineError(_death(code, log, self._closed))

    def _route(self, message: dict[str, Any]) -> None:
        number = message["id"]
        if "text" in message:
            job = self._running.get(number)
            if job is not None:
                job.receive(message)
            return
        with self._lock:
            job = self._running.pop(number, None)
            self._dispatch()
        if job is None:
            return
        if "error" in message:
            job.receive(InvalidRequestError(message["error"]) if message["invalid"] else EngineError(message["error"]))
        else:
            job.receive(message)

    def _fail(self, failure: HoneError, loaded: Callable[[HoneError | None], None] | None) -> None:
        with self._lock:
            was_ready = self._ready
            self._alive = self._ready = False
            failed = list(self._running.values())
            self._running.clear()
            # What was never sent to a child that worked can run on the next one.
            if not was_ready or self._closed:
                failed += [job for _, job in self._waiting]
                self._waiting.clear()
            again = bool(self._waiting)
        if loaded is not None:
            loaded(failure)
        for job in failed:
            job.receive(failure)
        if again:
            self._begin(None)


def _logprob(entry: dict[str, Any]) -> TokenLogprob:
    # The logarithm of a probability that is 0 in 32 bits is written as null.
    logprob = entry["logprob"] if entry["logprob"] is not None else _LEAST_LOGPROB
    top = tuple(_logprob(other) for other in entry.get("top_logprobs", ()))
    return TokenLogprob(entry["id"], entry["token"], tuple(entry["bytes"]), logprob, top)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Closing its input ends the child; it is killed when it hangs in native code."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _reason(log: IO[bytes], fallback: str) -> str:
    """The first error that llama.cpp reported, which is the one nearest to the cause."""
    log.seek(0)
    for line in log.read().decode(errors="replace").splitlines():
        _, mark, text = line.partition(" E ")
        if mark:
            return text.strip()
    return fallback


def _death(code: int, log: IO[bytes], closed: bool) -> str:
    if closed:
        return "the engine was closed"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    reason = _reason(log, "")
    return f"the model's process {how}{': ' + reason if reason else ''}; send the request again"
