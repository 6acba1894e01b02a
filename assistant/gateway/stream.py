"""From an engine's chunks to an HTTP answer: whole or as server-sent events, cancelled when the client leaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from assistant.engines.base import Chunk, Engine, Request, Usage
from assistant.errors import EngineError, HoneError
from assistant.gateway.openai import Answer, error_body, error_event

# The Asynchronous Server Gateway Interface's own types are open dictionaries.
Scope = dict[str, Any]
Receive = Any
Send = Any

_JSON_HEADERS = [(b"content-type", b"application/json")]
_EVENT_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class ClientLeftError(Exception):
    """Nobody waits for the answer any more."""


class Chunks:
    """The chunks of one generation, in the event loop.

    The engine's thread wakes the loop once per chunk; what came meanwhile is taken along.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Chunk | HoneError | ClientLeftError] = asyncio.Queue()

    def emit(self, item: Chunk | HoneError) -> None:
        # The loop is closed when the gateway stops in the middle of an answer.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    def leave(self) -> None:
        self._queue.put_nowait(ClientLeftError())

    async def next(self) -> list[Chunk]:
        """At least one chunk, and those that are there already.

        Raises:
            ClientLeftError: the client closed the connection.
            HoneError: the generation failed.
        """
        items = [await self._queue.get()]
        while not self._queue.empty():
            items.append(self._queue.get_nowait())
        chunks = [item for item in items if isinstance(item, Chunk)]
        failures = [item for item in items if not isinstance(item, Chunk)]
        if failures:
            raise failures[0]
        return chunks


@asynccontextmanager
async def generation(engine: Engine, request: Request, receive: Receive) -> AsyncIterator[Chunks]:
    """Runs a request; leaving the block cancels it, and so does the client by closing the connection."""
    chunks = Chunks()
    cancel = engine.start(request, chunks.emit)
    watch = asyncio.create_task(_watch(receive, chunks))
    try:
        yield chunks
    finally:
        watch.cancel()
        cancel()


async def _watch(receive: Receive, chunks: Chunks) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    chunks.leave()


async def send_json(send: Send, status: int, body: Any, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    data = json.dumps(body, separators=(",", ":")).encode()
    length = (b"content-length", str(len(data)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*_JSON_HEADERS, length, *(headers or [])]})
    await send({"type": "http.response.body", "body": data})


async def send_error(send: Send, error: HoneError) -> None:
    status, body = error_body(error)
    await send_json(send, status, body)


async def send_whole(running: AbstractAsyncContextManager[Chunks], answer: Answer, send: Send) -> None:
    """
    Raises:
        HoneError: the generation failed; nothing was sent.
    """
    pieces: list[str] = []
    async with running as chunks:
        while True:
            for chunk in await chunks.next():
                pieces.append(chunk.text)
                if chunk.finish_reason is not None:
                    reason, usage = _ended(chunk)
                    await send_json(send, 200, answer.whole("".join(pieces), reason, usage))
                    return


async def send_events(running: AbstractAsyncContextManager[Chunks], answer: Answer, send: Send) -> None:
    """
    Raises:
        HoneError: the generation failed before its first chunk; nothing was sent, so a status can still say it.
    """
    async with running as chunks:
        first = await chunks.next()
        await send({"type": "http.response.start", "status": 200, "headers": _EVENT_HEADERS})
        opening = answer.opening_event()
        try:
            ended = await _send_chunks(send, first, answer, opening)
            while not ended:
                ended = await _send_chunks(send, await chunks.next(), answer)
        except HoneError as error:
            await send({"type": "http.response.body", "body": error_event(error).encode()})


async def _send_chunks(send: Send, chunks: list[Chunk], answer: Answer, opening: str = "") -> bool:
    events = [opening]
    ended = False
    for chunk in chunks:
        if chunk.text:
            events.append(answer.text_event(chunk.text))
        if chunk.finish_reason is not None:
            events.append(answer.closing_events(*_ended(chunk)))
            ended = True
    await send({"type": "http.response.body", "body": "".join(events).encode(), "more_body": not ended})
    return ended


def _ended(chunk: Chunk) -> tuple[str, Usage]:
    assert chunk.usage is not None
    assert chunk.finish_reason is not None
    if chunk.finish_reason == "cancelled":
        raise EngineError("the generation was cancelled because the gateway is stopping")
    return chunk.finish_reason, chunk.usage
