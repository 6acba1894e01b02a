"""The chat screen: what the user types, and the keys. Its other parts are the classes that it is made of."""

from collections.abc import Callable, Coroutine
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widgets import Markdown

from assistant.errors import HoneError
from assistant.skills.mentions import Place
from tui.chat import commands, completion, help_text, models
from tui.chat.events import Ask, Compare
from tui.chat.live import Said
from tui.chat.operating import OperatingScreen
from tui.chat.ops import lines
from tui.chat.picker import HistoryPicker
from tui.chat.prompt import PromptInput
from tui.chat.sessions_list import export
from tui.inert import inert
from tui.places import Visit


class ChatScreen(OperatingScreen):
    TITLE = "Hone"
    AUTO_FOCUS = "#prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", id="chat.stop"),
        Binding("f1", "help", "Help", id="chat.help"),
        Binding("ctrl+q", "app.quit", "Quit", priority=True, id="app.quit"),
    ]

    @on(PromptInput.Submitted)
    async def _submitted(self, event: PromptInput.Submitted) -> None:
        command = commands.parse(event.text.strip())
        # An edited question stays one, whatever it reads like.
        if command is None and self._fork_at is None and await self._requested(event.text):
            return
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
            "quit": lambda: self.run_action("app.quit"),
        }
        name = command.name
        # A place that is also a command of Hone's is gone to by its bare name.
        if name in lines.NAMES and (argument or name not in commands.PLACE_NAMES):
            done: object = self._command(name, argument)
        elif name in commands.PLACE_NAMES:
            done = self.post_message(Visit(name, argument))
        else:
            done = run[name]()
        if isinstance(done, Coroutine):
            await done

    # Keys

    async def action_help(self) -> None:
        await self._say(help_text.help_text(self.size.width - 8))

    async def action_stop(self) -> None:
        if self._under_way is not None:
            self._under_way.stop.set()
            self._update(state="stopping")
        elif self._waiting:
            self._take_back(next(reversed(self._waiting)))
        elif self._fork_at is not None:
            self._fork_at = None
            self._prompt.discard()
            self.notify("The conversation stays as it is")

    def _take_back(self, job: Ask | Compare) -> None:
        """What waits goes back into the box; what is asked already, though nothing has come of it yet, is stopped."""
        if isinstance(job, Compare):
            job.stop.set()
            self._waiting.pop(job)
        elif not job.take_back():
            if self._status.state == "ready":
                self._update(state="stopping")
        else:
            message = self._waiting.pop(job)
            self._update(queued=len(self._waiting))
            if message is not None:
                message.note("taken back")
                self._keep(lambda: self._session.taken_back(job.text))
                if not self._prompt.text:
                    self._prompt.put(job.text)

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
        try:
            place = Place.here()
            names = completion.read_paths(place)
        except (HoneError, OSError):
            # What cannot be read is not offered; asked for, it is refused with the reason.
            return
        self.app.call_from_thread(self._prompt.know, names)
        self.app.call_from_thread(self._prompt.know, completion.read_symbols(place, names))

    @work(thread=True, exclusive=True, group="models")
    def _list_models(self) -> None:
        try:
            found, kind = models.table(self._services.rows(), self._status.adapter or self._status.model), "info"
        except HoneError as error:
            found, kind = str(error), "error"
        self.post_message(Said(found, kind))

    @on(Markdown.LinkClicked)
    def _link(self, event: Markdown.LinkClicked) -> None:
        # A model's link is shown and copied, never opened: its text may name another address.
        self.app.copy_to_clipboard(event.href)
        self.notify(f"Copied the address {inert(event.href)}", markup=False)
