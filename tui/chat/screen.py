"""The chat screen: what the user does goes to the backend, what the backend does is shown."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message as Posted
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Markdown, Static, TextArea

from assistant import sessions
from assistant.errors import HoneError
from assistant.sessions import Message, Session
from tui.chat import backend as events
from tui.chat import commands, help_text, models
from tui.chat.answer import Answer
from tui.chat.backend import Ask, Backend
from tui.chat.blocks import code_of
from tui.chat.conversation import SUGGESTIONS, Conversation, Notice, UserMessage
from tui.chat.prompt import PromptInput
from tui.chat.services import Services
from tui.chat.status import Status, StatusLine
from tui.inert import inert
from tui.keybar import KeyBar
from tui.places import Visit

if TYPE_CHECKING:
    from assistant.client import Client

_DRAFT_SECONDS = 0.6
_TICK_SECONDS = 0.5


@dataclass
class _Said(Posted):
    """A notice from a worker thread."""

    text: str
    kind: str


class ChatScreen(Screen[None]):
    TITLE = "Hone"
    AUTO_FOCUS = "#prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop"),
        Binding("f1", "help", "Help"),
        Binding("ctrl+q", "app.quit", "Quit", priority=True),
    ]

    def __init__(self, services: Services, session: Session, model: str | None) -> None:
        super().__init__()
        self.VERTICAL_BREAKPOINTS = [(0, "-short"), (22, "-tall")]
        self._services = services
        self._session = session
        self._backend = Backend(services.connect, services.check, self.post_message, model)
        self._waiting: dict[Ask, UserMessage] = {}
        self._under_way: Ask | None = None
        self._answer: Answer | None = None
        self._began = 0.0
        self._ticker: Timer | None = None
        self._draft_timer: Timer | None = None
        self._draft = session.conversation.draft

    @property
    def serving(self) -> "tuple[Client, str] | None":
        """The client and the model that answer here; None while none is loaded."""
        return self._backend.serving

    @property
    def session_id(self) -> str | None:
        """The id to resume by; None while nothing was said."""
        kept = self._session.conversation
        return kept.id if kept.messages or kept.draft or self._waiting else None

    def compose(self) -> ComposeResult:
        with Static(id="title"):
            yield Static(Content.from_markup("[b]Hone[/b]  [dim]$folder[/dim]", folder=_short(Path.cwd())), id="where")
            yield Static("", id="session", markup=False)
        yield Conversation()
        yield Static("", id="hint")
        yield PromptInput(SUGGESTIONS)
        yield StatusLine()
        yield KeyBar()

    async def on_mount(self) -> None:
        self.query_one("#session", Static).update(f"session {self._session.id}")
        kept = self._session.conversation
        await self._conversation.reset(kept.messages)
        self._prompt.suggest(() if kept.messages else SUGGESTIONS)
        if kept.draft:
            self._prompt.put(kept.draft)
        # Not before the first frame is out: its imports would take their time from it.
        self.call_after_refresh(self._backend.start)

    def close(self) -> None:
        """Stops what runs; drafts and partial answers are on disk afterwards. The screen may be gone already."""
        with suppress(HoneError):
            self._session.draft(self._draft)
        self._backend.close()
        self._session.close()

    # What the user does

    @on(PromptInput.Submitted)
    async def _submitted(self, event: PromptInput.Submitted) -> None:
        command = commands.parse(event.text.strip())
        if command is None:
            await self._ask(event.text)
        elif isinstance(command, str):
            await self._say(command, "error")
        else:
            try:
                await self._run_command(command)
            except HoneError as error:
                await self._say(str(error), "error")

    async def _ask(self, text: str) -> None:
        waits = self._under_way is not None or bool(self._waiting) or self._status.state == "loading"
        self._cancel_draft()
        if waits:
            self._keep(lambda: self._session.queued(text))
        loading = self._status.state == "loading"
        note = ("waits until the model is loaded" if loading else "waits for its turn") if waits else ""
        message = UserMessage(text, note)
        await self._conversation.add(message)
        self._conversation.remember(message, Message("user", text))
        self._conversation.anchor()
        self._prompt.suggest(())
        self._waiting[self._backend.ask(text, self._session)] = message
        self._update(queued=len(self._waiting) if waits else 0)

    async def _run_command(self, command: commands.Invocation) -> None:
        match command.name:
            case "help":
                await self.action_help()
            case "model" if command.argument:
                self._backend.switch(command.argument)
            case "model":
                self._list_models()
            case "sessions":
                await self._say(help_text.sessions_table(sessions.listing(limit=15), self._session.id))
            case "copy":
                self.action_copy_code()
            case "clear":
                await self._clear()
            case "code":
                self.post_message(Visit(command.name, command.argument))
            case "quit":
                await self.run_action("app.quit")

    async def _clear(self) -> None:
        if self._under_way is not None or self._waiting:
            await self._say("an answer is still under way; stop it with Esc first", "error")
            return
        left = self.session_id
        self._session.close()
        self._session = sessions.new()
        self.query_one("#session", Static).update(f"session {self._session.id}")
        await self._conversation.reset()
        self._prompt.suggest(SUGGESTIONS)
        self._update(used=None, tokens_per_second=None)
        if left:
            self.notify(f"The conversation before is kept: hone --session {left}", markup=False)

    @work(thread=True, exclusive=True, group="models")
    def _list_models(self) -> None:
        try:
            found, kind = models.table(self._services.rows(), self._status.adapter or self._status.model), "info"
        except HoneError as error:
            found, kind = str(error), "error"
        self.post_message(_Said(found, kind))

    @on(_Said)
    async def _said(self, event: _Said) -> None:
        await self._say(event.text, event.kind)

    async def action_help(self) -> None:
        await self._say(help_text.help_text())

    async def action_stop(self) -> None:
        if self._under_way is not None:
            self._under_way.stop.set()
            self._update(state="stopping")
        elif self._waiting:
            job, message = self._waiting.popitem()
            job.stop.set()
            message.note("taken back")
            self._keep(lambda: self._session.taken_back(job.text))
            if not self._prompt.text:
                self._prompt.put(job.text)

    async def action_interrupt(self) -> None:
        selected = self._prompt.selected_text or self.get_selected_text()
        if selected:
            self.app.copy_to_clipboard(selected)
            self.notify("Copied the selection")
        elif self._under_way is not None:
            await self.action_stop()
        elif self._prompt.text:
            self._prompt.discard()
        else:
            self.notify("Ctrl+Q or /quit leaves")

    def action_copy_code(self) -> None:
        answers = [message for message in self._session.conversation.messages if message.role == "assistant"]
        blocks = code_of(answers[-1].text) if answers else []
        if not blocks:
            self.notify("The last answer has no code" if answers else "There is no answer yet", severity="warning")
            return
        code = "\n".join(blocks)
        self.app.copy_to_clipboard(code)
        lines = code.count("\n")
        self.notify(f"Copied {lines} line{'s' if lines != 1 else ''} of code", markup=False)

    async def action_oldest(self) -> None:
        while await self._conversation.show_earlier():
            pass
        self._conversation.scroll_home(animate=False)

    def action_newest(self) -> None:
        self._conversation.anchor()

    @on(PromptInput.Scroll)
    async def _scroll(self, event: PromptInput.Scroll) -> None:
        view = self._conversation
        if event.pages > 0:
            view.scroll_page_down(animate=False)
        elif view.scroll_y == 0 or view.max_scroll_y == 0:
            height = view.max_scroll_y
            if await view.show_earlier():
                self.call_after_refresh(lambda: view.scroll_to(y=view.max_scroll_y - height, animate=False))
        else:
            view.scroll_page_up(animate=False)

    @on(PromptInput.Failed)
    async def _history_failed(self, event: PromptInput.Failed) -> None:
        await self._say(event.line, "error")

    @on(TextArea.Changed, "#prompt")
    def _typed(self) -> None:
        self._draft = text = self._prompt.text
        found = commands.matching(text)
        hint = self.query_one("#hint", Static)
        hint.display = bool(found)
        if found:
            hint.update(help_text.command_hint(found))
        self._cancel_draft()
        self._draft_timer = self.set_timer(_DRAFT_SECONDS, self._save_draft)

    @on(Markdown.LinkClicked)
    def _link(self, event: Markdown.LinkClicked) -> None:
        # A model's link is shown and copied, never opened: its text may name another address.
        self.app.copy_to_clipboard(event.href)
        self.notify(f"Copied the address {inert(event.href)}", markup=False)

    # What the backend does

    @on(events.Loading)
    def _loading(self, event: events.Loading) -> None:
        self._update(state="loading", detail=event.detail, model=event.target.base, adapter=event.target.adapter or "")

    @on(events.Ready)
    async def _ready(self, event: events.Ready) -> None:
        switched = self._status.state == "ready"
        target, length = event.target, event.context_length
        state = "answering" if self._under_way is not None else "ready"
        self._update(state=state, detail="", model=target.base, adapter=target.adapter or "", context_length=length)
        if switched:
            await self._say(f"now answering: {target.label}")

    @on(events.Unavailable)
    async def _unavailable(self, event: events.Unavailable) -> None:
        self._update(state="down", detail="no model")
        await self._say(event.line, "error")

    @on(events.Refused)
    async def _refused(self, event: events.Refused) -> None:
        await self._say(event.line, "error")

    @on(events.Started)
    async def _started(self, event: events.Started) -> None:
        self._took_turn(event.job)
        if event.dropped_turns:
            which = "oldest turn" if event.dropped_turns == 1 else f"{event.dropped_turns} oldest turns"
            await self._say(f"left out of the context for lack of room: the {which}")
        self._under_way = event.job
        self._answer = Answer()
        await self._conversation.add(self._answer)
        self._began = time.monotonic()
        self._update(
            state="stopping" if event.job.stop.is_set() else "answering",
            detail="",
            queued=len(self._waiting),
            used=event.tokens,
        )
        self._ticker = self.set_interval(_TICK_SECONDS, self._tick)

    @on(events.Piece)
    async def _piece(self, event: events.Piece) -> None:
        if self._answer is not None:
            await self._answer.write(event.text)

    @on(events.Finished)
    async def _finished(self, event: events.Finished) -> None:
        self._took_turn(event.job)
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None
        answer, self._answer, self._under_way = self._answer, None, None
        if answer is not None:
            await answer.close(event.finish)
            messages = event.job.session.conversation.messages
            if messages and messages[-1].role == "assistant":
                self._conversation.remember(answer, messages[-1])
        if event.line:
            await self._say(event.line, "error")
        details = event.details
        speed = details.get("tokens_per_second") or self._status.tokens_per_second
        used = self._status.used
        if "prompt_tokens" in details:
            used = details["prompt_tokens"] + details.get("completion_tokens", 0)
        length = details.get("context_length") or self._status.context_length
        state = "ready" if self._status.state in ("answering", "stopping") else self._status.state
        queued = len(self._waiting)
        self._update(state=state, detail="", tokens_per_second=speed, used=used, context_length=length, queued=queued)

    def _took_turn(self, job: Ask) -> None:
        message = self._waiting.pop(job, None)
        if message is not None:
            message.note("")

    def _tick(self) -> None:
        if self._status.state == "answering":
            self._update(detail=f"{time.monotonic() - self._began:.0f} s")

    # Helpers

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

    def _cancel_draft(self) -> None:
        if self._draft_timer is not None:
            self._draft_timer.stop()
            self._draft_timer = None

    def _save_draft(self) -> None:
        self._draft_timer = None
        self._keep(lambda: self._session.draft(self._draft))

    def _keep(self, write: Callable[[], None]) -> None:
        try:
            write()
        except HoneError as error:
            self.notify(str(error), severity="error", markup=False)


def _short(folder: Path) -> str:
    home = Path.home()
    return str(folder) if not folder.is_relative_to(home) else str(Path("~") / folder.relative_to(home))
