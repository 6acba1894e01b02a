"""The body of a request: a JSON object in UTF-8, of limited size and in limited time."""

import asyncio
import json
from typing import Any

from assistant.gateway.failures import SlowBodyError, TooLargeError
from assistant.gateway.fields import BadFieldError

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a request."""
BODY_SECONDS = 30.0
"""That a body may take to arrive."""
_DRAINED = 4 * MAX_BODY
"""Bytes of a too large body that are read and dropped, so that its sender gets to read the answer."""


class ClientLeftError(Exception):
    """Nobody waits for the answer any more."""


async def read_json(receive: Any, length: bytes = b"") -> dict[str, Any]:
    """
    Args:
        receive: ASGI's.
        length: the Content-Length header.

    Raises:
        BadFieldError: the body is not a JSON object in UTF-8.
        TooLargeError, SlowBodyError: as they say.
        ClientLeftError: the client closed the connection.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            data = await _read(receive, int(length) if length.isdigit() else 0)
    except TimeoutError as error:
        raise SlowBodyError(f"the request did not arrive within {BODY_SECONDS:.0f} seconds") from error
    try:
        body = json.loads(data.decode("utf-8"))
        if b"\\u" in data:
            # JSON can spell half of a surrogate pair, which is no text.
            json.dumps(body, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFieldError(None, f"the body is not valid UTF-8: {error.reason} at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise BadFieldError(None, "the body has an unpaired surrogate escape, which is no text") from error
    except RecursionError as error:
        raise BadFieldError(None, "the request is nested too deeply") from error
    except ValueError as error:
        raise BadFieldError(None, f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadFieldError(None, "the body must be a JSON object")
    return body


async def _read(receive: Any, announced: int) -> bytes:
    too_large = TooLargeError(f"the request is larger than {MAX_BODY // 1024 // 1024} MiB")
    if announced > MAX_BODY:
        await _drain(receive)
        raise too_large
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        more = message.get("more_body", False)
        if size > MAX_BODY:
            if more:
                await _drain(receive)
            raise too_large
    return b"".join(pieces)


async def _drain(receive: Any) -> None:
    size = 0
    while size < _DRAINED:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
