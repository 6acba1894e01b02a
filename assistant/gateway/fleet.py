"""Several servers as one: which of them answers for which model name.

A name is resolved anew for each request, so a promotion takes effect at once. An adapter that no server has yet is
loaded by those that may be told to, under its immutable name; requests under way end on what they began with.
"""

import asyncio
import random
import sys
from collections import defaultdict
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from assistant import paths
from assistant.errors import HoneError, UnknownModel
from assistant.gateway.failures import NoServerError
from assistant.gateway.fields import BadFieldError
from assistant.gateway.fleet_request import Need
from assistant.gateway.fleet_server import Server
from assistant.gateway.fleet_settings import FleetSettings
from assistant.gateway.fleet_vllm import NotLoadedError
from assistant.models.identity import adapter_digest
from assistant.models.registry import AdapterVersion, Registry
from assistant.models.vllm import refuse_unservable

_REFUSED_SECONDS = 60.0
"""A server that could not load an adapter is not asked again for so long."""


@dataclass(frozen=True)
class Target:
    """What a request's model name means now: `name` is the id by which servers list it."""

    name: str
    adapter: AdapterVersion | None


@dataclass(frozen=True)
class StandIn:
    """A version that answers for an alias whose own cannot be loaded."""

    name: str
    wanted: str
    served: str
    reason: str


