"""What jobs ask Ray for: the table `[ray]` of the user's configuration file."""

import math
import os
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from assistant.errors import HoneError
from tuning.jobs import own_table

_DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""By which Ray's own job commands are told an address."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_LEAST = {"nodes": 1, "cores": 1, "memory_gb": 0.0, "gpus": 0}
_MOST = {"nodes": 1024, "cores": 4096, "memory_gb": 1e5, "gpus": 64}


@dataclass(frozen=True)
class RaySettings:
    address: str = ""
    """Of the dashboard, such as http://127.0.0.1:8265; empty: as Ray's own commands have it."""
    token_file: str = ""
    """Empty: where Ray's own commands look for the token."""
    python: str = "python3"
    """The interpreter on the nodes that has Ray and what Hone depends on; Hone itself is uploaded."""
    nodes: int = 1
    """Of the tuning step; the steps after it run on one."""
    cores: int = 4
    memory_gb: float = 8.0
    """Of each node; 0: none is reserved."""
    gpus: int = 0
    """Of each node, a process for each of them; 0: one process a node."""
    resources: tuple[str, ...] = ()
    """Other resources of Ray, such as accelerator_type:A100=0.001."""
    launch: tuple[str, ...] = ()
    """More options of `accelerate launch`, where there are several processes."""
    upload: bool = True
    """Send the git repository too; else the nodes find it at the same path as here."""
    plain_http: bool = False
    """The token may go unencrypted to another machine."""


def load() -> RaySettings:
    """With the address resolved.

    Raises:
        HoneError: as `own_table.load`, or the token would go unencrypted to another machine.
    """
    ours = own_table.load("ray", RaySettings, _LEAST, _MOST, _complaint)
    told = next((value for name in _VARIABLES if (value := os.environ.get(name, "")).startswith("http")), "")
    address = (ours.address or told or _DEFAULT_ADDRESS).rstrip("/")
    wrong = _wrong_address(address)
    if wrong is not None:
        raise HoneError(f"Ray's address {address!r} {wrong}")
    if address.startswith("http:") and urlsplit(address).hostname not in _LOOPBACK and not ours.plain_http:
        raise HoneError(
            f"Ray's token would go unencrypted to {address}; use https, or a tunnel (ssh -L 8265:127.0.0.1:8265 HEAD) "
            "and address http://127.0.0.1:8265, or set plain_http = true in [ray] on a network that you trust"
        )
    return replace(ours, address=address)


def custom(resources: tuple[str, ...]) -> dict[str, float]:
    """`NAME=AMOUNT` of each."""
    parts = [one.rpartition("=") for one in resources]
    return {name: float(amount) for name, _, amount in parts}


def _complaint(key: str, value: Any) -> str | None:
    if key == "address" and value:
        return _wrong_address(value)
    if key == "python" and not value:
        return "= '' must name an interpreter"
    for one in value if key == "resources" else ():
        name, _, amount = one.rpartition("=")
        try:
            good = bool(name) and math.isfinite(float(amount)) and float(amount) > 0
        except ValueError:
            good = False
        if not good or name in ("CPU", "GPU", "memory"):
            return f"has {one!r}; each must be NAME=AMOUNT, and of others than CPU, GPU and memory"
    return None


def _wrong_address(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        return "must be the dashboard's, such as http://127.0.0.1:8265"
    # What is in a URL is shown and stored.
    return "must not hold a name or password" if "@" in parts.netloc else None
