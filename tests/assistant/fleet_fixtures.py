"""A gateway in front of other servers, on a real socket, and adapters in a registry without a model."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from assistant import paths
from assistant.gateway.admission import Limits
from assistant.gateway.app import Gateway
from assistant.gateway.fleet import Fleet
from assistant.gateway.fleet_routes import FleetEndpoints
from assistant.gateway.fleet_settings import FleetSettings, ServerSettings
from assistant.models.identity import adapter_digest
from assistant.models.registry import AdapterVersion, Registry
from tests.assistant.gateway_fakes import KEY, listening
from tests.assistant.vllm_stub import BASE


def server(name: str, url: str, **settings: Any) -> ServerSettings:
    return ServerSettings(name, f"{url}/v1", **settings)


class _Front:
    """The application, whose servers are looked at in the loop that it runs in."""

    def __init__(self, settings: FleetSettings) -> None:
        self._fleet = Fleet(settings)
        endpoints = FleetEndpoints(self._fleet, Limits(settings.queue, settings.deadline))
        self._gateway = Gateway(endpoints.routes(), endpoints.status, KEY)
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._looking is None:
            self._looking = asyncio.create_task(self._fleet.load())
        await self._gateway(scope, receive, send)


@contextmanager
def fronting(*servers: ServerSettings, check_seconds: float = 0.2, **settings: Any) -> Iterator[httpx.Client]:
    """A client of a gateway in front of the servers."""
    given = {"default": BASE, "queue": 256, "deadline": 120.0, **settings}
    front: Any = _Front(FleetSettings(servers, check_seconds=check_seconds, **given))
    with (
        listening(front) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=600) as http,
    ):
        yield http


def register(name: str, rank: int = 8, base: str = BASE, **configuration: Any) -> AdapterVersion:
    """An adapter version in the registry of the current HONE_HOME, whose weights are no weights."""
    folder: Path = paths.adapters_dir() / f"{name}-{rank}"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(f"{name} {rank}".encode())
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": 2 * rank, **configuration}))
    digest = adapter_digest(folder, "b" * 64)
    version = AdapterVersion(name, digest, base, "b" * 64, folder, "2026-01-01T00:00:00+00:00")
    Registry().register(version)
    return version
