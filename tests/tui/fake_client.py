"""A client with the interface of `assistant.client.Client` whose answers are written in the test."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from assistant.client import Cancellation
from assistant.engines.base import TokenLogprob
from assistant.errors import HoneError, UnknownModel
from tui.chat.models import ModelRow, ModelTarget
from tui.chat.services import Services

CONTEXT_LENGTH = 4096


@dataclass(frozen=True)
class Delta:
    text: str
    finish_reason: str | None = None
    details: dict[str, Any] | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass
class Script:
    """One answer: its pieces, then an error or an orderly end. A piece that is an Event is waited for."""

    pieces: Sequence[str | threading.Event] = ()
    error: str | None = None
    finish: str = "stop"


@dataclass
class FakeClient:
    scripts: list[Script]
    loaded: threading.Event = field(default_factory=threading.Event)
    load_error: str | None = None
    asked: list[list[dict[str, str]]] = field(default_factory=list)
    models_asked: list[str | None] = field(default_factory=list)
    closed_early: int = 0
    without_template: Sequence[str] = ()
    detail: str = ""
    """What it says while it loads."""

    waits: list[threading.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waits = [piece for script in self.scripts for piece in script.pieces if isinstance(piece, threading.Event)]

    def release(self) -> None:
        """Ends every wait, so that no thread outlives its test."""
        for wait in self.waits:
            wait.set()

    def health(self) -> dict[str, Any]:
        if self.load_error:
            return {"status": "loading", "error": self.load_error}
        if not self.loaded.is_set():
            return {"status": "loading", "detail": self.detail}
        return {"status": "ok", "context_length": CONTEXT_LENGTH}

    def is_reached(self) -> bool:
        return True

    def models(self) -> list[dict[str, Any]]:
        return [{"id": name, "chat": name not in self.without_template} for name in ("smollm2-135m", "shop")]

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]:
        """One token a word."""
        return [[0] * len(text.split()) for text in texts]

    def chat(
        self,
        messages: list[dict[str, str]],
        model: str | None = None,
        max_tokens: int = 1024,
        temperature: float = 0.2,
        seed: int | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        cancel: Cancellation | None = None,
    ) -> Iterator[Delta]:
        self.asked.append(messages)
        self.models_asked.append(model)
        script = self.scripts.pop(0)
        written = 0
        ended = False
        try:
            for piece in script.pieces:
                if isinstance(piece, threading.Event):
                    piece.wait(300)
                else:
                    written += 1
                    # Each piece is a token, the later the less probable.
                    token = TokenLogprob(0, piece, tuple(piece.encode()), -float(written))
                    yield Delta(piece, logprobs=() if logprobs is None else (token,))
            ended = True
            if script.error:
                raise HoneError(script.error)
            details = {
                "model": model,
                "adapter": None,
                "prompt_tokens": 120,
                "completion_tokens": written,
                "tokens_per_second": 117.0,
                "context_length": CONTEXT_LENGTH,
            }
            yield Delta("", script.finish, details)
        finally:
            self.closed_early += not ended


KNOWN = {
    "smollm2-135m": ModelTarget("smollm2-135m", "smollm2-135m"),
    "qwen2.5-coder-0.5b": ModelTarget("qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b"),
    "shop": ModelTarget("shop", "smollm2-135m", "shop@0123456789ab"),
}


def check(name: str, may_fetch: bool) -> ModelTarget:
    if name not in KNOWN:
        raise UnknownModel(f"no model is called {name}; did you mean smollm2-135m?")
    return KNOWN[name]


def rows() -> list[ModelRow]:
    return [
        ModelRow("base", "smollm2-135m", "ready"),
        ModelRow("base", "qwen2.5-coder-0.5b", "not fetched; `hone models pull qwen2.5-coder-0.5b`"),
        ModelRow("adapter", "shop@0123456789ab", "on smollm2-135m"),
        ModelRow("alias", "champion", "is shop@0123456789ab"),
    ]


def services(client: FakeClient) -> Services:
    @contextmanager
    def connect(model: str | None) -> Iterator[FakeClient]:
        yield client

    return Services(connect=connect, check=check, rows=rows, clipboard=list)


def loaded_client(*scripts: Script) -> FakeClient:
    client = FakeClient(list(scripts))
    client.loaded.set()
    return client
