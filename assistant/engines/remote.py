"""Servers with OpenAI's API elsewhere: their addresses, their keys and the connections to them."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from assistant.errors import HoneError

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 5.0
_IDLE_SECONDS = 2.0
"""Less than the 5 seconds after which uvicorn, and so vLLM, closes an idle connection: one that is closed just as it is
used again costs a request."""


def base_url(url: str) -> str:
    """The URL that `/chat/completions` is appended to: an address without a path gets `/v1`.

    Raises:
        HoneError: it is no http or https URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HoneError(f"{url!r} is no address of a server; give one like http://localhost:8000/v1")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise HoneError("the server's address must have no query and no credentials; its key is given apart from it")
    return url.rstrip("/") if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/v1"


def is_local(url: str) -> bool:
    """Whether the address is this machine's own loopback."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def read_key(variable: str | None, file: Path | None) -> str | None:
    """A server's key from the environment or from a file that only its owner can read; None when neither is named.

    Raises:
        HoneError: the variable is not set, or the file is missing, empty or open to others.
    """
    if variable is not None:
        key = os.environ.get(variable, "").strip()
        if not key:
            raise HoneError(f"the environment variable {variable} must hold the server's key, and it is not set")
    elif file is not None:
        try:
            with file.open("rb") as opened:
                status = os.fstat(opened.fileno())
                data = opened.read(4096)
        except OSError as error:
            raise HoneError(f"cannot read the server's key in {file}: {error.strerror}") from error
        if status.st_mode & 0o077 or status.st_uid != os.getuid():
            raise HoneError(f"others can read or own the key file {file}; make it yours alone: chmod 600 {file}")
        key = data.decode("ascii", "replace").strip()
        if not key:
            raise HoneError(f"the key file {file} is empty")
    else:
        return None
    if not key.isascii() or not key.isprintable():
        raise HoneError(f"the key in {variable or file} holds characters that no key has")
    return key


def connections(url: str, key: str | None) -> "httpx.AsyncClient":
    """A client of one server. Certificates are verified, redirects are not followed: they would take the key along.

    Without a limit for how long an answer takes; callers set their own.
    """
    import httpx

    return httpx.AsyncClient(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=_IDLE_SECONDS),
        follow_redirects=False,
        # Proxies of the environment are for other machines.
        trust_env=not is_local(url),
    )


def error_message(body: bytes) -> str:
    """The reason that a server gives with a status that is no success: one line, at most 300 characters."""
    text = body.decode(errors="replace")
    try:
        loaded = json.loads(text)
        error = loaded.get("error", loaded)
        found = error if isinstance(error, str) else error.get("message") or error.get("detail") or text
    except (ValueError, AttributeError):
        found = text
    return " ".join(str(found).split())[:300] or "no reason"
