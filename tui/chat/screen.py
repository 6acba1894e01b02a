"""The chat screen: what the user does. What the backend does is shown by its other half, `live`."""

from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import ClassVar, Literal

from textual import on, work
from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.widgets import Markdown, TextArea

from assistant import sessions
from assistant.errors import HoneError
from assistant.sessions import Message, Session
from assistant.skills import edits, questions
from assistant.skills.blocks import Code, code_of, split
from assistant.skills.edits import Written
from assistant.skills.mentions import Place
from tui.chat import clipboard, commands, completion, help_text, models
from tui.chat.answer import Answer
from tui.chat.applying import ApplyScreen
from tui.chat.conversation import SUGGESTIONS, Conversation, UserMessage
from tui.chat.events import Ask
from tui.chat.live import LiveScreen, Said
from tui.chat.picker import HistoryPicker
from tui.chat.prompt import PromptInput
from tui.chat.services import Services
from tui.chat.sessions_list import SessionsPicker, export
from tui.inert import inert
from tui.places import Visit

_DRAFT_SECONDS = 0.6


class ChatScreen(LiveScreen):
    TITLE = "Hone"
    AUTO_FOCUS = "#prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop"),
        Binding("f1", "help", "Help"),
        Binding("ctrl+q", "app.quit", "Quit", priority=True),
    ]

    def __init__(self, services: Services, session: Session, model: str | None) -> None:
        super().__init__(services, session, model)
        self._changes: list[Written] = []
        self._draft_timer: Timer | None = None
        self._fork_at: int | None = None
        """The next prompt replaces the question at this place of the conversation, in a copy of what was before it."""

    @on(PromptInput.Submitted)
    async def _submitted(self, event: PromptInput.Submitted) -> None:
        command = commands.parse(event.text.strip())
        if command is None or (isinstance(command, commands.Invocation) and command.name in commands.SKILL_NAMES):
            if self._fork_at is not None and not await self._fork(self._fork_at):
                self._prompt.put(event.text)
                return
            await self._ask(event.text)
        elif isinstance(command, str):
            await self._say(command, "error")
        else:
            try:
                await self._run_command(command)
            except HoneError as error:
                await self._say(str(error), "error")

    async def _ask(self, text: str, again: Message | None = None) -> None:
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
        self._waiting[self._backend.ask(text, self._session, again)] = message
        self._update(queued=len(self._waiting) if waits else 0)

    async def _run_command(self, command: commands.Invocation) -> None:
        argument = command.argument
        run: dict[str, Callable[[], object]] = {
            "help": self.action_help,
            "model": lambda: self._backend.switch(argument) if argument else self._list_models(),
            "compare": lambda: self._compare(argument),
            "sessions": lambda: self._list_sessions(argument),
            "rename": lambda: self._rename(self._session.id, argument),
            "export": lambda: self._say(f"written: {export(self._session.conversation, argument or 'md')}"),
            "retry": self._retry,
            "copy": self.action_copy_code,
            "apply": lambda: self._apply_last(argument),
            "undo": self._undo,
            "context": lambda: self._say(self._meter or "nothing was asked yet"),
            "why": lambda: self._say(self._backend.why or "nothing was answered yet"),
            "clear": self._clear,
            "code": lambda: self.post_message(Visit("code", argument)),
            "review": lambda: self.post_message(Visit("review", argument)),
            "jobs": lambda: self.post_message(Visit("jobs")),
            "quit": lambda: self.run_action("app.quit"),
        }
        done = run[command.name]()
        if isinstance(done, Coroutine):
            await done

    # Conversations

    async def _clear(self) -> None:
        self._check_idle()
        left = self.session_id
        await self._become(sessions.new())
        if left:
            self.notify(f"The conversation before is kept: hone --session {left}", markup=False)

    async def _become(self, session: Session) -> None:
        """Goes on with another conversation."""
        self._cancel_draft()
        self._session.close()
        self._session = session
        self._fork_at = None
        self._told.clear()
        self._meter = ""
        self._show_title()
        await self._conversation.reset(session.conversation.messages)
        self._prompt.suggest(() if session.conversation.messages else SUGGESTIONS)
        self._update(used=None, tokens_per_second=None)

    def _check_idle(self) -> None:
        if self._under_way is not None or self._waiting:
            raise HoneError("an answer is still under way; stop it with Esc first")

    async def _fork(self, count: int) -> bool:
        """Goes on in a copy of the conversation's first `count` messages; the conversation itself stays as it is."""
        try:
            self._check_idle()
            left = self._session.id
            await self._become(sessions.fork(self._session.conversation, count))
        except HoneError as error:
            await self._say(str(error), "error")
            return False
        self.notify(f"The conversation before is kept: hone --session {left}", markup=False)
        return True

    async def _retry(self, question: Message | None = None) -> None:
        """Asks a question (the last one) again, as it was, in a copy of what was before it."""
        self._check_idle()
        messages = self._session.conversation.messages
        asked = [
            index for index, one in enumerate(messages) if one.role == "user" and (question is None or one is question)
        ]
        if not asked:
            raise HoneError("there is no question yet that could be asked again")
        again = messages[asked[-1]]
        if await self._fork(asked[-1]):
            await self._ask(again.text, again)

    @work(exclusive=True, group="sessions")
    async def _list_sessions(self, query: str) -> None:
        picker = SessionsPicker(sessions.listing(), self._session.id, self._rename, query)
        chosen = await self.app.push_screen_wait(picker)
        if chosen is None or chosen == self._session.id:
            return
        try:
            self._check_idle()
            opened = sessions.open_session(chosen)
        except HoneError as error:
            await self._say(str(error), "error")
            return
        await self._become(opened)
        if opened.conversation.draft:
            self._prompt.put(opened.conversation.draft)

    def _rename(self, identifier: str, name: str) -> None:
        if identifier == self._session.id:
            self._session.rename(name)
            self._show_title()
            return
        with closing(sessions.open_session(identifier)) as opened:
            opened.rename(name)

    def _compare(self, argument: str) -> None:
        models, text, history = commands.comparison(argument, self._session.conversation.messages)
        self._waiting[self._backend.compare(text, history, models)] = None

    # Answers and their code

    def action_walk(self) -> None:
        if not self._conversation.walk():
            self.notify("There is nothing to walk through yet")

    @on(Conversation.Left)
    def _left(self) -> None:
        self.set_focus(self._prompt)
        self._conversation.anchor()

    @on(Conversation.Chosen)
    async def _chosen(self, event: Conversation.Chosen) -> None:
        message = self._conversation.message_of(event.entry)
        if message is None:
            self.notify("This answer is still being written", severity="warning")
            return
        try:
            await self._do(event, message)
        except HoneError as error:
            self.notify(str(error), severity="error", markup=False)

    async def _do(self, event: Conversation.Chosen, message: Message) -> None:
        messages = self._session.conversation.messages
        at = next((index for index, one in enumerate(messages) if one is message), None)
        asked = next((one for one in reversed(messages[:at]) if one.role == "user"), None) if at else None
        code = event.entry.code_source(event.code) if event.code and isinstance(event.entry, Answer) else None
        match event.action:
            case "copy":
                self._copy(code.text if code else message.text)
            case "apply" if message.role == "assistant":
                blocks = [one for one in split(message.text) if isinstance(one, Code) and one.text.strip()]
                if not (code or blocks):
                    raise HoneError("this answer has no code")
                self._apply((code or blocks[-1]).text, "", asked)
            case "edit":
                question = message if message.role == "user" else asked
                self._fork_at = next((index for index, one in enumerate(messages) if one is question), None)
                if question is None or self._fork_at is None:
                    raise HoneError("this question was not asked, so there is nothing to edit")
                self._prompt.put(question.text)
                self.set_focus(self._prompt)
                self.notify("Enter asks the edited question in a copy of the conversation; Esc keeps this one")
            case "up" | "down" if message.role == "assistant":
                self._rate(event.action, at or 0, message, asked)
            case "retry":
                await self._retry(message if message.role == "user" else asked)
                self.set_focus(self._prompt)
            case _:
                raise HoneError("that is for answers, and this is a question")

    @work(thread=True, group="feedback")
    def _rate(self, kind: Literal["up", "down"], at: int, answer: Message, asked: Message | None) -> None:
        try:
            self._services.feedback().record(
                kind,
                id=f"{self._session.id}:{at}",
                model=answer.model or "unknown",
                adapter=answer.model if answer.model and "@" in answer.model else None,
                source="chat",
                prompt=asked.content if asked else None,
                completion=answer.text,
            )
            told, severity = f"Kept as {'good' if kind == 'up' else 'bad'}; `hone feedback` shows it", "information"
        except HoneError as error:
            told, severity = str(error), "error"
        self.app.call_from_thread(self.notify, told, severity=severity, markup=False)

    def action_copy_code(self) -> None:
        answers = [message for message in self._session.conversation.messages if message.role == "assistant"]
        blocks = code_of(answers[-1].text) if answers else []
        if not blocks:
            self.notify("The last answer has no code" if answers else "There is no answer yet", severity="warning")
            return
        self._copy("\n".join(blocks))

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)
        self._copy_checked(text)

    @work(thread=True, exclusive=True, group="copy")
    def _copy_checked(self, text: str) -> None:
        outcome = clipboard.copy(text, self._services.clipboard())
        severity = "warning" if outcome == "too long" else "information"
        self.app.call_from_thread(self.notify, clipboard.told(outcome, text), severity=severity, markup=False)

    def _apply_last(self, path: str) -> None:
        messages = self._session.conversation.messages
        answers = [index for index, one in enumerate(messages) if one.role == "assistant"]
        blocks = code_of(messages[answers[-1]].text) if answers else []
        if not blocks:
            raise HoneError("the last answer has no code" if answers else "there is no answer yet")
        asked = next((one for one in reversed(messages[: answers[-1]]) if one.role == "user"), None)
        self._apply(max(blocks, key=len), path, asked)

    @work(exclusive=True, group="apply")
    async def _apply(self, code: str, path: str, asked: Message | None) -> None:
        shown = questions.target_of(asked) if asked is not None else None
        place = Place.here()
        written = await self.app.push_screen_wait(
            ApplyScreen(code, path or (shown.path if shown else ""), place, shown)
        )
        if written is not None:
            self._changes.append(written)
            await self._say(f"written: {written.path.name}; /undo takes it back")

    async def _undo(self) -> None:
        if not self._changes:
            raise HoneError("no change was applied in this window")
        edits.undo(self._changes[-1])
        await self._say(f"taken back: {self._changes.pop().path.name}")

    # Keys

    async def action_help(self) -> None:
        await self._say(help_text.help_text())

    async def action_stop(self) -> None:
        if self._under_way is not None:
            self._under_way.stop.set()
            self._update(state="stopping")
        elif self._waiting:
            job, message = self._waiting.popitem()
            job.stop.set()
            if isinstance(job, Ask) and message is not None:
                message.note("taken back")
                self._keep(lambda: self._session.taken_back(job.text))
                if not self._prompt.text:
                    self._prompt.put(job.text)
        elif self._fork_at is not None:
            self._fork_at = None
            self._prompt.discard()
            self.notify("The conversation stays as it is")

    async def action_interrupt(self) -> None:
        selected = self._prompt.selected_text or self.get_selected_text()
        if selected:
            self._copy(selected)
        elif self._under_way is not None:
            await self.action_stop()
        elif self._prompt.text:
            self._prompt.discard()
        else:
            self.notify("Ctrl+Q or /quit leaves")

    @work(exclusive=True, group="history")
    async def action_search_history(self) -> None:
        typed = self._prompt.text
        chosen = await self.app.push_screen_wait(HistoryPicker(self._prompt.inputs.entries, typed.partition("\n")[0]))
        if chosen is not None:
            self._prompt.put(chosen)

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

    @on(PromptInput.NamesWanted)
    def _names_wanted(self) -> None:
        self._read_names()

    @work(thread=True, exclusive=True, group="names")
    def _read_names(self) -> None:
        place = Place.here()
        names = completion.read_paths(place)
        self.app.call_from_thread(self._prompt.know, names)
        self.app.call_from_thread(self._prompt.know, completion.read_symbols(place, names))

    @work(thread=True, exclusive=True, group="models")
    def _list_models(self) -> None:
        try:
            found, kind = models.table(self._services.rows(), self._status.adapter or self._status.model), "info"
        except HoneError as error:
            found, kind = str(error), "error"
        self.post_message(Said(found, kind))

    @on(TextArea.Changed, "#prompt")
    def _typed(self) -> None:
        self._draft = self._prompt.text
        self._cancel_draft()
        self._draft_timer = self.set_timer(_DRAFT_SECONDS, self._save_draft)

    def _cancel_draft(self) -> None:
        if self._draft_timer is not None:
            self._draft_timer.stop()
            self._draft_timer = None

    def _save_draft(self) -> None:
        self._draft_timer = None
        self._keep(lambda: self._session.draft(self._draft))

    @on(Markdown.LinkClicked)
    def _link(self, event: Markdown.LinkClicked) -> None:
        # A model's link is shown and copied, never opened: its text may name another address.
        self.app.copy_to_clipboard(event.href)
        self.notify(f"Copied the address {inert(event.href)}", markup=False)
