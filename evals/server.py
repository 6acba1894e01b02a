"""A client of any server with OpenAI's API: vLLM, llama.cpp, Ollama, transformers, a hosted one, or another Hone."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from assistant.client import Delta
from assistant.engines.remote import base_url, error_message, is_local
from assistant.errors import EngineError, HoneError, UnknownModel

if TYPE_CHECKING:
    import httpx

_TRANSIENT = frozenset({408, 409, 425, 429, *range(500, 600)} - {501})
_ABSENT = frozenset({404, 405, 501})
_CONNECT_SECONDS = 20.0
_SILENCE_SECONDS = 600.0
"""A server that sends nothing for as long has lost the request."""
_MAX_STOPS = 4
"""What OpenAI takes; `evals.subjects` ends the answer itself at the others."""
_OPTIONAL = ("stream_options", "seed", "top_p")
"""Fields that some servers refuse and an answer can do without."""


TOP_P = 0.95
"""Of all sampling above temperature 0: as our own gateway samples, and the published HumanEval scores."""
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits before a request is sent again."""


class TransientError(EngineError):
    """The server failed in a way that may pass.

    Args:
        wait: seconds that it asked to be left alone.
        busy: it said itself that it cannot answer now.
    """

    def __init__(self, message: str, wait: float | None = None, busy: bool = False) -> None:
        super().__init__(message)
        self.wait = wait
        self.busy = busy


