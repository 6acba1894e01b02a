"""What is measured: a model of this machine, or one behind any OpenAI-compatible server; and how each is asked."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from assistant import prompts
from assistant.engines.remote import base_url
from assistant.errors import EngineError, HoneError, UnknownModel, UsageError
from assistant.gateway.conversation import Conversation
from evals.server import RETRY_SECONDS, Server, TransientError
from evals.tasks.base import Answer, Ask

_VOLATILE = frozenset({"created", "permission", "status", "in_cache", "loaded"})
"""Of a server's model entry: what changes without the model changing."""


_DECIDING = frozenset({"seed", "top_p"})
"""Optional fields of a request that decide the answer."""
_Result = TypeVar("_Result")
AskKind = Literal["prompt", "messages"]


class StoppedError(Exception):
    """The run ends; what was asked for is no longer wanted."""


class Generator(Protocol):
    """What `assistant.client.Client` and `evals.server.Server` have in common."""

    @property
    def chat(self) -> Callable[..., Iterator[Any]]: ...

    @property
    def complete(self) -> Callable[..., Iterator[Any]]: ...


@dataclass(frozen=True)
class Endpoint:
    url: str
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Subject:
    """One model under evaluation."""

    asked: str
    name: str
    """Immutable for a model of this machine; on a server, the server's own name."""
    digest: str
    """Of weights, tokenizer, template and adapter; for a server's model, of its address and the server's own word."""
    facts: Mapping[str, Any]
    """JSON-ready, for the report."""
    endpoint: Endpoint | None = None
    asks: frozenset[AskKind] = frozenset({"prompt", "messages"})
    """Some models have no chat template, some servers have chat only."""
    engine: str | None = None
    """That answers on this machine, with its version; None of a server, which does not say."""
    form: str | None = None
    """Of the weights that are served, as `serving_form.form_name` names it; the digest is of the original."""
    manifest: Path | None = None
    """Of an adapter: what it was trained on."""

    def can(self, ask: Ask) -> bool:
        """Whether it can be asked so."""
        return ("messages" if ask.prompt is None else "prompt") in self.asks

    def check(self, ask: Ask) -> None:
        """
        Raises:
            UsageError: it cannot be asked so.
        """
        if self.can(ask):
            return
        if ask.prompt is None:
            raise UsageError(f"{self.name} has no chat template; use --style completion")
        raise UsageError(
            f"{self.name} cannot continue raw text: its server has no /completions; use --style chat, where the "
            "task has it"
        )


Messages = Sequence[Mapping[str, str]]


def by_the_server(messages: Messages) -> Conversation | None:
    """A server that is not ours renders conversations and does not say how."""
    return None


@dataclass(frozen=True)
class Connected:
    """A subject that answers."""

    client: Generator
    model: str
    fim: prompts.FimTokens | None
    render: Callable[[Messages], Conversation | None] = by_the_server
    """How a conversation is written out for the model; None where that cannot be known."""
    refused: Callable[[], frozenset[str]] = frozenset
    """Optional fields that the server did not take so far."""


Connect = Callable[[Subject], AbstractContextManager[Connected]]


def local(spec: str) -> Subject:
    """A base, path, adapter or alias of this machine.

    Raises:
        HoneError: there is none, or its files are damaged.
    """
    from assistant.models.identity import base_identity
    from assistant.models.resolve import resolve
    from assistant.models.serving_form import form_name
    from evals.environment import describe_serving

    served = resolve(spec)
    identity = base_identity(served.base)
    adapter = served.adapter
    digest = adapter.digest if adapter else identity.digest
    engine, form = describe_serving(served.base), form_name(served.base.gguf)
    facts = {
        "asked": spec,
        "name": served.name,
        "digest": digest,
        "served": form,
        "base": {"name": served.base.name, **asdict(identity), "digest": identity.digest},
        "adapter": {"id": adapter.id, "digest": adapter.digest, "created": adapter.created} if adapter else None,
    }
    # The digest of no template: a raw prompt is all that such a model can be asked.
    chats = identity.template != hashlib.sha256(b"").hexdigest()
    asks = frozenset[AskKind]({"prompt", "messages"} if chats else {"prompt"})
    manifest = adapter.folder / "manifest.json" if adapter else None
    return Subject(spec, served.name, digest, facts, asks=asks, engine=engine, form=form, manifest=manifest)


def remote(url: str, key: str | None, names: Sequence[str]) -> list[Subject]:
    """Models of a server by its own names; with no names, the only one that it serves.

    Its weights cannot be seen from here: a server that serves others under the same name and description gives the
    same digest, and samples kept under it are taken for its own.

    Raises:
        UsageError: no name was given and the server has several models.
        UnknownModel: it does not list a name.
        HoneError: the server cannot be asked.
    """
    endpoint = Endpoint(base_url(url), key)
    with closing(Server(url, key, "")) as server:
        entries = {entry["id"]: entry for entry in _patiently(server.models)}
    known = ", ".join(sorted(entries)[:8])
    if not names and len(entries) != 1:
        raise UsageError(f"{endpoint.url} serves {len(entries)} models ({known}); choose by --model")
    missing = [name for name in names if name not in entries]
    if missing:
        raise UnknownModel(f"{endpoint.url} has no model {missing[0]!r}; it lists {known or 'none'}")
    return [_of_server(endpoint, entries[name]) for name in names or list(entries)]


