"""Which engine answers for which model name.

One base model is in memory, with a set of its adapters. A name is resolved anew for each request, so a promotion takes
effect at once; an adapter that the running engine lacks gets a new engine beside it, new requests go there and the old
one ends with its last request.
"""

import asyncio
import difflib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from assistant import prompts
from assistant.engines.base import Engine
from assistant.errors import EngineError, HoneError, UnknownModel
from assistant.models.registry import AdapterVersion, Registry
from assistant.models.resolve import ServedModel, resolve, verify
from assistant.models.store import BaseModel

MAX_ADAPTERS = 8
"""Loaded at once; beyond that the one unused for longest is left out of the next engine."""

_MIB = 1024 * 1024
_Result = TypeVar("_Result")


@dataclass
class _Running:
    """An engine, what it holds and how many requests use it."""

    engine: Engine
    adapters: frozenset[str]
    users: int = 0
    retired: bool = False


@dataclass(frozen=True)
class Lease:
    """The right to use an engine for one request."""

    engine: Engine
    served: ServedModel
    fim_tokens: prompts.FimTokens | None
    context_length: int

    @property
    def details(self) -> dict[str, Any]:
        adapter = self.served.adapter
        return {
            "base": self.served.base.name,
            "adapter": adapter.id if adapter else None,
            "context_length": self.context_length,
        }

    async def tokenize(self, texts: Sequence[str], parse_special: bool) -> list[list[int]]:
        return await asyncio.to_thread(self.engine.tokenize_all, texts, parse_special)

    async def likelihoods(self, texts: Sequence[str], answers: Sequence[str]) -> list[list[float]]:
        """Cancelled, it returns when the engine has let the question go."""
        adapter = self.served.adapter.id if self.served.adapter else None
        unwanted = threading.Event()
        ask = partial(self.engine.likelihoods, texts, answers, adapter, unwanted.is_set)
        asking = asyncio.create_task(asyncio.to_thread(ask))
        try:
            return await asyncio.shield(asking)
        finally:
            unwanted.set()
            await asyncio.gather(asking, return_exceptions=True)


@dataclass
class _Status:
    status: str = "loading"
    detail: str | None = None
    error: HoneError | None = None


