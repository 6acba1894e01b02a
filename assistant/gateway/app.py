"""The gateway as an ASGI application: who may ask, which route answers, and what an error becomes.

What the routes do stands in `routes.py`.
"""

import sys
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from assistant.errors import HoneError, UsageError
from assistant.gateway.auth import host_allowed, key_matches
from assistant.gateway.body import ClientLeftError, read_json
from assistant.gateway.failures import failure
from assistant.gateway.stream import Headers, Receive, Scope, Send, send_error, send_json


@dataclass
class Exchange:
    """One request and its answer."""

    headers: Mapping[bytes, bytes]
    query: Mapping[str, str]
    receive: Receive
    _send: Send
    answered: bool = field(default=False, init=False)
    """The answer has begun, so its status cannot change any more."""

    async def send(self, message: dict[str, Any]) -> None:
        self.answered = True
        await self._send(message)

    async def body(self) -> dict[str, Any]:
        return await read_json(self.receive, self.headers.get(b"content-length", b""))

    async def reply(self, status: int, body: Any, headers: Headers | None = None) -> None:
        await send_json(self.send, status, body, headers)


Endpoint = Callable[[Exchange], Awaitable[None]]
Routes = Mapping[str, Mapping[str, Endpoint]]
"""For each path, for each method."""


class Gateway:
    """The ASGI application.

    Args:
        routes: what there is.
        status: loading, ok or failed, the one thing that is told without the key.
        key: what every request must carry as its bearer key.
        host_names: further Host names to answer to.
    """

    def __init__(self, routes: Routes, status: Callable[[], str], key: str, host_names: Collection[str] = ()) -> None:
        self.routes = routes
        self._status = status
        self._key = key
        self._host_names = frozenset(name.lower() for name in host_names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        exchange = Exchange(dict(scope["headers"]), query, receive, send)
        try:
            await self._answer(scope["method"], scope["path"], exchange)
        except ClientLeftError:
            return
        except HoneError as error:
            await _fail(exchange, error)
        except RecursionError:
            await _fail(exchange, UsageError("the request is nested too deeply"))
        except Exception as error:
            # A bug. What it says may hold parts of a prompt, so only where it happened is logged.
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(f"hone: {type(error).__name__} at {where.filename}:{where.lineno}", file=sys.stderr)  # noqa: T201
            body = failure("the gateway failed on this request; its log says where", "server_error", "internal_error")
            if not exchange.answered:
                await exchange.reply(500, body)

    async def _answer(self, method: str, path: str, exchange: Exchange) -> None:
        headers = exchange.headers
        if not host_allowed(headers.get(b"host", b""), self._host_names):
            message = "this Host name is not served; use localhost or the address"
            await exchange.reply(403, failure(message, "permission_error", "host_not_allowed"))
            return
        if not key_matches(headers.get(b"authorization", b""), self._key):
            if path == "/health" and method == "GET" and b"authorization" not in headers:
                await exchange.reply(200, {"status": self._status()})
                return
            message = "no valid key: send the content of the gateway's key file as Authorization: Bearer KEY"
            body = failure(message, "authentication_error", "invalid_api_key")
            await exchange.reply(401, body, [(b"www-authenticate", b"Bearer")])
            return
        methods = self.routes.get(path)
        if methods is None:
            message = f"there is no {path:.80} here; there are {', '.join(self.routes)}"
            await exchange.reply(404, failure(message, "invalid_request_error", "unknown_url"))
            return
        endpoint = methods.get(method)
        if endpoint is None:
            allowed = ", ".join(methods)
            body = failure(f"{path} takes {allowed}", "invalid_request_error", "method_not_allowed")
            await exchange.reply(405, body, [(b"allow", allowed.encode())])
            return
        await endpoint(exchange)


async def _fail(exchange: Exchange, error: HoneError) -> None:
    """An answer that has begun simply ends."""
    if not exchange.answered:
        with suppress(ClientLeftError):
            await send_error(exchange.send, error)
