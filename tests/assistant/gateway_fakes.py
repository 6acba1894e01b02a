"""A gateway without a model: the real application on an engine that answers from a script."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from assistant.engines.base import Cancel, Chunk, Emit, Request, TokenLogprob, Usage, check_request, iterate
from assistant.errors import EngineError, HoneError, UnknownModel
from assistant.gateway.admission import Limits
from assistant.gateway.app import Gateway
from assistant.gateway.connection import TimedConnection
from assistant.gateway.routes import Endpoints
from assistant.gateway.serving import Lease
from assistant.models.registry import AdapterVersion
from assistant.models.resolve import ServedModel
from assistant.models.store import BaseModel
from assistant.prompts import FIM_FAMILIES, FimTokens

KEY = "hone-test-key-of-more-than-thirty-two-letters"
MODEL = "fake"
CONTEXT = 512
FIM = FIM_FAMILIES[0]
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
_PIECE = re.compile(r"\s*\S+|\s+")


@dataclass
class ScriptedEngine:
    """Answers `answer(request)`, one word a token; at once, or with `delay` seconds before each token.

    With `held` it makes so many tokens at once and no more until it is cancelled, whatever the machine's speed.
    """

    answer: Callable[[Request], str] = lambda request: "one two three"
    delay: float = 0.0
    held: int | None = None
    control: frozenset[str] = frozenset()
    """Spellings that the tokenizer reads as one token when it is asked to."""
    chat_template: str | None = TEMPLATE
    samplers: frozenset[str] = frozenset({"top_k", "top_p", "temperature"})
    enforces_schemas: bool = True
    context_length: int = CONTEXT
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    tokens: int = 0
    """Made so far, of all requests."""
    running: int = 0
    failure: HoneError | None = None
    counting: Any = field(default_factory=threading.Lock)

    def start(self, request: Request, emit: Emit) -> Cancel:
        check_request(request, ("tuned@111111111111",))
        self.requests.append(request)
        cancelled = threading.Event()
        with self.counting:
            self.running += 1
        pieces = _PIECE.findall(self.answer(request))[: request.max_tokens]
        if self.held is not None and len(pieces) > self.held:
            for piece in pieces[: self.held]:
                self._make(piece, request, emit)
            threading.Thread(target=self._hold, args=(request, emit, cancelled), daemon=True).start()
        elif self.delay:
            threading.Thread(target=self._run, args=(pieces, request, emit, cancelled), daemon=True).start()
        else:
            self._run(pieces, request, emit, cancelled)
        return cancelled.set

    def _hold(self, request: Request, emit: Emit, cancelled: threading.Event) -> None:
        cancelled.wait()
        self._end(self.held or 0, request, emit, cancelled)

    def _run(self, pieces: Sequence[str], request: Request, emit: Emit, cancelled: threading.Event) -> None:
        made = 0
        for piece in pieces:
            if cancelled.wait(self.delay) if self.delay else cancelled.is_set():
                break
            made += 1
            self._make(piece, request, emit)
        self._end(made, request, emit, cancelled)

    def _make(self, piece: str, request: Request, emit: Emit) -> None:
        with self.counting:
            self.tokens += 1
        emit(Chunk(piece, _logprobs(piece, request)))

    def _end(self, made: int, request: Request, emit: Emit, cancelled: threading.Event) -> None:
        with self.counting:
            self.running -= 1
        if self.failure is not None:
            emit(self.failure)
            return
        reason: Any = "cancelled" if cancelled.is_set() else "length" if made == request.max_tokens else "stop"
        emit(Chunk(finish_reason=reason, usage=Usage(len(request.prompt), 0, made, 0.01, 0.02)))

    def stream(self, request: Request) -> Iterator[Chunk]:
        return iterate(self.start, request)

    def tokenize(self, text: str, parse_special: bool = False) -> list[int]:
        if parse_special and text in self.control:
            return [0]
        return [len(piece) for piece in _PIECE.findall(text)]

    def tokenize_all(self, texts: Sequence[str], parse_special: bool = False) -> list[list[int]]:
        return [self.tokenize(text, parse_special) for text in texts]

    def find_token(self, text: str) -> int | None:
        return None

    def likelihoods(
        self,
        texts: Sequence[str],
        answers: Sequence[str],
        adapter: str | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[list[float]]:
        if self.held is not None:
            self.running += 1
            while not cancelled():
                time.sleep(0.005)
            self.running -= 1
            raise EngineError("the question was cancelled")
        return [[-0.5] * len(self.tokenize(answer)) for answer in answers]

    def close(self) -> None:
        return


def _logprobs(piece: str, request: Request) -> tuple[TokenLogprob, ...]:
    if request.logprobs is None:
        return ()
    entry = TokenLogprob(len(piece), piece, tuple(piece.encode()), -0.5)
    other = TokenLogprob(0, "other", tuple(b"other"), -1.5)
    return (TokenLogprob(entry.token, entry.text, entry.bytes, -0.5, (entry, other)[: request.logprobs]),)


class FakeServing:
    """One base called `fake` and an adapter called `tuned`."""

    spec = MODEL

    def __init__(self, engine: ScriptedEngine, fim_tokens: FimTokens | None = None) -> None:
        self.engine = engine
        self.fim_tokens = fim_tokens

    def health(self) -> dict[str, Any]:
        return {"status": "ok", "model": MODEL}

    async def models(self) -> list[dict[str, Any]]:
        return [{"id": MODEL, "created": 0}, {"id": "tuned", "created": 0}]

    @asynccontextmanager
    async def lease(self, model: str | None) -> AsyncIterator[Lease]:
        if model not in (None, MODEL, "tuned"):
            raise UnknownModel(f"this gateway has no model called {model:.80}")
        base = BaseModel(MODEL, None, None, None, CONTEXT)
        adapter = AdapterVersion("tuned", "1" * 64, MODEL, "2" * 64, Path(), "") if model == "tuned" else None
        yield Lease(self.engine, ServedModel(MODEL, base, adapter), self.fim_tokens, CONTEXT)


def gateway(engine: ScriptedEngine, fim_tokens: FimTokens | None = None, limits: Limits | None = None) -> Gateway:
    endpoints = Endpoints(FakeServing(engine, fim_tokens), limits or Limits())  # type: ignore[arg-type]
    return Gateway(endpoints.routes(), endpoints.status, KEY)


def client(app: Gateway) -> httpx.AsyncClient:
    """Requests to the application in this process."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    return httpx.AsyncClient(
        base_url="http://127.0.0.1", transport=transport, headers={"Authorization": f"Bearer {KEY}"}, timeout=60
    )


