"""One server behind the gateway: whether it is up, what it serves, and the requests to it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from assistant.engines.remote import connections, error_message, read_key
from assistant.gateway import fleet_vllm
from assistant.gateway.fleet_settings import ServerSettings
from assistant.gateway.fleet_stream import MOST_BYTES, OversizeError, Passed, event_blocks
from assistant.prompts import FimTokens

if TYPE_CHECKING:
    import httpx

CHECK_TIMEOUT = 5.0
_RECHECK_SECONDS = 0.5
"""A server that was looked at so short a time ago is not looked at again."""
_STRIKES = 2
"""Looks in a row that a server may leave unanswered before it counts as down: a busy one may be late once."""

Kind = Literal["hone", "vllm", "other"]
_Result = TypeVar("_Result")


class LostError(Exception):
    """The connection failed or broke, or the server has lost the model. `sent`: it may have worked on the request."""

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class FailedError(Exception):
    """The server answered that it cannot, for reasons of its own. `busy`: only now; `wait`: seconds it asked for."""

    def __init__(self, message: str, busy: bool = False, wait: float | None = None) -> None:
        super().__init__(message)
        self.busy = busy
        self.wait = wait


class RefusedError(Exception):
    """The request itself is wrong; every server would say so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """An answer that has begun. Either `content` is all of it, or `blocks` gives its events as they come.

    `blocks` raises LostError when it breaks off.
    """

    headers: Mapping[str, str]
    content: bytes | None
    blocks: AsyncIterator[bytes]


