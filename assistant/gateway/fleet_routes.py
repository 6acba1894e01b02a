"""What the paths of a gateway in front of other servers do.

A request goes to another server when the first one fails before anything of its answer has come. Once an answer has
begun to stream it is never asked for again: what breaks off then ends with an error event.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from assistant.answer_counts import Recorder, measured
from assistant.errors import HoneError
from assistant.gateway import openai, outcomes
from assistant.gateway.admission import Admission, Limits, seconds_allowed
from assistant.gateway.app import Endpoint, Exchange, Routes
from assistant.gateway.body import ClientLeftError
from assistant.gateway.failures import (
    BusyError,
    DeadlineError,
    NoServerError,
    ServerFailedError,
    error_event,
    failure,
)
from assistant.gateway.fleet import Fleet, Target
from assistant.gateway.fleet_request import APPLY_TEMPLATE, TOKENIZE, Forwarded, parse
from assistant.gateway.fleet_server import Answer, FailedError, LostError, RefusedError, Server
from assistant.gateway.fleet_stream import Passed
from assistant.gateway.stream import Headers, while_connected
from assistant.gateway.told import Told
from assistant.prompts import CompletionMode

_MOST_FAILED = 3
"""A request on which so many servers failed after they had it may be the reason; it goes to no further one."""
_TURNS = 3
"""Times the number of servers: so often one is chosen, in case some go up and down again and again."""
_PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/fim/completions",
    TOKENIZE,
    APPLY_TEMPLATE,
    "/v1/likelihoods",
    "/infill",
    "/completion",
)


class FleetEndpoints:
    """One method for each path; `routes` says which."""

    def __init__(self, fleet: Fleet, limits: Limits, counting: Recorder | None = None) -> None:
        self._fleet = fleet
        self._limits = limits
        self._counting = counting
        self._admission = Admission(limits.queue)
        self._journal = outcomes.Journal()

    def routes(self) -> Routes:
        forwarding = {path: {"POST": self._forwarding(path)} for path in _PATHS}
        return {
            "/health": {"GET": self._health},
            "/v1/models": {"GET": self._models},
            **forwarding,
            **Told(self._journal, self._fleet.spec).routes(),
        }

    def status(self) -> str:
        return str(self._fleet.health()["status"])

    async def _health(self, exchange: Exchange) -> None:
        await exchange.reply(200, {**self._fleet.health(), "requests": self._admission.taken})

    async def _models(self, exchange: Exchange) -> None:
        seconds = seconds_allowed({}, exchange.headers, self._limits.deadline)
        try:
            async with asyncio.timeout(seconds):
                models = await while_connected(self._fleet.models(), exchange.receive)
        except TimeoutError as error:
            raise DeadlineError(f"the request was not answered within its {seconds:g} seconds") from error
        await exchange.reply(200, openai.model_list(models))

    def _forwarding(self, path: str) -> Endpoint:
        async def endpoint(exchange: Exchange) -> None:
            body = await exchange.body()
            forwarded = parse(path, body)
            seconds = seconds_allowed(body, exchange.headers, self._limits.deadline)
            with self._admission.place(forwarded.answers):
                await while_connected(self._in_time(forwarded, seconds, exchange), exchange.receive)

        return endpoint

    async def _in_time(self, forwarded: Forwarded, seconds: float, exchange: Exchange) -> None:
        expires = asyncio.get_running_loop().time() + seconds
        late = DeadlineError(f"the request was not answered within its {seconds:g} seconds")
        try:
            async with asyncio.timeout_at(expires):
                await self._answer(forwarded, expires, exchange)
        except TimeoutError as error:
            if not (exchange.answered and forwarded.stream):
                raise late from error
            await _end(exchange, late)

    async def _answer(self, forwarded: Forwarded, expires: float, exchange: Exchange) -> None:
        target = await self._fleet.resolve(forwarded.model)
        began = time.monotonic()
        failed: dict[str, FailedError] = {}
        lost: list[str] = []
        broken: list[str] = []
        for _ in range(_TURNS * len(self._fleet.servers)):
            try:
                server = await self._fleet.choose(target, forwarded.need, failed)
            except NoServerError as error:
                raise _all_failed(failed, error) from error
            left = expires - asyncio.get_running_loop().time()
            sent = forwarded.for_server(server.kind, target.name, server.fim_tokens)
            try:
                if forwarded.path == TOKENIZE and server.kind == "vllm":
                    tokens = await server.tokenize(target.name, sent.body["texts"])
                    await exchange.reply(200, {"model": target.name, "tokens": tokens}, [_server_header(server)])
                    return
                async with server.answer(forwarded.path, sent.body, forwarded.stream, left) as answer:
                    await self._pass_on(answer, _Passing(forwarded, target, server, sent.mode, began), exchange)
                    return
            except RefusedError as error:
                refusal = failure(str(error), "invalid_request_error")
                await exchange.reply(error.status, refusal, [_server_header(server)])
                return
            except (FailedError, LostError) as error:
                if exchange.answered:
                    return
                if isinstance(error, FailedError):
                    failed[server.name] = error
                elif error.sent:
                    lost.append(str(error))
            broken = [*lost, *(f"{name}: {error}" for name, error in failed.items() if not error.busy)]
            if len(broken) >= _MOST_FAILED:
                break
        raise ServerFailedError(f"the servers failed on this request: {'; '.join(broken)}")

    async def _pass_on(self, answer: Answer, passing: "_Passing", exchange: Exchange) -> None:
        """From here on nothing is asked again."""
        passed = Passed()
        if answer.content is None:
            await _stream(answer, passed, passing, exchange)
        else:
            passed.add(json.loads(answer.content))
            length = (b"content-length", str(len(answer.content)).encode())
            await _start(exchange, b"application/json", [*passing.headers(answer, passed), length])
            await exchange.send({"type": "http.response.body", "body": answer.content})
        if passed.identifier is not None:
            given = passing.given(passed)
            self._journal.add(passed.identifier, given)
            if self._counting is not None and given.texts:
                took = time.monotonic() - passing.began
                self._counting.add(
                    measured(given.model, given.source, given.texts, took, passed.completion_tokens, passed.cut)
                )


@dataclass(frozen=True)
class _Passing:
    """Which request's answer comes from which server."""

    forwarded: Forwarded
    target: Target
    server: Server
    mode: CompletionMode | None
    began: float
    """When the request came, by the monotonic clock."""

    def headers(self, answer: Answer, passed: Passed) -> Headers:
        """What the answer says in its head; gives it an id when it has none."""
        passed.identifier = passed.identifier or f"cmpl-{secrets.token_hex(12)}"
        headers = [
            (b"x-hone-id", quote(passed.identifier, safe="-_.:@").encode()),
            (b"x-hone-model", quote(self.target.name, safe="/@:+").encode()),
            _server_header(self.server),
        ]
        mode = self.mode or answer.headers.get("x-hone-completion-mode")
        if mode in ("fim", "prefix"):
            headers.append((b"x-hone-completion-mode", mode.encode()))
        return headers

    def given(self, passed: Passed) -> outcomes.Given:
        asked, adapter = self.forwarded, self.target.adapter
        identifier = adapter.id if adapter else None
        return outcomes.Given(self.target.name, identifier, asked.source, asked.language, asked.prompt, passed.choices)


