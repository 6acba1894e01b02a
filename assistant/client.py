"""A client of the gateway: of the one that `hone serve` runs, or of a private one that ends with the caller."""

import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.engines.base import TokenLogprob
from assistant.errors import EngineError, HoneError, UnknownModel
from assistant.gateway.admission import LONGEST_DEADLINE

if TYPE_CHECKING:
    import httpx

    from assistant.config import Settings
    from assistant.gateway.conversation import Conversation

_START_SECONDS = 20.0
_STOP_SECONDS = 6.0


@dataclass(frozen=True)
class Delta:
    """A piece of an answer. The last one has a finish reason and `details`, the gateway's `hone` field."""

    text: str = ""
    finish_reason: str | None = None
    details: dict[str, Any] | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class Cancellation:
    """Ends a running request from another thread, also while it waits for its first token.

    The connection is shut down, by which the gateway learns that nobody waits any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            self._shut_down()

    def connected(self, event: str, details: Mapping[str, Any]) -> None:
        """What httpcore calls with each step of a request (its `trace` extension)."""
        if event in ("connection.connect_tcp.complete", "connection.connect_unix_socket.complete"):
            with self._lock:
                self._socket = details["return_value"].get_extra_info("socket")
                if self._cancelled:
                    self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            # Refused when the connection has ended already.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class Client:
    """Blocking calls. Every method raises HoneError with the gateway's own line when it refuses or fails."""

    def __init__(self, http: "httpx.Client", model: str | None = None) -> None:
        self._http = http
        self._model = model

    def health(self) -> dict[str, Any]:
        """`status` (loading, ok, failed), `model`, `requests` (running), once loaded `base`, `context_length` and
        `adapters`, and `error` or `detail` when there is one."""
        return self._json("GET", "/health")

    def is_reached(self, seconds: float = 2.0) -> bool:
        """Whether anybody listens there; who takes longer than so many seconds to answer does."""
        import httpx

        try:
            self._http.get("/health", timeout=seconds)
        except httpx.TimeoutException:
            return True
        except httpx.HTTPError:
            return False
        return True

    def models(self) -> list[dict[str, Any]]:
        """What can be asked for, the default first; waits until the model is loaded, which may have to be fetched."""
        return list(self._json("GET", "/v1/models", deadline=LONGEST_DEADLINE)["data"])

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int = 1024,
        temperature: float = 0.2,
        seed: int | None = None,
        stop: Sequence[str] = (),
        json_schema: Mapping[str, Any] | None = None,
        logprobs: int | None = None,
        cancel: Cancellation | None = None,
    ) -> Iterator[Delta]:
        """Streams the next message of a conversation; closing the iterator cancels it, and so does `cancel`.

        Args:
            json_schema: the engine lets the answer be nothing but JSON that conforms to it.
            logprobs, cancel: as for `complete`.
        """
        body = {"messages": [dict(message) for message in messages], **_constrained(json_schema)}
        if logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": logprobs}
        body |= self._sampling(model, max_tokens, temperature, seed, stop)
        return self._stream("/v1/chat/completions", body, cancel)

    def complete(
        self,
        prompt: str | Sequence[int],
        model: str | None = None,
        max_tokens: int = 64,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        parse_special: bool = False,
        verbatim: Sequence[tuple[int, int]] = (),
        json_schema: Mapping[str, Any] | None = None,
        cancel: Cancellation | None = None,
        logprobs: int | None = None,
    ) -> Iterator[Delta]:
        """Streams what follows a prompt of text or token ids; closing the iterator cancels it, and so does `cancel`
        from another thread, upon which the iterator ends without a finish reason.

        Args:
            verbatim: parts of a prompt of text, by their first character and the one after their last, in which
                control tokens stay text whatever `parse_special` says.
            json_schema: as for `chat`.
            logprobs: how many of the likeliest tokens come with each token, at most 20; None gives no probabilities.
        """
        body: dict[str, Any] = {"prompt": prompt if isinstance(prompt, str) else list(prompt)}
        body |= {"parse_special": parse_special, "logprobs": logprobs, **_constrained(json_schema)}
        body |= self._sampling(model, max_tokens, temperature, seed, stop)
        if verbatim:
            body["verbatim"] = [list(span) for span in verbatim]
        return self._stream("/v1/completions", body, cancel)

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]:
        """Token ids of each text alone; special tokens spelled in it count as plain text."""
        answer = self._json("POST", "/v1/tokenize", {"model": model or self._model, "texts": list(texts)})
        return list(answer["tokens"])

    def render(self, messages: Sequence[Mapping[str, str]], model: str | None = None) -> "Conversation":
        """A conversation as `chat` gives it to the model: written out by its own template."""
        from assistant.gateway.conversation import Conversation

        body = {"model": model or self._model, "messages": [dict(message) for message in messages]}
        answer = self._json("POST", "/apply-template", body)
        return Conversation(answer["prompt"], tuple((start, end) for start, end in answer["verbatim"]))

    def likelihoods(self, texts: Sequence[str], answers: Sequence[str], model: str | None = None) -> list[list[float]]:
        """For each answer, the natural log-probability of each of its tokens.

        `texts[i]` stands before `answers[i]`; all follow each other in one context, so each answer is read given
        everything before it. Special tokens spelled in them count as plain text.
        """
        body = {"model": model or self._model, "texts": list(texts), "answers": list(answers)}
        return [list(row) for row in self._json("POST", "/v1/likelihoods", body)["logprobs"]]

    def _sampling(
        self, model: str | None, max_tokens: int, temperature: float, seed: int | None, stop: Sequence[str]
    ) -> dict[str, Any]:
        return {
            "model": model or self._model,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "stop": list(stop),
            "stream": True,
        }

    def _json(self, method: str, path: str, body: Any = None, deadline: float | None = None) -> dict[str, Any]:
        content = None if body is None else _encode(body)
        headers = {} if deadline is None else {"X-Hone-Deadline": f"{deadline:g}"}
        with _transport_errors():
            response = self._http.request(method, path, content=content, headers=headers)
        if response.status_code != 200:
            raise _error(response.status_code, response.content)
        return dict(response.json())

    def _stream(self, path: str, body: dict[str, Any], cancel: Cancellation | None = None) -> Iterator[Delta]:
        try:
            yield from self._deltas(path, body, {} if cancel is None else {"trace": cancel.connected})
        except EngineError:
            if cancel is None or not cancel.cancelled:
                raise

    def _deltas(self, path: str, body: dict[str, Any], extensions: dict[str, Any]) -> Iterator[Delta]:
        sent = self._http.stream("POST", path, content=_encode(body), extensions=extensions)
        with _transport_errors(), sent as response:
            if response.status_code != 200:
                raise _error(response.status_code, response.read())
            ended = False
            for event in _events(response.iter_raw()):
                if "error" in event:
                    raise _error(500, json.dumps(event).encode())
                choice = event["choices"][0]
                text = choice["delta"].get("content", "") if "delta" in choice else choice["text"]
                reason = choice["finish_reason"]
                logprobs = _logprobs(choice)
                if text or logprobs or reason is not None:
                    ended = reason is not None
                    yield Delta(text, reason, event.get("hone"), logprobs)
            if not ended:
                raise EngineError("the gateway ended the answer in the middle")