class Server:
    """Belongs to one event loop. `up`, `detail`, `models` and `kind` are what the last look at it found.

    Raises:
        HoneError: its key cannot be read.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.name = settings.name
        self.up = False
        self.detail = "not looked at yet"
        self.models: dict[str, dict[str, Any]] = {}
        """The entries of its list, by id."""
        self.kind: Kind = "other"
        self.fim_tokens: FimTokens | None = None
        """Of a vLLM's base model."""
        self.active = 0
        """Requests that it has now."""
        self._http = connections(settings.url, read_key(settings.key_env, settings.key_file))
        self._down = asyncio.Event()
        self._strikes = 0
        self._checked = -1e9
        self._checking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
        await self._http.aclose()

    async def check(self) -> None:
        """Looks whether it is up and what it serves; callers at the same time share one look."""
        if self._checking is None or self._checking.done():
            if asyncio.get_running_loop().time() - self._checked < _RECHECK_SECONDS:
                return
            self._checking = asyncio.create_task(self._check())
        await asyncio.shield(self._checking)

    def suspect(self) -> None:
        """Sends it nothing until it has been looked at again, at once."""
        self.up = False
        self._checked = -1e9
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        import httpx

        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await self._ask_health()
                self.models = await self._list()
                await self._learn()
        except (TimeoutError, httpx.TimeoutException):
            self._strikes += 1
            if self._strikes >= _STRIKES or not self.up:
                self._set_down(f"it does not answer within {CHECK_TIMEOUT:g} seconds")
        except httpx.HTTPError as error:
            self._set_down(f"the connection failed: {error or type(error).__name__}")
        except FailedError as error:
            self._set_down(str(error))
        else:
            self._set_up()
        finally:
            self._checked = asyncio.get_running_loop().time()

    def _set_up(self) -> None:
        if not self.up:
            _log(f"server {self.name} is up")
        self.up, self.detail, self._strikes = True, "", 0
        self._down.clear()

    def _set_down(self, reason: str) -> None:
        if self.up or reason != self.detail:
            _log(f"server {self.name} is down: {reason}")
        self.up, self.detail = False, reason
        self._down.set()

    async def _learn(self) -> None:
        """What kind it is, and of a vLLM that was down until now how it fills in the middle."""
        owners = [entry.get("owned_by") for entry in self.models.values()]
        self.kind = "hone" if "hone" in owners else "vllm" if "vllm" in owners else "other"
        if self.kind == "vllm" and not self.up:
            base = next(name for name, entry in self.models.items() if entry.get("owned_by") == "vllm")
            try:
                self.fim_tokens = await fleet_vllm.find_fim_tokens(self._http, self.settings.url, base)
            except fleet_vllm.NoTokensError:
                self.fim_tokens = None

    async def _ask_health(self) -> None:
        """vLLM says here that its engine died, and Hone that it still loads; other servers have no such path."""
        root = self.settings.url.removesuffix("/v1")
        response = await self._http.get(f"{root}/health")
        if response.status_code >= 500:
            raise FailedError(f"its health check says {response.status_code}")
        if response.status_code == 200 and "json" in response.headers.get("content-type", ""):
            loaded = _object(response.content)
            status = loaded.get("status", "ok")
            if status in ("loading", "failed"):
                raise FailedError(f"its model is {status}: {loaded.get('error') or loaded.get('detail') or ''}".strip())

    async def _list(self) -> dict[str, dict[str, Any]]:
        response = await self._http.get(f"{self.settings.url}/models")
        if response.status_code in (401, 403):
            raise FailedError("it refuses the key; set key_env or key_file")
        if response.is_redirect:
            raise FailedError("it redirects, which is not followed; set the address that it redirects to")
        if response.status_code != 200:
            raise FailedError(f"it answers {response.status_code} when asked for its models")
        entries = _object(response.content).get("data")
        if not isinstance(entries, list):
            raise FailedError("it does not list models in OpenAI's form; is the address right?")
        return {entry["id"]: entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}

    async def load_adapter(self, name: str, path: str) -> None:
        """Tells vLLM to load an adapter.

        Raises:
            NotLoadedError: it did not.
        """
        await fleet_vllm.load_adapter(self._http, self.settings.url, name, path)
        base = next((entry for entry in self.models.values() if not entry.get("parent")), {"id": name})
        self.models[name] = {**base, "id": name, "parent": base["id"]}
        _log(f"server {self.name} has loaded {name}")

    async def tokenize(self, model: str, texts: Sequence[str]) -> list[list[int]]:
        """By vLLM's own tokenizer.

        Raises:
            LostError, FailedError: as for `answer`.
        """
        import httpx

        try:
            return await self._unless_down(fleet_vllm.tokenize(self._http, self.settings.url, model, texts))
        except fleet_vllm.NoTokensError as error:
            raise FailedError(str(error)) from error
        except httpx.HTTPError as error:
            self.suspect()
            raise LostError(f"the connection to {self.name} broke", sent=True) from error

    @asynccontextmanager
    async def answer(self, path: str, body: Mapping[str, Any], stream: bool, seconds: float) -> AsyncIterator[Answer]:
        """The answer to one request, once its first event is there (or all of it, when it does not stream).

        Leaving the block closes the connection, by which the server learns that nobody waits any more.

        Args:
            path: as this gateway has it.
            seconds: that the request may still take; for servers that want to know.

        Raises:
            LostError, FailedError, RefusedError: as they say; nothing of an answer has been seen then.
        """
        import httpx

        url = self.settings.url.removesuffix("/v1") + path
        if path.startswith("/v1/"):
            url = self.settings.url + path.removeprefix("/v1")
        headers = {"X-Hone-Deadline": f"{max(seconds, 0.001):.3f}"} if self.kind == "hone" else {}
        request = self._http.build_request("POST", url, json=dict(body), headers=headers)
        self.active += 1
        try:
            response = await self._unless_down(self._send(request))
            try:
                if response.status_code != 200:
                    raise self._error(response, await self._unless_down(_read(response)), body.get("model"))
                if not stream or "json" in response.headers.get("content-type", ""):
                    content = await self._unless_down(_read(response))
                    _object(content)
                    yield Answer(response.headers, content, _nothing())
                    return
                async with aclosing(event_blocks(response.aiter_bytes())) as blocks:
                    first = await self._unless_down(_first(blocks))
                    yield Answer(response.headers, None, self._blocks(first, blocks))
            finally:
                await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self.suspect()
            raise LostError(f"{self.name} cannot be reached", sent=False) from error
        except httpx.HTTPError as error:
            self.suspect()
            raise LostError(f"the connection to {self.name} broke", sent=True) from error
        except OversizeError as error:
            raise FailedError(f"it sent more than {MOST_BYTES // 2**20} MiB") from error
        finally:
            self.active -= 1

    async def _send(self, request: "httpx.Request") -> "httpx.Response":
        return await self._http.send(request, stream=True)

    async def _blocks(self, first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        import httpx

        try:
            yield first
            async for block in rest:
                yield block
        except (httpx.HTTPError, OversizeError) as error:
            self.suspect()
            raise LostError(f"the connection to {self.name} broke in the middle of the answer", sent=True) from error

    def _error(self, response: "httpx.Response", body: bytes, model: Any) -> Exception:
        status, told = response.status_code, error_message(body)
        if status in (429, 503):
            return FailedError(f"it is busy: {told}", True, _seconds(response.headers.get("retry-after")))
        if response.is_redirect:
            self._set_down("it redirects, which is not followed; set the address that it redirects to")
            return FailedError("it redirects, which is not followed")
        if status in (401, 403):
            self._set_down("it refuses the key; set key_env or key_file")
            return FailedError("it refuses the gateway's key")
        if status == 404 and "model" in told.lower():
            # A vLLM that was started again has lost the adapters that it was told to load.
            self.models.pop(model, None)
            return LostError(f"{self.name} does not have the model any more", sent=False)
        if status in (404, 408, 425) or status >= 500:
            return FailedError(f"it answered {status}: {told}")
        return RefusedError(status, told)

    async def _unless_down(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Gives up waiting when a look at the server finds it down.

        Raises:
            LostError: it is.
        """
        task, down = asyncio.ensure_future(work), asyncio.ensure_future(self._down.wait())
        try:
            await asyncio.wait({task, down}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise LostError(f"{self.name} does not answer any more", sent=True)
        finally:
            for each in (task, down):
                each.cancel()
            await asyncio.gather(task, down, return_exceptions=True)


async def _first(blocks: AsyncIterator[bytes]) -> bytes:
    """
    Raises:
        FailedError: there is none, or it tells of an error.
    """
    async for block in blocks:
        passed = Passed()
        passed.add_events(block)
        if passed.failure is not None:
            raise FailedError(passed.failure)
        return block
    raise FailedError("it ended an answer before it began")


async def _read(response: "httpx.Response") -> bytes:
    data = bytearray()
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > MOST_BYTES:
            raise OversizeError
    return bytes(data)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _object(content: bytes) -> dict[str, Any]:
    try:
        loaded = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FailedError("it answers with something that is not JSON; is the address right?") from error
    if not isinstance(loaded, dict):
        raise FailedError("it answers with something that is no JSON object; is the address right?")
    return loaded


def _seconds(value: str | None) -> float | None:
    """Of a Retry-After header; dates are not read."""
    try:
        return min(max(float(value), 0.0), 60.0) if value else None
    except ValueError:
        return None


def _log(line: str) -> None:
    print(f"hone: {line}", file=sys.stderr)  # noqa: T201
