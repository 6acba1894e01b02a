"""The thread that talks to the gateway: it connects, waits for the model, and answers prompts one after another.

What it does arrives at the screen as messages. Each piece of an answer is on disk before it is posted.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from textual.message import Message as Posted

from assistant.conversations import Message
from assistant.errors import HoneError
from assistant.sessions import Session
from assistant.skills import chat, instructions, questions, tasks, why
from assistant.skills.mentions import Place
from tui import faults
from tui.chat.batches import batches
from tui.chat.commands import parse_skill
from tui.chat.events import (
    Ask,
    Compare,
    CompareFinished,
    ComparePiece,
    CompareSide,
    CompareStarted,
    Finished,
    Loading,
    Piece,
    Ready,
    Refused,
    Rejected,
    Restarting,
    Started,
    Unavailable,
    logged,
)
from tui.chat.models import ModelTarget

if TYPE_CHECKING:
    from assistant.client import Client
    from assistant.engines.base import TokenLogprob

Connect = Callable[[str | None], AbstractContextManager["Client"]]
Check = Callable[[str, bool], ModelTarget]
_POLL_SECONDS = 0.1
_WATCH_SECONDS = 5.0
"""Between two looks at whether the gateway lives, while nothing is asked."""


@dataclass(frozen=True)
class _Switch:
    model: str


@dataclass(frozen=True)
class _Fitted:
    """A question with what the model can read of it, and how it is asked."""

    question: Message
    client: "Client"
    options: chat.Options
    told: instructions.Instructions


class _Look:
    """Whether the gateway still lives; started again where it does not."""


class Backend:
    """Runs until `close`. `post` must be safe to call from another thread."""

    def __init__(self, connect: Connect, check: Check, post: Callable[[Posted], object], model: str | None) -> None:
        self._connect = connect
        self._check = check
        self._to = post
        self._jobs: queue.SimpleQueue[Ask | Compare | _Switch | _Look | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._open = ExitStack()
        self._client: Client | None = None
        self._target: ModelTarget | None = None
        self._context_length = 0
        self._current: Ask | Compare | None = None
        self.why = ""
        """On the last answer, as `assistant.skills.why` tells it."""
        self._thread = threading.Thread(target=self._run, args=(model,), name="backend", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self, text: str, session: Session, again: Message | None = None) -> Ask:
        job = Ask(text, session, again)
        self._jobs.put(job)
        return job

    def compare(self, text: str, history: tuple[Message, ...], models: tuple[str, ...]) -> Compare:
        job = Compare(text, history, models)
        self._jobs.put(job)
        return job

    def switch(self, model: str) -> None:
        self._jobs.put(_Switch(model))

    def look_after(self) -> None:
        """Somebody else's request has failed: a gateway that is gone is started again."""
        self._jobs.put(_Look())

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

    def _post(self, event: Posted) -> None:
        if told := logged(event):
            faults.LOG.debug("%s", told)
        self._to(event)

    def _run(self, model: str | None) -> None:
        with self._open:
            self._become(model, at_start=True)
            while (job := self._next()) is not None and not self._closing.is_set():
                if isinstance(job, _Switch):
                    self._become(job.model)
                    continue
                if isinstance(job, _Look):
                    self._look_after()
                    continue
                self._current = job
                if isinstance(job, Ask):
                    self._answer(job)
                else:
                    self._compare(job)
                self._current = None

    def _next(self) -> Ask | Compare | _Switch | _Look | None:
        while True:
            try:
                return self._jobs.get(timeout=_WATCH_SECONDS)
            except queue.Empty:
                self._look_after()

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
        length = self._loaded(client, target)
        if length is None:
            return
        chat.check_template(client, target.asked)
        self._client, self._context_length = client, length

    def _loaded(self, client: "Client", target: ModelTarget) -> int | None:
        """Waits until the client's model is loaded; its context length, None when the app closes meanwhile."""
        shown = ""
        while not self._closing.is_set():
            health = client.health()
            if health.get("status") == "ok":
                return int(health.get("context_length") or 0)
            if health.get("error"):
                raise HoneError(str(health["error"]))
            if (detail := str(health.get("detail") or "")) != shown:
                shown = detail
                self._post(Loading(target, detail))
            self._closing.wait(_POLL_SECONDS)
        return None

    def _look_after(self) -> None:
        """A gateway that is gone is started again."""
        client, target = self._client, self._target
        if client is None or target is None or client.is_reached():
            return
        self._post(Restarting())
        try:
            self._reconnect(target)
        except Exception as error:
            self._client = None
            self._post(Unavailable(_line(error)))
        else:
            if self._client is not None:
                self._post(Ready(target, self._context_length))

    def _answer(self, job: Ask) -> None:
        began = time.monotonic()
        if job.stop.is_set():
            self._post(Finished(job, "cancelled"))
            return
        try:
            question = job.again or _question(job.text)
        except Exception as error:
            self._post(Rejected(job, _line(error)))
            return
        fitted: _Fitted | Exception
        try:
            fitted = self._fitted(question)
        except Exception as error:
            # Whatever happens, what was asked is on disk.
            fitted = error
        if not job.begin():
            self._post(Finished(job, "cancelled"))
            return
        parts: list[str] = []
        details: dict[str, Any] = {}
        kept: Message | None = None
        finish, line = "cancelled", ""
        try:
            if not isinstance(fitted, Exception):
                question = fitted.question
            kept = job.session.user(question.text, question.asked, question.materials)
            if isinstance(fitted, Exception):
                raise fitted
            finish, details = self._stream(job, fitted, kept, parts)
        except Exception as error:
            finish, line = "error", _line(error)
        text = "".join(parts)
        model = str(details.get("model") or (self._target.asked if self._target else ""))
        try:
            answer = job.session.answer(text, finish, model, details)
        except HoneError as error:
            answer = Message("assistant", text, finish, model)
            line = line or str(error)
        seconds = time.monotonic() - began
        self._post(Finished(job, finish, line, details, seconds, question=kept or question, answer=answer))
        if finish == "error":
            self._look_after()

    def _fitted(self, question: Message) -> _Fitted:
        client, target = self._connected()
        options = chat.Options(model=target.asked, logprobs=why.ALTERNATIVES)
        told = instructions.load(Place.here())
        return _Fitted(_fitted(client, question, options, self._context_length, told), client, options, told)

    def _stream(self, job: Ask, fitted: _Fitted, question: Message, parts: list[str]) -> tuple[str, dict[str, Any]]:
        client, options, told = fitted.client, fitted.options, fitted.told
        history = job.session.conversation.messages
        prompt = chat.prepare(client, history, options, self._context_length, told)
        self._post(Started(job, prompt, question))

        def keep(text: str) -> None:
            parts.append(text)
            job.session.partial(text)
            self._post(Piece(job, text))

        tokens: list[TokenLogprob] = []
        ended = _read(client, prompt, options, job.stop, keep, tokens)
        self.why = "\n".join(why.lines(why.explain(tokens, prompt, question.materials, told)))
        return ended

    def _connected(self) -> tuple["Client", ModelTarget]:
        if self._client is None or self._target is None:
            raise HoneError("no model is loaded; choose one with /model NAME")
        return self._client, self._target

    def _compare(self, job: Compare) -> None:
        if job.stop.is_set():
            self._post(CompareFinished(job))
            return
        try:
            question = _question(job.text)
            targets = [self._check(name, False) for name in job.models]
        except Exception as error:
            self._post(Rejected(job, _line(error)))
            return
        self._post(CompareStarted(job))
        for side, target in enumerate(targets):
            try:
                finish, details = self._compare_side(job, side, target, question)
                self._post(CompareSide(job, side, finish, details=details))
            except Exception as error:
                self._post(CompareSide(job, side, "error", _line(error)))
                self._look_after()
        self._post(CompareFinished(job))

    def _compare_side(
        self, job: Compare, side: int, target: ModelTarget, question: Message
    ) -> tuple[str, dict[str, Any]]:
        """One model after the other, so that neither slows the other down."""
        if job.stop.is_set():
            return "cancelled", {}
        told = instructions.load(Place.here())
        with self._client_of(target) as (client, length):
            options = chat.Options(model=target.asked)
            fitted = _fitted(client, question, options, length, told)
            prompt = chat.prepare(client, (*job.history, fitted), options, length, told)
            return _read(client, prompt, options, job.stop, lambda text: self._post(ComparePiece(job, side, text)), [])

    @contextmanager
    def _client_of(self, target: ModelTarget) -> Iterator[tuple["Client", int]]:
        """The client at hand where it serves the model's base, else one for this answer alone."""
        if self._client is not None and self._target is not None and target.base == self._target.base:
            yield self._client, self._context_length
            return
        with self._connect(target.asked) as client:
            length = self._loaded(client, target)
            chat.check_template(client, target.asked)
            yield client, length or 0