class Serving:
    """Loads the model in the background and hands out engines.

    Args:
        spec: what `--model` or the settings name; requests without a model get it.
        context_length: tokens, cut to what the model was trained for.
        threads: of the engine; None is one per physical core.
        slots: requests that llama.cpp computes together; torch takes one at a time.
    """

    def __init__(self, spec: str, context_length: int = 4096, threads: int | None = None, slots: int = 2) -> None:
        self.spec = spec
        self._context_length = context_length
        self._threads = threads
        self._slots = slots
        self._status = _Status()
        self._loaded = asyncio.Event()
        self._swapping = asyncio.Lock()
        self._base: BaseModel | None = None
        self._default: AdapterVersion | None = None
        """What `spec` meant when the model was loaded; None: a base."""
        self._running: _Running | None = None
        self._fim_tokens: prompts.FimTokens | None = None
        self._recent: dict[str, AdapterVersion] = {}
        self._swaps: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Fetches and loads the model; a failure is kept for `health` and for the requests that wait."""
        try:
            served = await _in_thread(lambda: resolve(self.spec, progress=self._progress))
            self._base, self._default = served.base, served.adapter
            wanted = [served.adapter] if served.adapter else []
            wanted += await asyncio.to_thread(_promoted, served.base)
            for adapter in wanted[:MAX_ADAPTERS]:
                self._recent[adapter.id] = adapter
            try:
                self._running = await _in_thread(lambda: self._open(served.base, dict(self._recent)))
            except EngineError:
                # A promoted adapter that does not load must not keep the model that was asked for from answering.
                self._recent = {served.adapter.id: served.adapter} if served.adapter else {}
                self._running = await _in_thread(lambda: self._open(served.base, dict(self._recent)))
            self._fim_tokens = await asyncio.to_thread(_find_fim_tokens, self._running.engine)
            self._status = _Status("ok")
        except HoneError as error:
            self._status = _Status("failed", error=error)
        except Exception as error:
            self._status = _Status("failed", error=EngineError(f"cannot load {self.spec}: {error!r}"))
        self._loaded.set()

    @property
    def error(self) -> HoneError | None:
        """Why the model could not be loaded."""
        return self._status.error

    def health(self) -> dict[str, Any]:
        """`status` is loading, ok or failed."""
        state: dict[str, Any] = {"status": self._status.status, "model": self.spec}
        if self._status.error:
            state["error"] = str(self._status.error)
        if self._status.detail:
            state["detail"] = self._status.detail
        if self._running and self._base:
            state |= {"base": self._base.name, "context_length": self._running.engine.context_length}
            state["adapters"] = sorted(self._running.adapters)
        return state

    async def models(self) -> list[dict[str, Any]]:
        """Everything that a request may name, the default first."""
        base, running = await self._ready()

        def listed() -> list[dict[str, Any]]:
            registry = Registry()
            versions = [version for version in registry.versions() if version.base_name == base.name]
            names: dict[str, AdapterVersion | None] = {base.name: None}
            names |= {version.name: version for version in versions}
            names |= {version.id: version for version in versions}
            names |= {alias: live for alias, live in registry.aliases().items() if live.base_name == base.name}
            if self.spec not in names:
                # Where it is gone, requests for it say so.
                names[self.spec] = registry.find(self.spec) or self._default
            ordered = [self.spec, *(name for name in names if name != self.spec)]
            return [self._entry(name, names[name], base, running) for name in ordered]

        return await asyncio.to_thread(listed)

    def _entry(self, name: str, adapter: AdapterVersion | None, base: BaseModel, running: _Running) -> dict[str, Any]:
        return {
            "id": name,
            "created": 0,
            "name": adapter.id if adapter else base.name,
            "base": base.name,
            "adapter": adapter.id if adapter else None,
            "context_length": running.engine.context_length,
            "completion_mode": "fim" if self._fim_tokens else "prefix",
            "fim_tokens": asdict(self._fim_tokens) if self._fim_tokens else None,
            "chat": running.engine.chat_template is not None,
            "json_schema": running.engine.enforces_schemas,
        }

    @asynccontextmanager
    async def lease(self, model: str | None) -> AsyncIterator[Lease]:
        """An engine that has what `model` means now; it stays open while the lease lasts.

        Raises:
            UnknownModel: no such name here; near ones are suggested.
            HoneError: the model could not be loaded, or the adapter is damaged.
        """
        base, _ = await self._ready()
        served = await asyncio.to_thread(self._resolve, model or self.spec, base)
        running = await self._running_with(served.adapter, base)
        # No other task runs between the answer above and this line, so it is not retired yet.
        running.users += 1
        try:
            yield Lease(running.engine, served, self._fim_tokens, running.engine.context_length)
        finally:
            running.users -= 1
            self._end_if_unused(running)

    async def close(self) -> None:
        for swap in self._swaps:
            swap.cancel()
        if self._running is not None:
            await asyncio.to_thread(self._running.engine.close)
        for task in list(self._closing):
            await task

    async def _ready(self) -> tuple[BaseModel, _Running]:
        await self._loaded.wait()
        if self._status.error:
            raise self._status.error
        assert self._base is not None
        assert self._running is not None
        return self._base, self._running

    def _progress(self, what: str, done: int, total: int | None) -> None:
        of = f" of {total / _MIB:.0f}" if total else ""
        self._status.detail = f"{what}: {done / _MIB:.0f}{of} MiB"

    def _resolve(self, spec: str, base: BaseModel) -> ServedModel:
        """Like `models.resolve`, but a request can never make the gateway open a path or fetch anything."""
        if spec == base.name:
            return ServedModel(spec, base, None)
        registry = Registry()
        adapter = registry.find(spec)
        if adapter is None:
            if spec == self.spec and self._default is None:
                return ServedModel(spec, base, None)
            if spec == self.spec:
                raise UnknownModel(
                    f"{spec:.80}, this gateway's default, is no adapter any more; name another model in the request "
                    f"({base.name} is the base), or restart the gateway with another --model"
                )
            raise UnknownModel(f"this gateway has no model called {spec:.80}; {self._suggestion(spec, base, registry)}")
        if adapter.base_name != base.name:
            raise UnknownModel(
                f"{adapter.id} is an adapter of {adapter.base_name}, but this gateway serves {base.name}; "
                f"start another with `hone serve --model {spec}`"
            )
        verify(adapter, base)
        return ServedModel(spec, base, adapter)

    def _suggestion(self, spec: str, base: BaseModel, registry: Registry) -> str:
        names = {base.name, *registry.aliases()}
        for version in registry.versions():
            names |= {version.name, version.id}
        near = difflib.get_close_matches(spec, sorted(names), n=3, cutoff=0.5)
        return f"did you mean {' or '.join(near)}?" if near else f"it serves {base.name} and its adapters"

    async def _running_with(self, adapter: AdapterVersion | None, base: BaseModel) -> _Running:
        assert self._running is not None
        if adapter is None:
            return self._running
        # Kept in order of use, the latest last.
        self._recent.pop(adapter.id, None)
        self._recent[adapter.id] = adapter
        while adapter.id not in self._running.adapters:
            # A task of its own: a request that ends while it waits must not leave an engine behind that nobody closes.
            swap = asyncio.create_task(self._swap_for(adapter, base))
            self._swaps.add(swap)
            swap.add_done_callback(self._swaps.discard)
            await asyncio.shield(swap)
        return self._running

    async def _swap_for(self, adapter: AdapterVersion, base: BaseModel) -> None:
        """Replaces the running engine by one that has `adapter` too."""
        async with self._swapping:
            assert self._running is not None
            if adapter.id in self._running.adapters:
                return
            wanted = dict(list(self._recent.items())[-MAX_ADAPTERS:])
            wanted[adapter.id] = adapter
            try:
                fresh = await _in_thread(lambda: self._open(base, wanted))
            except HoneError:
                self._recent.pop(adapter.id, None)
                raise
            old, self._running = self._running, fresh
            self._recent = wanted
            old.retired = True
            self._end_if_unused(old)

    def _open(self, base: BaseModel, adapters: dict[str, AdapterVersion]) -> _Running:
        context_length = min(self._context_length, base.context_length)
        if base.gguf is not None:
            from assistant.engines.llamacpp import LlamaCpp
            from assistant.models.serving_form import serving_gguf

            gguf = serving_gguf(base.gguf)
            files = {name: _adapter_gguf(adapter) for name, adapter in adapters.items()}
            return _Running(LlamaCpp(gguf, files, context_length, self._threads, self._slots), frozenset(files))
        from assistant.engines.torch import Torch

        assert base.folder is not None
        folders = {name: adapter.folder for name, adapter in adapters.items()}
        return _Running(Torch(base.folder, folders, context_length, self._threads), frozenset(folders))

    def _end_if_unused(self, running: _Running) -> None:
        if running.retired and running.users == 0:
            task = asyncio.create_task(asyncio.to_thread(running.engine.close))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _in_thread(work: Callable[[], _Result]) -> _Result:
    """Like `asyncio.to_thread`, but for work that may take minutes: the process does not wait for it at its end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def settle(result: _Result | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast(_Result, result))

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:
            failure = error
        # The loop is closed when the gateway has stopped meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, daemon=True).start()
    return await future


def _promoted(base: BaseModel) -> list[AdapterVersion]:
    """What aliases point to, where it can be served on `base`; the rest fails only when it is asked for."""
    fitting = []
    for adapter in Registry().aliases().values():
        if adapter.base_name != base.name:
            continue
        try:
            verify(adapter, base)
            _adapter_gguf(adapter)
        except HoneError:
            continue
        fitting.append(adapter)
    return fitting


def _adapter_gguf(adapter: AdapterVersion) -> Path:
    file = adapter.folder / "adapter.gguf"
    if not file.is_file():
        raise HoneError(f"{adapter.id} has no GGUF form at {file}; tune it again")
    return file


def _find_fim_tokens(engine: Engine) -> prompts.FimTokens | None:
    spellings = {token for family in prompts.FIM_FAMILIES for token in (family.prefix, family.suffix, family.middle)}
    found = {token: engine.find_token(token) for token in spellings}
    return prompts.find_fim_tokens({token: number for token, number in found.items() if number is not None})
