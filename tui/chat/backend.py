"""The thread that talks to the gateway: it connects, waits for the model, and answers prompts one after another.

What it does arrives at the screen as messages. Each piece of an answer is on disk before it is posted.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textual.message import Message as Posted

from assistant.errors import HoneError
from assistant.sessions import Session
from assistant.skills import chat
from tui.chat.models import ModelTarget

if TYPE_CHECKING:
    from assistant.client import Client, Delta

Connect = Callable[[str | None], AbstractContextManager["Client"]]
Check = Callable[[str, bool], ModelTarget]
_FLUSH_SECONDS = 0.1
_POLL_SECONDS = 0.1


@dataclass
class Loading(Posted):
    """The model is being loaded (or fetched); `detail` says what is going on."""

    target: ModelTarget
    detail: str = ""


@dataclass
class Ready(Posted):
    target: ModelTarget
    context_length: int


@dataclass
class Unavailable(Posted):
    """No model can answer; the line says why."""

    line: str


@dataclass
class Refused(Posted):
    """A switch that was not made: the model in use stays."""

    line: str


@dataclass
class Started(Posted):
    """The prompt's turn has come; `dropped_turns` of the oldest turns did not fit any more."""

    job: "Ask"
    dropped_turns: int
    tokens: int


@dataclass
class Piece(Posted):
    job: "Ask"
    text: str


@dataclass
class Finished(Posted):
    """`line` is the error when `finish` is "error"."""

    job: "Ask"
    finish: str
    line: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(eq=False)
class Ask:
    """A prompt and the session it belongs to."""

    text: str
    session: Session
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _Switch:
    model: str


class Backend:
    """Runs until `close`. `post` must be safe to call from another thread."""

    def __init__(self, connect: Connect, check: Check, post: Callable[[Posted], object], model: str | None) -> None:
        self._connect = connect
        self._check = check
        self._post = post
        self._jobs: queue.SimpleQueue[Ask | _Switch | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._open = ExitStack()
        self._client: Client | None = None
        self._target: ModelTarget | None = None
        self._context_length = 0
        self._current: Ask | None = None
        self._suspect = False
        """The last answer broke off: before the next one the gateway is asked whether it still lives."""
        self._thread = threading.Thread(target=self._run, args=(model,), name="backend", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self, text: str, session: Session) -> Ask:
        job = Ask(text, session)
        self._jobs.put(job)
        return job

    def switch(self, model: str) -> None:
        self._jobs.put(_Switch(model))

    @property
    def serving(self) -> "tuple[Client, str] | None":
        """The client and the model's name that other screens may ask too; None while none is loaded."""
        client, target = self._client, self._target
        return None if client is None or target is None else (client, target.asked)

    def close(self, timeout: float = 5.0) -> None:
        """Stops the answer under way (what came is kept) and the gateway that was started here."""
        self._closing.set()
        if self._current is not None:
            self._current.stop.set()
        self._jobs.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self, model: str | None) -> None:
        with self._open:
            self._become(model, at_start=True)
            while (job := self._jobs.get()) is not None and not self._closing.is_set():
                if isinstance(job, Ask):
                    self._current = job
                    self._answer(job)
                    self._current = None
                else:
                    self._become(job.model)

    def _become(self, model: str | None, at_start: bool = False) -> None:
        try:
            target = self._check(model or _configured_model(), at_start)
        except Exception as error:
            line = _line(error)
            self._post(Unavailable(line) if at_start else Refused(line))
            return
        try:
            if self._client is None or self._target is None or target.base != self._target.base:
                self._reconnect(target)
        except Exception as error:
            self._client = None
            self._post(Unavailable(_line(error)))
        else:
            self._target = target
            if self._client is not None:
                self._post(Ready(target, self._context_length))

    def _reconnect(self, target: ModelTarget) -> None:
        self._post(Loading(target))
        self._client = None
        self._open.close()
        client = self._open.enter_context(self._connect(target.asked))
        shown = ""
        while not self._closing.is_set():
            health = client.health()
            if health.get("status") == "ok":
                self._client = client
                self._context_length = int(health.get("context_length") or 0)
                return
            if health.get("error"):
                raise HoneError(str(health["error"]))
            if (detail := str(health.get("detail") or "")) != shown:
                shown = detail
                self._post(Loading(target, detail))
            self._closing.wait(_POLL_SECONDS)

    def _revive(self, client: "Client", target: ModelTarget) -> None:
        if not self._suspect:
            return
        self._suspect = False
        try:
            client.health()
        except Exception:
            self._reconnect(target)
            self._post(Ready(target, self._context_length))

    def _answer(self, job: Ask) -> None:
        parts: list[str] = []
        details: dict[str, Any] = {}
        finish, line = "cancelled", ""
        began = time.monotonic()
        try:
            if job.stop.is_set():
                self._post(Finished(job, "cancelled"))
                return
            job.session.user(job.text)
            finish, details = self._stream(job, parts)
        except Exception as error:
            finish, line, self._suspect = "error", _line(error), True
        text = "".join(parts)
        model = str(details.get("model") or (self._target.asked if self._target else ""))
        try:
            job.session.answer(text, finish, model, details)
        except HoneError as error:
            line = line or str(error)
        self._post(Finished(job, finish, line, details, time.monotonic() - began))

    def _stream(self, job: Ask, parts: list[str]) -> tuple[str, dict[str, Any]]:
        if self._client is None or self._target is None:
            raise HoneError("no model is loaded; choose one with /model NAME")
        self._revive(self._client, self._target)
        client = self._client
        options = chat.Options(model=self._target.asked)
        history = job.session.conversation.messages
        prompt = chat.prepare(client, history, options, self._context_length)
        self._post(Started(job, prompt.dropped_turns, prompt.tokens))
        finish: str = "stop"
        details: dict[str, Any] = {}
        with closing(_batches(chat.stream(client, prompt, options), job.stop)) as batches:
            for batch in batches:
                if batch.text:
                    parts.append(batch.text)
                    job.session.partial(batch.text)
                    self._post(Piece(job, batch.text))
                finish, details = batch.finish or finish, batch.details or details
        return finish, details