class Fleet:
    """Looks at the servers again and again, and chooses one for each request.

    Raises:
        HoneError: a server's key cannot be read.
    """

    def __init__(self, settings: FleetSettings) -> None:
        self.spec = settings.default
        self.servers = tuple(Server(each) for each in settings.servers)
        self._seconds = settings.check_seconds
        self._context_length = settings.context_length
        self._refusals: dict[tuple[str, str], tuple[float, str]] = {}
        self._loading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._looked = asyncio.Event()
        self._stand_ins: dict[str, StandIn] = {}

    async def load(self) -> None:
        """Looks at every server, gives them what was promoted, and does so until it is cancelled."""
        giving: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.gather(*(server.check() for server in self.servers))
                self._looked.set()
                # A server may take minutes to load an adapter; meanwhile it is seen when another one goes down.
                if giving is None or giving.done():
                    giving = asyncio.create_task(self._give())
                await asyncio.sleep(self._seconds)
        finally:
            if giving is not None:
                giving.cancel()

    async def _give(self) -> None:
        """What was promoted, to the servers that lack it."""
        try:
            promoted = await asyncio.to_thread(lambda: Registry().aliases())
            for adapter in {version.id: version for version in promoted.values()}.values():
                await self._load_where_missing(adapter)
            for alias in promoted:
                await self.resolve(alias)
            for alias in self._stand_ins.keys() - promoted.keys():
                del self._stand_ins[alias]
        except HoneError as error:
            # Of the registry, which requests by other names do without.
            _log(str(error))

    async def close(self) -> None:
        for server in self.servers:
            await server.close()

    def health(self) -> dict[str, Any]:
        """`status` is loading (nothing was looked at yet), ok (a server is up) or failed."""
        up = any(server.up for server in self.servers)
        return {
            "status": "ok" if up else "failed" if self._looked.is_set() else "loading",
            "model": self.spec,
            "servers": [
                {
                    "name": server.name,
                    "url": server.settings.url,
                    "up": server.up,
                    "detail": server.detail,
                    "kind": server.kind,
                    "weight": server.settings.weight,
                    "requests": server.active,
                    "models": sorted(server.models),
                }
                for server in self.servers
            ],
            "stand_ins": [asdict(each) for each in self._stand_ins.values()],
        }

    async def models(self) -> list[dict[str, Any]]:
        """Everything that a request may name: what the servers list, and names and aliases of this machine's registry
        for adapters that they have or can load. The default comes first where there is one."""
        await self._looked.wait()
        entries: dict[str, dict[str, Any]] = {}
        for server in self.servers:
            for name, entry in server.models.items() if server.up else ():
                entries.setdefault(name, _entry(server, name, entry, self._context_length))
        for name, named in (await asyncio.to_thread(_names)).items():
            adapter = (await self.resolve(name)).adapter or named if name in self._stand_ins else named
            given = entries.get(adapter.id)
            if given is None and (base := entries.get(adapter.base_name)) and self._loaders(adapter):
                given = {**base, "name": adapter.id, "adapter": adapter.id}
            if given is not None:
                entries[name] = {**given, "id": name, "name": adapter.id, "base": adapter.base_name}
                entries[name]["adapter"] = adapter.id
        first = [entries.pop(self.spec)] if self.spec in entries else []
        return first + list(entries.values())

    async def resolve(self, model: str | None) -> Target:
        """An alias means the version before as long as no server has its newest and none could load it.

        Raises:
            HoneError: the name is malformed or fits several versions.
        """
        spec = model or self.spec
        adapter = await asyncio.to_thread(lambda: Registry().find(spec))
        target = Target(adapter.id if adapter else spec, adapter)
        await self._looked.wait()
        earlier = None if adapter is None or self._having(target) else await self._before(spec, adapter)
        if adapter is None or earlier is None:
            if self._stand_ins.pop(spec, None) is not None and self._having(target):
                _log(f"{spec} is {target.name} again")
            return target
        stand_in = StandIn(spec, adapter.id, earlier.id, self._why_missing(adapter))
        if self._stand_ins.get(spec) != stand_in:
            _log(f"{spec} is answered by {earlier.id}, since no server has {adapter.id}: {stand_in.reason}")
            self._stand_ins[spec] = stand_in
        return Target(earlier.id, earlier)

    async def _before(self, alias: str, newest: AdapterVersion) -> AdapterVersion | None:
        """What stands in for a version that no server has; None where there is hope for it, or nothing before it."""
        earlier = await asyncio.to_thread(lambda: Registry().before(alias) if alias in Registry().aliases() else None)
        if earlier is None:
            return None
        if not self._refused(newest):
            await self._load_where_missing(newest)
        unloadable = self._refused(newest) or (all(server.up for server in self.servers) and not self._loaders(newest))
        if self._having(Target(newest.id, newest)) or not unloadable:
            return None
        await self._load_where_missing(earlier)
        return earlier if self._having(Target(earlier.id, earlier)) else None

    def _refused(self, adapter: AdapterVersion) -> list[str]:
        """What the servers said that could not load it."""
        return [told for (name, _), (_, told) in self._refusals.items() if name == adapter.id]

    def _why_missing(self, adapter: AdapterVersion) -> str:
        return "; ".join(self._refused(adapter)) or f"none that serves {adapter.base_name} may be told to load it"

    async def choose(self, target: Target, need: Need | None, excluded: Collection[str]) -> Server:
        """The server for a request: of those that are up and have the model, the one with the fewest requests for its
        weight; among equals, by weight.

        Args:
            need: what not every kind of server does.
            excluded: names of servers that have failed on this request.

        Raises:
            NoServerError: none can take it now.
            UnknownModel: every server is up and none has the model.
            BadFieldError: none that has the model is of a kind that does what is needed.
        """
        await self._looked.wait()
        server = self._best(target, need, excluded)
        if server is None:
            await asyncio.gather(*(server.check() for server in self.servers))
            if target.adapter is not None and not self._having(target):
                await self._load_where_missing(target.adapter)
            server = self._best(target, need, excluded)
        if server is None:
            raise self._nobody(target, need)
        return server

    def _having(self, target: Target) -> list[Server]:
        return [server for server in self.servers if server.up and target.name in server.models]

    def _best(self, target: Target, need: Need | None, excluded: Collection[str]) -> Server | None:
        fitting = [
            server
            for server in self._having(target)
            if server.name not in excluded and (need is None or server.kind in need.kinds)
        ]
        # Least connections by weight, as nginx and HAProxy have it. Drawing by the largest u ** (1 / weight) picks each
        # with a probability proportional to its weight (Efraimidis and Spirakis 2006).
        return min(
            fitting,
            key=lambda server: (
                server.active / server.settings.weight,
                -(random.random() ** (1 / server.settings.weight)),
            ),
            default=None,
        )

    def _nobody(self, target: Target, need: Need | None) -> HoneError:
        having = self._having(target)
        if having and need is not None and all(server.kind not in need.kinds for server in having):
            kinds, names = " or ".join(need.kinds), ", ".join(server.name for server in having)
            return BadFieldError(
                "model",
                f"{need.what} takes a server of kind {kinds}; {target.name:.80} is served by {names}, which is none",
            )
        refused = self._refused(target.adapter) if target.adapter else []
        if refused:
            return NoServerError(f"no server could load {target.name}: {'; '.join(refused)}", _REFUSED_SECONDS)
        down = [f"{server.name} ({server.detail})" for server in self.servers if not server.up]
        if having or down:
            why = f"down: {', '.join(down)}" if down else "all that have it failed on this request"
            return NoServerError(f"no server can answer for {target.name:.80} now; {why}", self._seconds)
        if target.adapter is not None:
            return UnknownModel(
                f"no server has {target.name}, and none that serves its base {target.adapter.base_name} may be told to "
                "load it (load_adapters)"
            )
        return UnknownModel(f"no server has a model called {target.name:.80}; `GET /v1/models` lists what there is")

    def _loaders(self, adapter: AdapterVersion) -> list[Server]:
        return [
            server
            for server in self.servers
            if server.up and server.settings.load_adapters and adapter.base_name in server.models
        ]

    async def _load_where_missing(self, adapter: AdapterVersion) -> None:
        """Failures are kept for a while, for whoever asks for the adapter."""
        async with self._loading[adapter.id]:
            now = asyncio.get_running_loop().time()
            missing = [server for server in self._loaders(adapter) if adapter.id not in server.models]
            due = [server for server in missing if self._refusals.get((adapter.id, server.name), (0.0, ""))[0] < now]
            if not due:
                return
            try:
                await asyncio.to_thread(_check_files, adapter)
            except HoneError as error:
                for server in due:
                    self._refusals[adapter.id, server.name] = now + _REFUSED_SECONDS, f"{server.name}: {error}"
                return
            await asyncio.gather(*(self._load_one(adapter, server) for server in due))

    async def _load_one(self, adapter: AdapterVersion, server: Server) -> None:
        key = adapter.id, server.name
        try:
            await server.load_adapter(adapter.id, _path_for(server, adapter))
        except NotLoadedError as error:
            self._refusals[key] = asyncio.get_running_loop().time() + _REFUSED_SECONDS, f"{server.name}: {error}"
        else:
            self._refusals.pop(key, None)