async def _stream(answer: Answer, passed: Passed, passing: _Passing, exchange: Exchange) -> None:
    try:
        async for block in answer.blocks:
            passed.add_events(block)
            if not exchange.answered:
                events = (b"cache-control", b"no-cache")
                kind = b"text/event-stream; charset=utf-8"
                await _start(exchange, kind, [*passing.headers(answer, passed), events])
            await exchange.send({"type": "http.response.body", "body": block, "more_body": True})
        if not passed.ended and passed.failure is None:
            raise LostError(f"{passing.server.name} ended the answer in the middle", sent=True)
    except LostError as error:
        await _end(exchange, ServerFailedError(str(error)))
    else:
        await exchange.send({"type": "http.response.body", "body": b""})


async def _start(exchange: Exchange, kind: bytes, headers: Headers) -> None:
    await exchange.send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind), *headers]})


async def _end(exchange: Exchange, error: HoneError) -> None:
    """Tells in a stream that has begun why it ends."""
    with suppress(ClientLeftError):
        await exchange.send({"type": "http.response.body", "body": error_event(error).encode()})


def _server_header(server: Server) -> tuple[bytes, bytes]:
    return b"x-hone-server", server.name.encode()


def _all_failed(failed: Mapping[str, FailedError], nobody: NoServerError) -> HoneError:
    """What to tell when no further server is left."""
    if not failed:
        return nobody
    told = "; ".join(f"{name}: {error}" for name, error in failed.items())
    if all(error.busy for error in failed.values()):
        waits = [error.wait for error in failed.values() if error.wait is not None]
        return BusyError(told, min(waits, default=nobody.retry_after))
    return ServerFailedError(told)
