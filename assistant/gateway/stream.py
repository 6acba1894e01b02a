"""From an engine's chunks to an HTTP answer: whole or as server-sent events, cancelled when the client leaves or the
time is over."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from assistant.engines.base import Cancel, Chunk, Emit, Request
from assistant.errors import EngineError, HoneError
from assistant.gateway.body import ClientLeftError
from assistant.gateway.failures import DeadlineError, error_body, error_event, error_headers
from assistant.gateway.results import Result, Writer

# The Asynchronous Server Gateway Interface's own types are open dictionaries.
Scope = dict[str, Any]
Receive = Any
Send = Any
Headers = list[tuple[bytes, bytes]]

_Made = TypeVar("_Made")
_JSON_HEADERS = [(b"content-type", b"application/json")]
_EVENT_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_LATE = "the time for this request was over before anything was generated; allow more by `deadline`, in seconds"


class Chunks:
    """The chunks of the answers to one request, in the event loop.

    The engine's thread wakes the loop once per chunk; what came meanwhile is taken along.
    """

    def __init__(self, count: int) -> None:
        self.results = [Result() for _ in range(count)]
        self.late = False
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[int, Chunk] | HoneError | ClientLeftError] = asyncio.Queue()

    @property
    def ended(self) -> bool:
        return all(result.reason is not None for result in self.results)

    def emit(self, index: int, item: Chunk | HoneError) -> None:
        # The loop is closed when the gateway stops in the middle of an answer.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(
                self._queue.put_nowait, item if isinstance(item, HoneError) else (index, item)
            )

    def leave(self) -> None:
        self._queue.put_nowait(ClientLeftError())

    async def next(self) -> list[tuple[int, Chunk]]:
        """At least one chunk with the number of its answer, and those that are there already; `results` has them too.

        Raises:
            ClientLeftError: the client closed the connection.
            DeadlineError: the time was over before an answer had begun.
            HoneError: the generation failed.
        """
        items = [await self._queue.get()]
        while not self._queue.empty():
            items.append(self._queue.get_nowait())
        failures = [item for item in items if isinstance(item, Exception)]
        if failures:
            raise failures[0]
        chunks = [item for item in items if not isinstance(item, Exception)]
        for index, chunk in chunks:
            self._add(self.results[index], chunk)
        return chunks

    def _add(self, result: Result, chunk: Chunk) -> None:
        if chunk.text:
            result.pieces.append(chunk.text)
        result.logprobs += chunk.logprobs
        if chunk.finish_reason is None:
            return
        assert chunk.usage is not None
        result.usage = chunk.usage
        result.reason = chunk.finish_reason
        if chunk.finish_reason == "cancelled":
            if not self.late:
                raise EngineError("the generation was cancelled because the gateway is stopping")
            if not any(one.pieces for one in self.results):
                raise DeadlineError(_LATE)
            result.reason, result.late = "length", True


@asynccontextmanager
async def generation(
    start: Callable[[Request, Emit], Cancel], requests: Sequence[Request], receive: Receive, expires: float
) -> AsyncIterator[Chunks]:
    """Runs the requests, one for each answer; leaving the block cancels them, and so does the client by closing the
    connection, and the loop's clock by passing `expires`.

    Args:
        start: `Engine.start`, or what does the same.
    """
    chunks = Chunks(len(requests))
    cancels: list[Cancel] = []

    def cancel_late() -> None:
        chunks.late = True
        for cancel in cancels:
            cancel()

    watch = asyncio.create_task(_watch(receive, chunks))
    timer = asyncio.get_running_loop().call_at(expires, cancel_late)
    try:
        for index, request in enumerate(requests):
            cancels.append(start(request, partial(chunks.emit, index)))
        yield chunks
    finally:
        timer.cancel()
        watch.cancel()
        for cancel in cancels:
            cancel()


async def _watch(receive: Receive, chunks: Chunks) -> None:
    await _left(receive)
    chunks.leave()


async def _left(receive: Receive) -> None:
    """Until the client closes the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(work: Coroutine[Any, Any, _Made], receive: Receive) -> _Made:
    """What `work` gives; it is cancelled when the client closes the connection.

    Raises:
        ClientLeftError: it did.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    either: tuple[asyncio.Future[Any], ...] = (working, leaving)
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeftError
        return working.result()
    finally:
        for each in either:
            each.cancel()
        await asyncio.gather(*either, return_exceptions=True)


async def send_json(send: Send, status: int, body: Any, headers: Headers | None = None) -> None:
    data = json.dumps(body, separators=(",", ":")).encode()
    length = (b"content-length", str(len(data)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*_JSON_HEADERS, length, *(headers or [])]})
    await send({"type": "http.response.body", "body": data})


async def send_error(send: Send, error: HoneError) -> None:
    status, body = error_body(error)
    await send_json(send, status, body, error_headers(error))


async def send_whole(
    running: AbstractAsyncContextManager[Chunks], writer: Writer, send: Send, headers: Headers
) -> list[Result]:
    """
    Raises:
        HoneError: the generation failed; nothing was sent.
    """
    async with running as chunks:
        while not chunks.ended:
            await chunks.next()
        await send_json(send, 200, writer.whole(chunks.results), headers)
        return chunks.results


async def send_events(
    running: AbstractAsyncContextManager[Chunks], writer: Writer, send: Send, headers: Headers
) -> list[Result]:
    """
    Raises:
        HoneError: the generation failed before its first chunk; nothing was sent, so a status can still say it.
    """
    async with running as chunks:
        first = await chunks.next()
        await send({"type": "http.response.start", "status": 200, "headers": [*_EVENT_HEADERS, *headers]})
        try:
            await _send_chunks(send, first, chunks, writer, writer.opening())
            while not chunks.ended:
                await _send_chunks(send, await chunks.next(), chunks, writer)
        except HoneError as error:
            await send({"type": "http.response.body", "body": error_event(error).encode()})
        return chunks.results


async def _send_chunks(
    send: Send, some: list[tuple[int, Chunk]], chunks: Chunks, writer: Writer, opening: str = ""
) -> None:
    events = [opening]
    for index, chunk in some:
        if chunk.text or chunk.logprobs:
            events.append(writer.piece(index, chunk))
        if chunk.finish_reason is not None:
            events.append(writer.ending(index, chunks.results[index]))
    if chunks.ended:
        events.append(writer.closing(chunks.results))
    await send({"type": "http.response.body", "body": "".join(events).encode(), "more_body": not chunks.ended})