def _question(text: str) -> Message:
    """What a typed line asks: a skill's slash command, or the user's own words."""
    place = Place.here()
    skill = parse_skill(text)
    if skill is not None:
        return questions.of_skill(tasks.named(skill.name), skill.argument, place, text)
    return questions.of_text(text, place)


def _fitted(
    client: "Client", question: Message, options: chat.Options, length: int, told: instructions.Instructions
) -> Message:
    words = question.asked or question.text
    shown = chat.fit_materials(client, words, question.materials, options, length, told)
    return replace(question, materials=tuple(shown))


def _read(
    client: "Client",
    prompt: chat.Prompt,
    options: chat.Options,
    stop: threading.Event,
    keep: Callable[[str], object],
    tokens: "list[TokenLogprob]",
) -> tuple[str, dict[str, Any]]:
    """Streams an answer to `keep`, its probabilities to `tokens`; how it finished, and the gateway's details."""
    from assistant.client import Cancellation

    finish: str = "stop"
    details: dict[str, Any] = {}
    cancellation = Cancellation()
    deltas = chat.stream(client, prompt, options, cancellation)
    with closing(batches(deltas, stop, cancellation.cancel)) as came:
        for batch in came:
            if batch.text:
                keep(batch.text)
            tokens += batch.tokens
            finish, details = batch.finish or finish, batch.details or details
    return finish, details


def _configured_model() -> str:
    from assistant.config import load_settings

    return load_settings().model


def _line(error: Exception) -> str:
    """One line for the conversation, whatever went wrong."""
    if isinstance(error, HoneError):
        return str(error)
    faults.record("the backend", error)
    return f"unexpected {faults.line(error)}"
