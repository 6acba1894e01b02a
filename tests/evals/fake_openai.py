"""An OpenAI-compatible server on a real socket that answers by rule, and can fail in every way that servers do."""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Request:
    path: str
    body: Body
    authorization: str | None
    began: float
    ended: float
    """When the answer was ready; the client may have it before the server's thread runs again."""

    @property
    def question(self) -> str:
        return question(self.body)


def question(body: Body) -> str:
    return str(body["prompt"] if "prompt" in body else body["messages"][-1]["content"])


def by_seed(body: Body) -> str:
    """Two answers to each question; which of them depends on the question and the seed alone."""
    digest = hashlib.sha256(f"{question(body)}:{body.get('seed')}".encode()).digest()
    return "right" if digest[0] % 2 else "wrong"


@dataclass
class FakeServer:
    """What it answers and how it fails; tests change it while it runs."""

    models: tuple[Body, ...] = ({"id": "small", "object": "model"},)
    answer: Callable[[Body], str] = by_seed
    chat_only: bool = False
    refuses: tuple[str, ...] = ()
    """Fields that it does not take."""
    fail: Callable[[Body, int], tuple[int, dict[str, str]] | None] = lambda body, number: None
    """Status and headers of a failure, from the request and how often it has come; status 0 breaks the answer off. Not
    of a request for one token."""
    loading: int = 0
    """So many requests are told to come again."""
    key: str | None = None
    usage: bool = True
    streams: bool = True
    piece: int = 3
    """Characters of each event."""
    chunk: int = 0
    """Bytes of each write; 0 writes whole events."""
    newline: str = "\n"
    ascii: bool = False
    """Escapes all other characters."""
    ends: bool = True
    """Sends a finish reason."""
    seconds: float = 0.0
    """Of each answer."""
    before: Callable[[Body], None] = lambda body: None
    """Called before an answer."""
    requests: list[Request] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def asked(self) -> list[str]:
        """The questions that came, but for the one token that tells whether there is `/completions`."""
        return [request.question for request in self.requests if request.body.get("max_tokens") != 1]


@contextmanager
def serve(**settings: Any) -> Iterator[FakeServer]:
    fake = FakeServer(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            return

        def do_GET(self) -> None:
            if self._refused_key():
                return
            self._send(200, {"object": "list", "data": list(fake.models)})

        def do_POST(self) -> None:
            self._began = time.monotonic()
            self._body: Body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                self._answer(self._body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _note(self) -> None:
            if self.command == "POST":
                given = self.headers.get("Authorization")
                fake.requests.append(Request(self.path, self._body, given, self._began, time.monotonic()))

        def _answer(self, body: Body) -> None:
            if self._refused_key():
                return
            if fake.chat_only and self.path.endswith("/v1/completions"):
                self._send(404, {"detail": "Not Found"})
                return
            wrong = next((name for name in fake.refuses if name in body), None)
            if wrong is not None:
                other = "; use 'max_completion_tokens' instead" if wrong == "max_tokens" else ""
                self._send(400, {"error": {"message": f"Unsupported parameter: '{wrong}'{other}"}})
                return
            if body["model"] not in [model["id"] for model in fake.models]:
                self._send(404, {"error": {"message": f"The model {body['model']!r} does not exist"}})
                return
            with fake.lock:
                fake.seen[question(body)] += 1
                fake.loading -= 1
                failure = None if body.get("max_tokens") == 1 else fake.fail(body, fake.seen[question(body)])
            if fake.loading >= 0:
                self._send(503, {"error": {"message": "loading the model"}})
                return
            fake.before(body)
            time.sleep(fake.seconds)
            if failure is not None and failure[0]:
                self._send(failure[0], {"error": {"message": "overloaded"}}, failure[1])
                return
            self._stream(body, broken=failure is not None)

        def _stream(self, body: Body, broken: bool) -> None:
            text = fake.answer(body)
            chat = "messages" in body
            limit = body.get("max_tokens") or body.get("max_completion_tokens") or 1 << 30
            reason = "stop"
            if len(text.split(" ")) > limit:
                text, reason = " ".join(text.split(" ")[:limit]), "length"
            counts = {"prompt_tokens": len(question(body).split()), "completion_tokens": len(text.split(" "))}
            if not body.get("stream") or not fake.streams:
                part: Body = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
                choice = {"index": 0, "finish_reason": reason, **part}
                self._send(200, {"choices": [choice], **({"usage": counts} if fake.usage else {})})
                return
            events: list[Body] = [{"choices": [{"delta": {"role": "assistant", "content": None}}]}] if chat else []
            for start in range(0, len(text), fake.piece):
                piece = text[start : start + fake.piece]
                events.append({"choices": [{"delta": {"content": piece}} if chat else {"text": piece}]})
            if fake.ends:
                events.append({"choices": [{"finish_reason": reason, **({"delta": {}} if chat else {"text": ""})}]})
            if fake.usage and body.get("stream_options"):
                events.append({"choices": [], "usage": counts})
            lines = ["data: " + json.dumps(event, ensure_ascii=fake.ascii) for event in events] + ["data: [DONE]"]
            if broken:
                lines = lines[: len(lines) // 2]
            data = "".join(f": ping{fake.newline}{line}{fake.newline * 2}" for line in lines).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            self._note()
            size = fake.chunk or len(data)
            for start in range(0, len(data), size):
                self.wfile.write(data[start : start + size])
                self.wfile.flush()

        def _refused_key(self) -> bool:
            if fake.key is None or self.headers.get("Authorization") == f"Bearer {fake.key}":
                return False
            self._send(401, {"error": {"message": "no key"}})
            return True

        def _send(self, status: int, body: Body, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(body).encode()
            self._note()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