@contextmanager
def connect(settings: "Settings | None" = None, model: str | None = None, wait: bool = True) -> Iterator[Client]:
    """A client of a gateway that serves `model` (None: the settings' own).

    A running `hone serve` of this state folder is used when it serves the model's base; otherwise a private gateway is
    started, which stops with the block or with this process, however that ends.

    Args:
        wait: False returns before the model is loaded; requests then wait for it, and `Client.health` tells how far
            it is.

    Raises:
        HoneError: the model cannot be loaded (only with `wait`), or the gateway does not start.
    """
    if settings is None:
        from assistant.config import load_settings

        settings = load_settings()
    spec = model or settings.model
    shared = _shared(spec)
    if shared is not None:
        with closing(shared):
            yield Client(shared, spec)
        return
    with _private(spec, settings) as http:
        client = Client(http, spec)
        if wait:
            client.models()
        yield client


def _shared(spec: str) -> "httpx.Client | None":
    """The running gateway, when it answers and knows `spec`."""
    from assistant.gateway.process import find_running

    running = find_running()
    if running is None:
        return None
    try:
        key = Path(running.key_file).read_text("ascii").strip()
    except OSError:
        return None
    http = _http(running.url, running.uds, key)
    try:
        if running.model == spec and Client(http).health()["status"] != "failed":
            return http
        if any(entry["id"] == spec for entry in Client(http).models()):
            return http
    except HoneError:
        pass
    http.close()
    return None


@contextmanager
def _private(spec: str, settings: "Settings") -> Iterator["httpx.Client"]:
    from assistant.gateway.process import Service

    folder = Path(tempfile.mkdtemp(prefix="hone-"))
    uds, key = folder / "gateway.sock", "hone-" + secrets.token_urlsafe(32)
    config = {"service": asdict(Service.of(settings, spec)), "uds": str(uds), "key": key}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "assistant.gateway"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(config).encode() + b"\n")
                process.stdin.flush()
            if not process.stdout.readline():
                log.seek(0)
                reason = log.read().decode(errors="replace").strip().splitlines()
                raise EngineError(f"the gateway did not start: {reason[-1] if reason else 'it gave no reason'}")
            with _http("http://localhost", str(uds), key) as http:
                yield http
        finally:
            _stop(process)
            shutil.rmtree(folder, ignore_errors=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _http(url: str, uds: str | None, key: str) -> "httpx.Client":
    import httpx

    # Proxies of the environment are for other machines, and prompts take as long as they take. Each request has a
    # connection of its own: shutting it down ends that request and nothing else. On one machine that costs little.
    return httpx.Client(
        base_url=url,
        transport=httpx.HTTPTransport(uds=uds, limits=httpx.Limits(max_keepalive_connections=0)),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        timeout=httpx.Timeout(None, connect=_START_SECONDS),
        trust_env=False,
    )


def _logprobs(choice: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    def read(entry: Mapping[str, Any]) -> TokenLogprob:
        top = tuple(read(other) for other in entry.get("top_logprobs", ()))
        return TokenLogprob(entry["id"], entry["token"], tuple(entry["bytes"]), entry["logprob"], top)

    return tuple(read(entry) for entry in (choice.get("logprobs") or {}).get("content") or ())


def _constrained(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema)}}}


def _encode(body: Any) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise HoneError("the prompt has characters that are no text (unpaired surrogates)") from error


def _events(pieces: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Decodes server-sent events, one JSON object each, until the end mark."""
    buffer = b""
    for piece in pieces:
        buffer += piece
        *whole, buffer = buffer.split(b"\n\n")
        for event in whole:
            data = event.removeprefix(b"data: ")
            if data == b"[DONE]":
                return
            yield json.loads(data)


def _error(status: int, body: bytes) -> HoneError:
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"the gateway answered with status {status}"
    if status == 404:
        return UnknownModel(message)
    # A gateway with too many requests takes this one later, so it is like a failure that passes.
    return EngineError(message) if status >= 500 or status == 429 else HoneError(message)


@contextmanager
def _transport_errors() -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise EngineError(f"the connection to the gateway broke ({reason}); send the request again") from error