@contextmanager
def listening(app: Gateway) -> Iterator[str]:
    """The application on a real socket of the loopback; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=TimedConnection, lifespan="off", access_log=False, log_level="critical", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


def events(response: httpx.Response) -> list[Any]:
    """The decoded events of a streamed answer, the end mark as it is."""
    assert response.headers["content-type"].startswith("text/event-stream")
    *lines, rest = response.text.split("\n\n")
    assert rest == ""
    data = [line.removeprefix("data: ") for line in lines]
    return [entry if entry == "[DONE]" else json.loads(entry) for entry in data]


class Caller:
    """One request by ASGI's own messages, for what no HTTP client can do: to stop sending, to leave in the middle."""

    def __init__(self, app: Gateway, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._app = app
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        given = {"host": "localhost", "authorization": f"Bearer {KEY}", **(headers or {})}
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        self.say(body)

    def say(self, *pieces: bytes, more: bool = False) -> None:
        """Sends a body, in place of what has not been read yet."""
        while not self._incoming.empty():
            self._incoming.get_nowait()
        for index, piece in enumerate(pieces):
            self._incoming.put_nowait(
                {"type": "http.request", "body": piece, "more_body": more or index + 1 < len(pieces)}
            )

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def run(self) -> None:
        await self._app(self.scope, self._incoming.get, self._send)

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.changed.set()

    @property
    def status(self) -> int | None:
        return next((message["status"] for message in self.sent if message["type"] == "http.response.start"), None)


async def until(happened: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happened():
            return True
        await asyncio.sleep(0.005)
    return False