class Server:
    """Blocking calls, from any thread. The same `chat` and `complete` as `assistant.client.Client`.

    Every method raises TransientError when the same call may work later, and HoneError with the server's own line when
    it refuses.
    """

    def __init__(self, url: str, key: str | None, model: str) -> None:
        import httpx

        self._url = base_url(url)
        self._model = model
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS, pool=None),
            # Proxies of the environment are for other machines.
            trust_env=not is_local(self._url),
        )
        self._lock = threading.Lock()
        self._refused: set[str] = set()

    def close(self) -> None:
        self._http.close()

    @property
    def refused(self) -> frozenset[str]:
        """Optional fields that the server did not take and that were left out from then on."""
        return frozenset(self._refused)

    def models(self) -> list[dict[str, Any]]:
        """What `/models` lists; each entry has an `id`."""
        with self._errors():
            response = self._http.get(f"{self._url}/models")
        if response.status_code != 200:
            raise self._error(response.status_code, response.content, response.headers)
        try:
            return [dict(entry, id=str(entry["id"])) for entry in response.json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise HoneError(
                f"{self._url}/models does not list models in OpenAI's form; is the address right?"
            ) from error

    def completes(self) -> bool:
        """Whether it continues a raw prompt (`/completions`); chat is what every server has.

        Raises:
            TransientError, HoneError: it has the endpoint but did not answer one token.
        """
        body = {"model": self._model, "prompt": "1", "max_tokens": 1}
        with self._errors():
            response = self._http.post(f"{self._url}/completions", content=_encode(body))
        if response.status_code == 200:
            return True
        if response.status_code in _ABSENT:
            return False
        raise self._error(response.status_code, response.content, response.headers)

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int = 1024,
        temperature: float = 0.2,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[Delta]:
        """Streams the next message of a conversation."""
        body = {"messages": [dict(message) for message in messages]}
        return self._stream("/chat/completions", body | self._sampling(model, max_tokens, temperature, seed, stop))

    def complete(
        self,
        prompt: str,
        model: str | None = None,
        max_tokens: int = 64,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        parse_special: bool = False,
        verbatim: Sequence[tuple[int, int]] = (),
    ) -> Iterator[Delta]:
        """Streams what follows a prompt. `parse_special` and `verbatim` are for a Hone gateway: other servers always
        read special tokens in a prompt as such."""
        body: dict[str, Any] = {"prompt": prompt}
        if not parse_special:
            body["parse_special"] = False
        if verbatim:
            body["verbatim"] = [list(span) for span in verbatim]
        return self._stream("/completions", body | self._sampling(model, max_tokens, temperature, seed, stop))

    def _sampling(
        self, model: str | None, max_tokens: int, temperature: float, seed: int | None, stop: Sequence[str]
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model or self._model,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if temperature > 0:
            body["top_p"] = TOP_P
        if seed is not None:
            body["seed"] = seed
        if stop:
            body["stop"] = list(stop[:_MAX_STOPS])
        return body

    def _stream(self, path: str, body: dict[str, Any]) -> Iterator[Delta]:
        """Sends the request, again without a field that the server says it does not take."""
        while True:
            for refused in self._refused & body.keys():
                value = body.pop(refused)
                if refused == "max_tokens":
                    body["max_completion_tokens"] = value
            with self._errors(), self._http.stream("POST", self._url + path, content=_encode(body)) as response:
                if response.status_code == 200:
                    yield from _deltas(response)
                    return
                content = response.read()
            field = _named_field(response.status_code, content, body)
            if field is None:
                raise self._error(response.status_code, content, response.headers)
            with self._lock:
                self._refused.add(field)

    def _error(self, status: int, body: bytes, headers: Mapping[str, str]) -> HoneError:
        message = f"{self._url} answered {status}: {error_message(body)}"
        if status in _TRANSIENT:
            return TransientError(message, _seconds(headers.get("retry-after")), busy=True)
        if status in (401, 403):
            return HoneError(f"{message}; give the server's key by --key")
        if status == 404 and "model" in error_message(body).lower():
            return UnknownModel(message)
        return HoneError(message)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise TransientError(f"the connection to {self._url} broke ({reason})") from error


def _deltas(response: "httpx.Response") -> Iterator[Delta]:
    """The pieces of one answer; the last one comes when the server has ended it and holds the token counts it sent.

    Raises:
        TransientError: the answer broke off, or is not what the API promises.
    """
    finish, usage = None, None
    try:
        for event in _events(response):
            if "error" in event:
                raise TransientError(
                    f"the server failed in the middle of an answer: {error_message(json.dumps(event).encode())}"
                )
            usage = event.get("usage") or usage
            for choice in event.get("choices") or ():
                part = choice.get("delta") or choice.get("message")
                text = part.get("content") if part else choice.get("text")
                finish = choice.get("finish_reason") or finish
                if text:
                    yield Delta(str(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise TransientError(f"the server's answer is not in OpenAI's form ({error})") from error
    if finish is None:
        raise TransientError("the server ended an answer in the middle")
    counts = {name: (usage or {}).get(name) for name in ("prompt_tokens", "completion_tokens")}
    yield Delta(finish_reason=str(finish), details=counts)


def _events(response: "httpx.Response") -> Iterator[dict[str, Any]]:
    """JSON objects of a stream of server-sent events; one object when the server did not stream.

    Lines are split at bytes: JSON may hold the other line ends that text has.
    """
    if "json" in response.headers.get("content-type", ""):
        yield json.loads(response.read())
        return
    buffer, data = b"", list[bytes]()
    # Some servers do not end the last event.
    for piece in chain(response.iter_bytes(), [b"\n\n"]):
        *lines, buffer = (buffer + piece).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r")
            if text.startswith(b"data:"):
                data.append(text[5:].removeprefix(b" "))
            elif not text and data:
                whole = b"\n".join(data)
                data = []
                if whole == b"[DONE]":
                    return
                yield json.loads(whole)


def _named_field(status: int, content: bytes, body: Mapping[str, Any]) -> str | None:
    """The optional field of `body` that a refusal is about."""
    if status not in (400, 422):
        return None
    complaint = error_message(content)
    if "max_completion_tokens" in complaint and "max_tokens" in body:
        return "max_tokens"
    optional = [*_OPTIONAL, "parse_special", "verbatim"]
    return next((field for field in optional if field in complaint and field in body), None)


def _seconds(value: str | None) -> float | None:
    """Of a Retry-After header; dates are not read."""
    try:
        return min(max(float(value), 0.0), 60.0) if value else None
    except ValueError:
        return None


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise HoneError("the prompt has characters that are no text (unpaired surrogates)") from error