@dataclass(frozen=True)
class _Batch:
    text: str
    finish: str | None = None
    details: dict[str, Any] | None = None


def _batches(deltas: Iterator["Delta"], stop: threading.Event) -> Generator[_Batch]:
    """The deltas of about a tenth of a second at a time, until they end or `stop` is set.

    They are read in a thread of their own, so that `stop` is obeyed at once: while the model still reads a long prompt
    there is nothing to wait for. That thread closes the request with the next delta.
    """
    inbox: queue.SimpleQueue[Delta | Exception | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(deltas, stop, inbox), name="answer", daemon=True).start()
    pending: list[str] = []
    finish: str | None = None
    details: dict[str, Any] | None = None
    due = 0.0
    while not stop.is_set():
        try:
            item = inbox.get(timeout=_FLUSH_SECONDS)
        except queue.Empty:
            due = 0.0
        else:
            if item is None:
                yield _Batch("".join(pending), finish, details)
                return
            if isinstance(item, Exception):
                yield _Batch("".join(pending))
                raise item
            pending.append(item.text)
            finish, details = item.finish_reason or finish, item.details or details
        if any(pending) and time.monotonic() >= due:
            yield _Batch("".join(pending))
            pending.clear()
            due = time.monotonic() + _FLUSH_SECONDS
    yield _Batch("".join(pending), "cancelled")


def _read(
    deltas: Iterator["Delta"], stop: threading.Event, inbox: "queue.SimpleQueue[Delta | Exception | None]"
) -> None:
    try:
        for delta in deltas:
            inbox.put(delta)
            if stop.is_set():
                break
        inbox.put(None)
    except Exception as error:
        inbox.put(error)
    finally:
        close = getattr(deltas, "close", None)
        if close is not None:
            close()


def _configured_model() -> str:
    from assistant.config import load_settings

    return load_settings().model


def _line(error: Exception) -> str:
    """One line for the conversation, whatever went wrong."""
    if isinstance(error, HoneError):
        return str(error)
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}{': ' + text if text else ''}"