def _entry(server: Server, name: str, entry: dict[str, Any], context_length: int) -> dict[str, Any]:
    """A server's entry with the fields that this gateway's own have; what it says of itself wins.

    Args:
        context_length: where the server does not say.
    """
    parent = entry.get("parent")
    of_base = server.models.get(parent or name, entry)
    own = {
        "id": name,
        "created": 0,
        "name": name,
        "base": parent or name,
        "adapter": name if parent else None,
        "context_length": entry.get("max_model_len") or of_base.get("max_model_len") or context_length,
        "completion_mode": "fim" if server.fim_tokens else "prefix",
        "fim_tokens": asdict(server.fim_tokens) if server.fim_tokens else None,
        "chat": True,
        "json_schema": True,
    }
    return {key: entry.get(key, value) for key, value in own.items()}


def _names() -> dict[str, AdapterVersion]:
    """Every name that means an adapter here."""
    registry = Registry()
    versions = registry.versions()
    names = {version.name: version for version in versions} | {version.id: version for version in versions}
    return names | registry.aliases()


def _check_files(adapter: AdapterVersion) -> None:
    """
    Raises:
        HoneError: the files were changed, or vLLM cannot serve such an adapter.
    """
    refuse_unservable(adapter)
    digest = adapter_digest(adapter.folder, adapter.base_digest)
    if digest != adapter.digest:
        raise HoneError(f"the files of {adapter.id} in {adapter.folder} were changed, so it is not loaded")


def _path_for(server: Server, adapter: AdapterVersion) -> str:
    folder = adapter.folder.absolute()
    mounted, own = server.settings.adapters_folder, paths.adapters_dir().absolute()
    if mounted is None or not folder.is_relative_to(own):
        return str(folder)
    return str(PurePosixPath(mounted) / folder.relative_to(own))


def _log(line: str) -> None:
    print(f"hone: {line}", file=sys.stderr)  # noqa: T201
