"""Who may ask: the key on every path, and only for Host names that cannot be rebound by a foreign web page."""

import hmac
import ipaddress
import os
import secrets
from collections.abc import Collection
from pathlib import Path

from assistant import atomic
from assistant.errors import HoneError


def ensure_key(file: Path) -> str:
    """The gateway's key, made when there is none (mode 0600). One that others could read is replaced.

    Raises:
        HoneError: the file cannot be read or written.
    """
    try:
        if file.exists():
            private = file.stat().st_mode & 0o077 == 0 and file.stat().st_uid == os.getuid()
            key = file.read_text("ascii").strip()
            if private and len(key) >= 32:
                return key
        key = new_key()
        atomic.write_text(file, key + "\n", mode=0o600)
    except (OSError, UnicodeDecodeError) as error:
        raise HoneError(f"cannot keep the gateway's key in {file}: {error}") from error
    return key


def new_key() -> str:
    return "hone-" + secrets.token_urlsafe(32)


def key_matches(authorization: bytes, key: str) -> bool:
    """Compares an Authorization header in constant time."""
    scheme, _, given = authorization.partition(b" ")
    matches = hmac.compare_digest(given.strip(), key.encode())
    return matches and scheme.lower() == b"bearer"


def host_allowed(host: bytes, names: Collection[str]) -> bool:
    """Whether a Host header names this machine: `localhost`, an IP address, or one of `names`.

    DNS rebinding makes a browser send a foreign name here, never an address.
    """
    try:
        text = host.decode("ascii").lower()
    except UnicodeDecodeError:
        return False
    name, bracket, rest = text.partition("]")
    if bracket:
        name, port = name.removeprefix("["), rest.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    if port and not port.isdigit():
        return False
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
