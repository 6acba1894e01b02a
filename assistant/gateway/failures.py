"""Errors in OpenAI's shape, with the HTTP status of each."""

import json
import math
from typing import Any

from assistant.engines.base import InvalidRequestError
from assistant.errors import EngineError, HoneError, UnknownModel
from assistant.gateway.fields import BadFieldError


class BusyError(HoneError):
    """As many requests run and wait as the gateway takes."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class NoServerError(HoneError):
    """None of the servers behind the gateway can answer this now."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class ServerFailedError(HoneError):
    """A server behind the gateway failed on the request, and it could not be answered by another one."""


class DeadlineError(HoneError):
    """The time that the request was given is over and nothing was generated."""


class SlowBodyError(HoneError):
    """The body did not arrive in time."""


class TooLargeError(HoneError):
    """The body is larger than the gateway takes."""


_KINDS: tuple[tuple[type[HoneError], int, str, str | None], ...] = (
    (UnknownModel, 404, "invalid_request_error", "model_not_found"),
    (BusyError, 429, "rate_limit_error", "too_many_requests"),
    (NoServerError, 503, "server_error", "no_server"),
    (ServerFailedError, 502, "server_error", "server_failed"),
    (DeadlineError, 504, "timeout_error", "deadline_exceeded"),
    (SlowBodyError, 408, "invalid_request_error", "request_timeout"),
    (TooLargeError, 413, "invalid_request_error", "request_too_large"),
    (EngineError, 500, "server_error", "engine_failed"),
)


def error_body(error: HoneError) -> tuple[int, dict[str, Any]]:
    """HTTP status and body of an error, in OpenAI's shape."""
    for kind, status, name, code in _KINDS:
        if isinstance(error, kind):
            return status, failure(str(error), name, code)
    overlong = isinstance(error, InvalidRequestError) and "context" in str(error)
    param = error.field if isinstance(error, BadFieldError) else None
    return 400, failure(str(error), "invalid_request_error", "context_length_exceeded" if overlong else None, param)


def error_headers(error: HoneError) -> list[tuple[bytes, bytes]]:
    if isinstance(error, BusyError | NoServerError):
        return [(b"retry-after", str(math.ceil(error.retry_after)).encode())]
    if isinstance(error, TooLargeError | SlowBodyError):
        return [(b"connection", b"close")]
    return []


def failure(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_event(error: HoneError) -> str:
    """For a failure after the stream began; OpenAI's clients raise it."""
    return event(error_body(error)[1])


def event(value: Any) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"