def _of_server(endpoint: Endpoint, entry: Mapping[str, Any]) -> Subject:
    """Asks the server for one token, to know whether it continues raw prompts."""
    described = {key: value for key, value in sorted(entry.items()) if key not in _VOLATILE}
    identity = json.dumps({"url": endpoint.url, "described": described}, sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()
    name = str(entry["id"])
    facts = {"asked": name, "name": name, "digest": digest, "server": endpoint.url, "described": described}
    with closing(Server(endpoint.url, endpoint.key, name)) as server:
        asks = frozenset[AskKind]({"prompt", "messages"} if _patiently(server.completes) else {"messages"})
    return Subject(name, name, digest, facts, endpoint, asks)


def _patiently(call: Callable[[], _Result]) -> _Result:
    """Asks a server again that is busy, or still loads its model."""
    for wait in RETRY_SECONDS:
        try:
            return call()
        except TransientError as error:
            if not error.busy:
                raise
            time.sleep(max(wait, error.wait or 0.0))
    return call()


def connector(slots: int) -> Connect:
    """How subjects are reached: a gateway that is started for one computes `slots` requests together."""

    @contextmanager
    def connect(subject: Subject) -> Iterator[Connected]:
        if subject.endpoint is not None:
            with closing(Server(subject.endpoint.url, subject.endpoint.key, subject.name)) as server:
                yield Connected(
                    server, subject.name, _fim_tokens(subject.facts["described"]), refused=lambda: server.refused
                )
            return
        from assistant.client import connect as open_gateway
        from assistant.config import load_settings
        from assistant.skills.complete import model_form

        with open_gateway(load_settings(slots=slots), subject.name) as client:

            def render(messages: Messages) -> Conversation | None:
                try:
                    return client.render(messages, subject.name)
                except EngineError:
                    raise
                except HoneError:
                    # A fleet with a server that is no Hone's; what else is wrong the question itself will meet.
                    return None

            yield Connected(client, subject.name, model_form(client, subject.name).fim, render)

    return connect


def respond(
    connected: Connected,
    ask: Ask,
    *,
    temperature: float,
    seed: int,
    stopped: threading.Event,
    finished: Callable[[str], bool] = lambda text: False,
) -> Answer:
    """Asks once and reads the answer. It ends at the first stop string also where the server does not know them.

    Args:
        finished: whether the text so far decides the verdict already, whatever follows; the answer ends there.

    Raises:
        StoppedError: `stopped` was set meanwhile.
        EngineError: the server failed; the same request may work later.
        HoneError: the server refuses the request.
    """
    limits: dict[str, Any] = {
        "model": connected.model,
        "max_tokens": ask.max_tokens,
        "temperature": temperature,
        "seed": seed,
        "stop": ask.stop,
    }
    messages = [{"role": message.role, "content": message.content} for message in ask.messages]
    rendered = connected.render(messages) if ask.prompt is None else None
    started = time.perf_counter()
    if ask.prompt is None:
        stream = connected.client.chat(messages, **limits)
    else:
        stream = connected.client.complete(ask.prompt, parse_special=ask.parse_special, **limits)
    text, finish, first, details = "", "", None, dict[str, Any]()
    with closing(stream):  # type: ignore[type-var]
        for delta in stream:
            if stopped.is_set():
                raise StoppedError
            if delta.text and first is None:
                first = time.perf_counter() - started
            end = first_stop(text, delta.text, ask.stop)
            text += delta.text
            if end is not None:
                text, finish = text[:end], "stop"
                break
            if delta.finish_reason is not None:
                finish, details = delta.finish_reason, delta.details or {}
            elif finished(text):
                finish = "stop"
                break
    if not finish:
        raise HoneError("the answer ended without a reason; this server does not keep to OpenAI's API")
    return Answer(
        text=text,
        finish_reason=finish,
        prompt_tokens=details.get("prompt_tokens"),
        completion_tokens=details.get("completion_tokens"),
        seconds=time.perf_counter() - started,
        first_token_seconds=first,
        rendered=rendered,
        refused=tuple(sorted(connected.refused() & _DECIDING)),
    )


def first_stop(before: str, added: str, stops: Sequence[str]) -> int | None:
    """Where the stop string that ends first begins in `before + added`, None when there is none; `before` holds none.

    The first to end, so that it does not matter how a server cuts an answer into pieces.
    """
    if not stops or not added:
        return None
    start = max(0, len(before) - max(map(len, stops)) + 1)
    tail = before[start:] + added
    found = [(at + len(stop), start + at) for stop in stops if (at := tail.find(stop)) >= 0]
    return min(found)[1] if found else None


def _fim_tokens(described: Mapping[str, Any]) -> prompts.FimTokens | None:
    """A Hone gateway lists them; other servers do not say."""
    tokens = described.get("fim_tokens")
    if not isinstance(tokens, dict):
        return None
    try:
        return prompts.FimTokens(**tokens)
    except TypeError:
        return None
