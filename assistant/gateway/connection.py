"""A connection that does not wait for ever: uvicorn's own has no limit for how slowly a request's head may come."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""From the connection, or from the first byte of a later request, to the end of the head."""
REST_SECONDS = 10.0
"""For what is still to come of a body whose request has been answered already, without the key for example. Closing at
once would keep a client that still sends from reading the answer."""
MAX_CONNECTIONS = 512
"""Open at once; more are closed unanswered. Half of the files that a process may have open as a rule."""


class TimedConnection(H11Protocol):
    """HTTP/1.1 with a time limit for the head of each request and for a body that nobody waits for."""

    _head_timer: asyncio.TimerHandle | None = None
    _rest_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_head()
        else:
            self._stop_head_timer()
        if self._rest_timer is not None and self.conn.their_state is not h11.SEND_BODY:
            self._stop_rest_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE:
            self._rest_timer = self.loop.call_later(REST_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_rest_timer()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        """Does not begin anew while a head is on its way."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_rest_timer(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
