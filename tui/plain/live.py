"""The chat by lines: what the backend does, printed as it comes; nothing that was printed changes afterwards.

All of it happens in one thread, which takes what comes from the backend, the typed lines and the signals one after
another from an inbox.
"""

import queue
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from assistant import sessions
from assistant.conversations import Message
from assistant.errors import HoneError
from assistant.sessions import Session
from assistant.skills import chat
from tui.chat import events
from tui.chat.backend import Backend
from tui.chat.endings import ENDINGS
from tui.chat.events import Ask, Compare
from tui.chat.services import Services
from tui.commands.answering import note, write
from tui.plain.lines import End, Line, Lines, Pasted, Unreadable
from tui.shortened import from_home

_DETAIL_SECONDS = 10.0
"""Between lines on how far a download or the loading of the model is."""
_LONGEST_WORD = 200


class Interrupted:
    """Ctrl+C."""


class Gone:
    """The terminal was closed, or the process was told to end."""


class Left(Exception):
    """The chat is over."""


class LiveChat:
    """Subclasses add what the user does.

    Args:
        typed: descriptor of the file that lines are read from.
        terminal: a person sits there.
    """

    def __init__(self, services: Services, session: Session, model: str | None, typed: int, terminal: bool) -> None:
        self._services = services
        self._session = session
        self._terminal = terminal
        self._prompts = terminal and sys.stdout.isatty()
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._backend = Backend(services.connect, services.check, self._inbox.put, model)
        self._lines = Lines(typed, self._inbox.put, terminal)
        self._typed: deque[tuple[str, bool]] = deque()
        """Lines that nobody has taken yet, and whether the session keeps them meanwhile."""
        self._input_ended = False
        self._prompted = False
        """The last thing on the screen is the prompt, with what is being typed behind it."""
        self._wants_line = False
        self._reply: str | None = None
        """What was typed to a question of Hone's."""
        self._asks = False
        """Hone has asked something; the next line is for it."""
        self._refused = False
        self._under_way: Ask | Compare | None = None
        self._began = False
        """The model has been asked what is under way."""
        self._loading = True
        self._shown_model = ""
        self._detail_at = 0.0
        self._side: int | None = None
        self._held = ""
        """The beginning of a word whose end has not come."""
        self._line_open = False
        self._meter = ""
        self._length = 0
        self._told: set[str] = set()
        self._gone = False
        """The terminal was closed: the user has not left in order."""
        self.failed = False
        """Something that was asked for did not come about."""

    @property
    def session_id(self) -> str | None:
        """The id to resume by; None while nothing was said."""
        kept = self._session.conversation
        return kept.id if kept.messages or kept.draft or kept.jobs else None

    def post(self, event: object) -> None:
        """From a signal's handler or another thread."""
        self._inbox.put(event)

    def close(self) -> None:
        """Stops what runs; what came of it and what was typed ahead is on disk afterwards."""
        self._backend.close()
        if not self._gone:
            with suppress(HoneError):
                self._session.leave()
        self._session.close()

    # What comes

    def _until(self, done: Callable[[], object]) -> None:
        """Takes what comes until `done`."""
        while not done():
            if self._wants_line and self._prompts and not self._prompted:
                write("> ")
                self._prompted = True
            self._handle(self._inbox.get())

    def _handle(self, event: object) -> None:
        match event:
            case Line():
                self._lines.taken()
                self._prompted = False
                self._take_line(event.text)
            case Pasted():
                self._prompted = False
                self._note(f"{event.count} lines pasted; an empty line sends them")
            case Unreadable():
                self._fail(event.why)
            case End():
                if self._terminal:
                    write("\n")
                    raise Left
                self._input_ended = True
            case Interrupted():
                self._interrupt()
            case Gone():
                self._gone = True
                raise Left
            case _:
                self._backend_event(event)

    def _take_line(self, text: str) -> None:
        if self._asks and self._terminal:
            self._reply = text
            return
        kept = self._terminal and not self._wants_line and bool(text.strip())
        if kept:
            self._keep(lambda: self._session.queued(text))
        self._typed.append((text, kept))

    def _interrupt(self) -> None:
        if not self._terminal:
            raise KeyboardInterrupt
        if self._under_way is not None:
            self._under_way.stop.set()
        elif self._asks:
            self._refused = True
            self._newline()
        else:
            self._note("Ctrl+D or /quit leaves")

    def _backend_event(self, event: object) -> None:
        match event:
            case events.Loading():
                self._tell_loading(event)
            case events.Ready():
                self._loading, self._length = False, event.context_length
                if event.target.label != self._shown_model:
                    self._shown_model = event.target.label
                    self._note(f"{event.target.label} answers here; its context is {event.context_length} tokens")
            case events.Unavailable() | events.Refused():
                self._loading = False
                self._fail(event.line)
            case events.Rejected():
                self._under_way = None
                if isinstance(job := event.job, Ask):
                    self._keep(lambda: job.session.taken_back(job.text))
                self._fail(event.line)
            case events.Started():
                self._started(event)
            case events.Piece():
                self._print_words(event.text)
            case events.Finished():
                self._end_words()
                self._under_way = None
                if event.question is None:
                    self._keep(lambda: event.job.session.taken_back(event.job.text))
                self._tell_end(event.finish if self._began else "", event.line)
                self._began = False
            case _:
                self._comparison_event(event)

    def _comparison_event(self, event: object) -> None:
        match event:
            case events.CompareStarted():
                self._side = None
            case events.ComparePiece():
                self._name_side(event.job, event.side)
                self._print_words(event.text)
            case events.CompareSide():
                self._name_side(event.job, event.side)
                self._end_words()
                self._tell_side(event)
            case events.CompareFinished():
                self._under_way = None

    def _tell_loading(self, event: events.Loading) -> None:
        self._loading = True
        now = time.monotonic()
        if not event.detail or now - self._detail_at >= _DETAIL_SECONDS:
            self._detail_at = now
            self._note(f"loading {event.target.label} …{' ' + event.detail if event.detail else ''}")

    def _started(self, event: events.Started) -> None:
        self._began = True
        materials = event.question.materials
        if materials:
            titles = [f"{one.title or 'Standard input'}{f' ({one.note})' if one.note else ''}" for one in materials]
            self._note("shown: " + "; ".join(titles))
        for cut in event.prompt.cuts:
            if cut not in self._told:
                self._told.add(cut)
                self._note(cut)
        self._meter = chat.meter(event.prompt, self._length)

    def _name_side(self, job: Compare, side: int) -> None:
        if side != self._side:
            self._side = side
            self._say(f"{job.models[side]}:")

    def _tell_side(self, event: events.CompareSide) -> None:
        speed, tokens = event.details.get("tokens_per_second"), event.details.get("completion_tokens")
        figures = [f"{tokens} tokens" if tokens is not None else "", f"{speed:.0f} tokens a second" if speed else ""]
        if told := ", ".join(part for part in figures if part):
            self._note(told)
        self._tell_end(event.finish, event.line)

    def _tell_end(self, finish: str, line: str) -> None:
        if finish in ENDINGS:
            self._note(ENDINGS[finish])
        if line:
            self._fail(line)

    # What is asked

    def _ask(self, text: str, again: Message | None = None, kept: bool = False) -> None:
        """Asks the model and prints the answer.

        Args:
            again: a question that was asked before, as it was.
            kept: the session keeps the text as one that waits.
        """
        if not kept:
            self._keep(lambda: self._session.queued(text))
        job = self._backend.ask(text, self._session, again)
        self._under_way = job
        self._until(lambda: self._under_way is not job)

    def _next_line(self) -> tuple[str, bool] | None:
        """The next line, and whether the session keeps it; None when there will be no more."""
        self._wants_line = True
        try:
            self._until(lambda: self._typed or self._input_ended)
        finally:
            self._wants_line = False
        return self._typed.popleft() if self._typed else None

    def _answer_to(self, question: str) -> str | None:
        """What is replied to a question; None for Ctrl+C, and when no more lines come.

        What a person had typed before the question stood there is no reply to it.
        """
        self._say(question)
        self._reply, self._refused, self._asks, self._wants_line = None, False, True, True
        try:
            self._until(
                lambda: (
                    self._reply is not None
                    or self._refused
                    or (not self._terminal and (self._typed or self._input_ended))
                )
            )
        finally:
            self._asks = self._wants_line = False
        if self._refused or self._terminal:
            return None if self._refused else self._reply
        return self._typed.popleft()[0] if self._typed else None

    def _become(self, session: Session) -> None:
        """Goes on with another conversation; what was typed ahead goes along."""
        for text, kept in self._typed:
            if kept:
                self._keep(partial(self._session.taken_back, text))
                self._keep(partial(session.queued, text))
        self._keep(self._session.leave)
        self._session.close()
        self._session = session
        self._told.clear()
        self._meter = ""

    def _fork(self, count: int) -> None:
        """Goes on in a copy of the conversation's first messages; the conversation itself stays as it is."""
        left = self._session.id
        self._become(sessions.fork(self._session.conversation, count))
        self._note(f"the conversation before is kept: /open {left}")

    # What is printed

    def _say(self, text: str) -> None:
        """Lines of what was asked for."""
        self._newline()
        write(text if text.endswith("\n") else text + "\n")

    def _note(self, text: str) -> None:
        """Lines about what was asked for, on standard error."""
        self._newline()
        for line in text.split("\n"):
            note(line)

    def _fail(self, text: str) -> None:
        self.failed = True
        self._note(text)

    def _print_words(self, text: str) -> None:
        """Whole words, since a screen reader speaks what it gets at once."""
        text = self._held + text
        end = 1 + max(text.rfind(" "), text.rfind("\n"))
        if not end and len(text) > _LONGEST_WORD:
            end = len(text)
        self._held = text[end:]
        if end:
            if self._prompted:
                self._newline()
            write(text[:end])
            self._line_open = not text[:end].endswith("\n")

    def _end_words(self) -> None:
        held, self._held = self._held, ""
        if held:
            write(held)
            self._line_open = not held.endswith("\n")
        self._newline()

    def _newline(self) -> None:
        """What comes next begins a line."""
        if self._line_open or self._prompted:
            write("\n")
        self._line_open = self._prompted = False

    def _keep(self, keep: Callable[[], object]) -> None:
        try:
            keep()
        except HoneError as error:
            self._fail(str(error))

    def _welcome(self) -> None:
        if self._terminal:
            self._note(f"Hone in {from_home(Path.cwd())}, by lines. /help lists what it does; Ctrl+D leaves.")
