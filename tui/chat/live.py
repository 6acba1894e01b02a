"""The half of the chat screen that shows what the backend does: loading, answers as they come, comparisons, errors."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message as Posted
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import OptionList, Static

from assistant.errors import HoneError
from assistant.sessions import Session
from assistant.skills import chat
from tui import collector
from tui.chat import events
from tui.chat.answer import Answer
from tui.chat.backend import Backend
from tui.chat.comparing import Comparison
from tui.chat.conversation import SUGGESTIONS, Conversation, Notice, UserMessage
from tui.chat.events import Ask, Compare
from tui.chat.ops.card import JobCard
from tui.chat.prompt import PromptInput
from tui.chat.services import Services
from tui.chat.status import Status, StatusLine
from tui.chat.suggestions import Suggestions
from tui.keybar import KeyBar
from tui.shortened import from_home

if TYPE_CHECKING:
    from assistant.client import Client

_TICK_SECONDS = 0.5
_SWEEP_SECONDS = 1.0
_SWEPT_ANSWERS = 10
"""A sweep takes 0.1 s, and ten answers leave a few MB."""


@dataclass
class Said(Posted):
    """A notice from a worker thread."""

    text: str
    kind: str


class LiveScreen(Screen[None]):
    """Subclasses add what the user does."""

    def __init__(self, services: Services, session: Session, model: str | None) -> None:
        super().__init__()
        self.VERTICAL_BREAKPOINTS = [(0, "-short"), (22, "-tall")]
        self._services = services
        self._session = session
        self._backend = Backend(services.connect, services.check, self.post_message, model)
        self._waiting: dict[Ask | Compare, UserMessage | None] = {}
        self._under_way: Ask | Compare | None = None
        self._answer: Answer | None = None
        self._asked: UserMessage | None = None
        """What the answer under way answers."""
        self._comparison: Comparison | None = None
        self._meter = ""
        """What of the context the last prompt took."""
        self._told: set[str] = set()
        """What was said to be left out of the context: it is not said at each prompt again."""
        self._began = 0.0
        self._unswept = 0
        """Answers since the last sweep."""
        self._ticker: Timer | None = None
        self._draft = session.conversation.draft
        self._goes = False
        self.unavailable = ""
        """Why no model is loaded; empty while one is, or is under way."""

    @property
    def serving(self) -> "tuple[Client, str] | None":
        """The client and the model that answer here; None while none is loaded."""
        return self._backend.serving

    def look_after_engine(self) -> None:
        """Another screen's request has failed: an engine that is gone is started again."""
        self._backend.look_after()

    @property
    def session_id(self) -> str | None:
        """The id to resume by; None while nothing was said."""
        kept = self._session.conversation
        return kept.id if kept.messages or kept.draft or kept.jobs or self._waiting else None

    def compose(self) -> ComposeResult:
        with Static(id="title"):
            yield Static(
                Content.from_markup("[b]Hone[/b]  [dim]$folder[/dim]", folder=from_home(Path.cwd())), id="where"
            )
            yield Static("", id="session", markup=False)
        yield Conversation()
        offered = Suggestions()
        yield offered
        yield PromptInput(offered, SUGGESTIONS)
        yield StatusLine()
        yield KeyBar()

    async def on_mount(self) -> None:
        await self._show_conversation()
        if self._session.conversation.draft:
            self._prompt.put(self._session.conversation.draft)
        if self._session.conversation.broke_off:
            line = "Hone ended in the middle of this conversation; all of it is back. /clear begins a new one"
            self.notify(line, timeout=15)
        # Not before the first frame is out: its imports would take their time from it.
        self.call_after_refresh(self._backend.start)

    async def _show_conversation(self) -> None:
        """What was said, and the jobs whose end was not shown yet."""
        kept = self._session.conversation
        self._show_title()
        await self._conversation.reset(kept.messages)
        self._prompt.suggest(() if kept.messages else SUGGESTIONS)
        for identifier in kept.jobs:
            await self._conversation.add(JobCard(identifier))

    def leave(self) -> None:
        """The user goes away in order: the next start begins with a new conversation."""
        self._goes = True

    def close(self) -> None:
        """Stops what runs; drafts and partial answers are on disk afterwards. The screen may be gone already."""
        with suppress(HoneError):
            self._session.draft(self._draft)
        self._backend.close()
        if self._goes:
            with suppress(HoneError):
                self._session.leave()
        self._session.close()

    @on(OptionList.OptionSelected, "#suggestions")
    def _suggestion_clicked(self) -> None:
        self._prompt.take()
        self.set_focus(self._prompt)

    def _show_title(self) -> None:
        kept = self._session.conversation
        self.query_one("#session", Static).update(f"{kept.name} · {kept.id}" if kept.name else f"session {kept.id}")

    @on(Said)
    async def _said(self, event: Said) -> None:
        await self._say(event.text, event.kind)

    @on(events.Loading)
    def _loading(self, event: events.Loading) -> None:
        self.unavailable = ""
        self._update(state="loading", detail=event.detail, model=event.target.base, adapter=event.target.adapter or "")

    @on(events.Ready)
    async def _ready(self, event: events.Ready) -> None:
        self.unavailable = ""
        switched = self._status.state == "ready"
        if not switched and not self.app.is_headless:
            collector.settle()
        target, length = event.target, event.context_length
        state = "answering" if self._under_way is not None else "ready"
        self._update(state=state, detail="", model=target.base, adapter=target.adapter or "", context_length=length)
        if switched:
            await self._say(f"now answering: {target.label}")

    @on(events.Restarting)
    async def _restarting(self, event: events.Restarting) -> None:
        await self._say("what answers here has ended; it is started again", "error")

    @on(events.Unavailable)
    async def _unavailable(self, event: events.Unavailable) -> None:
        self.unavailable = event.line
        self._update(state="down", detail="no model")
        await self._say(event.line, "error")

    @on(events.Refused)
    async def _refused(self, event: events.Refused) -> None:
        await self._say(event.line, "error")

    @on(events.Rejected)
    async def _rejected(self, event: events.Rejected) -> None:
        """The prompt goes back into the box, where it can be put right."""
        if event.job not in self._waiting:
            # It was taken back meanwhile, so nobody waits for it.
            return
        message = self._waiting.pop(event.job)
        if message is not None:
            message.note("not asked")
        self._update(queued=len(self._waiting))
        await self._say(event.line, "error")
        if isinstance(job := event.job, Ask):
            self._keep(lambda: job.session.taken_back(job.text))
            if not self._prompt.text:
                self._prompt.put(job.text)

    @on(events.Started)
    async def _started(self, event: events.Started) -> None:
        self._asked = self._took_turn(event.job)
        if self._asked is not None:
            self._asked.show_materials(event.question.materials)
            self._conversation.remember(self._asked, event.question)
        if event.prompt.dropped_turns:
            count = event.prompt.dropped_turns
            which = "oldest turn" if count == 1 else f"{count} oldest turns"
            await self._say_once(f"left out of the context for lack of room: the {which}")
        for part in event.prompt.parts:
            if part.name == "instructions" and part.note:
                await self._say_once(f"{part.name}: {part.note}")
        self._meter = chat.meter(event.prompt, self._status.context_length)
        self._answer = Answer()
        await self._begin(event.job, self._answer)
        self._update(used=event.prompt.tokens)

    async def _begin(self, job: Ask | Compare, widget: Answer | Comparison) -> None:
        self._under_way = job
        await self._conversation.add(widget)
        self._began = time.monotonic()
        state = "stopping" if job.stop.is_set() else "answering"
        self._update(state=state, detail="", queued=len(self._waiting))
        self._ticker = self.set_interval(_TICK_SECONDS, self._tick)

    def _end(self) -> None:
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None
        self._under_way = None
        state = "ready" if self._status.state in ("answering", "stopping") else self._status.state
        self._update(state=state, detail="", queued=len(self._waiting))

    @on(events.Piece)
    async def _piece(self, event: events.Piece) -> None:
        if self._answer is not None:
            await self._answer.write(event.text)

    @on(events.Finished)
    async def _finished(self, event: events.Finished) -> None:
        # One that failed before it was put to the model has not taken its turn.
        asked, self._asked = self._took_turn(event.job) or self._asked, None
        if asked is not None and event.question is not None:
            self._conversation.remember(asked, event.question)
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.close(event.finish)
            if event.answer is not None:
                self._conversation.remember(answer, event.answer)
        if event.line:
            await self._say(event.line, "error")
        details = event.details
        speed = details.get("tokens_per_second") or self._status.tokens_per_second
        used = self._status.used
        if "prompt_tokens" in details:
            used = details["prompt_tokens"] + details.get("completion_tokens", 0)
        length = details.get("context_length") or self._status.context_length
        self._update(tokens_per_second=speed, used=used, context_length=length)
        self._end()
        self._unswept += 1
        if self._unswept >= _SWEPT_ANSWERS:
            self.set_timer(_SWEEP_SECONDS, self._sweep)

    @on(events.CompareStarted)
    async def _compare_started(self, event: events.CompareStarted) -> None:
        self._took_turn(event.job)
        self._comparison = Comparison(event.job.text, event.job.models)
        await self._begin(event.job, self._comparison)

    @on(events.ComparePiece)
    async def _compare_piece(self, event: events.ComparePiece) -> None:
        if self._comparison is not None:
            await self._comparison.write(event.side, event.text)

    @on(events.CompareSide)
    async def _compare_side(self, event: events.CompareSide) -> None:
        if self._comparison is not None:
            await self._comparison.close(event.side, event.finish, event.line, event.details)

    @on(events.CompareFinished)
    def _compare_finished(self, event: events.CompareFinished) -> None:
        self._took_turn(event.job)
        self._comparison = None
        self._end()

    def _took_turn(self, job: Ask | Compare) -> UserMessage | None:
        message = self._waiting.pop(job, None)
        if message is not None:
            message.note("")
        return message

    def _sweep(self) -> None:
        # Else after the next answer: the queue may never be empty.
        if self._under_way is None and self._unswept:
            collector.sweep()
            self._unswept = 0

    def _tick(self) -> None:
        if self._status.state == "answering":
            self._update(detail=f"{time.monotonic() - self._began:.0f} s")

    @property
    def _conversation(self) -> Conversation:
        return self.query_one(Conversation)

    @property
    def _prompt(self) -> PromptInput:
        return self.query_one(PromptInput)

    @property
    def _status(self) -> Status:
        return self.query_one(StatusLine).status

    def _update(self, **changes: object) -> None:
        line = self.query_one(StatusLine)
        line.status = replace(line.status, **changes)  # type: ignore[arg-type]

    async def _say(self, text: str, kind: str = "info") -> None:
        await self._conversation.add(Notice(text, kind))

    async def _say_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            await self._say(text)

    def _keep(self, write: Callable[[], None]) -> None:
        try:
            write()
        except HoneError as error:
            self.notify(str(error), severity="error", markup=False)
