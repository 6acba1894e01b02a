"""The Textual app."""

import asyncio
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from textual.theme import Theme

from assistant import sessions
from assistant.errors import HoneError, UsageError
from tui import notifications, places
from tui.chat.screen import ChatScreen
from tui.chat.services import Services
from tui.inert import inert
from tui.jobs.watch import Watch
from tuning.jobs.state import Status

_JOBS_SECONDS = 2.0
"""Between looks at whether a job has ended."""
LEAVE_SECONDS = 10.0
"""What leaving in order may take once the terminal is gone: the gateway has six of them."""

THEME = Theme(
    name="hone",
    primary="#e0a458",
    secondary="#7fa7c9",
    accent="#c792b8",
    foreground="#dcdfe4",
    background="#15171c",
    surface="#1c1f26",
    panel="#262a33",
    success="#8fc18a",
    warning="#e3c26b",
    error="#e0707a",
    dark=True,
    variables={"footer-key-foreground": "#e0a458", "border-blurred": "#3a404c"},
)


class HoneApp(App[None]):
    """Opens on the chat; `session` is the conversation to go on with.

    Each place is a mode of its own: its screen is made on the first visit and keeps its state behind the others.
    """

    TITLE = "Hone"
    CSS_PATH: ClassVar = ["app.tcss", "chat/chat.tcss"]
    PAUSE_GC_ON_SCROLL = True
    DEFAULT_MODE = places.CHAT.name
    BINDINGS: ClassVar[list[BindingType]] = [*places.bindings()]

    def __init__(self, session: sessions.Session, model: str | None = None, services: Services | None = None) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = THEME.name
        self.services = services or Services()
        self.chat = ChatScreen(self.services, session, model)
        self._made: dict[str, Screen[None]] = {places.CHAT.name: self.chat}
        self._watch = Watch()
        self._watching = False
        for place in places.PLACES:
            self.add_mode(place.name, partial(self._screen_of, place))

    def on_mount(self) -> None:
        if not self.is_headless:
            # Told to go, or the window closed: the terminal is given back in order and the gateway ended.
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self.exit)
            threading.Thread(target=_end_without_terminal, args=(sys.stdin.fileno(),), daemon=True).start()
        # Not before the first frame is out: reading the configuration imports much.
        self.call_after_refresh(self._look_around)
        self.set_interval(_JOBS_SECONDS, self._look_at_jobs)

    def _screen_of(self, place: places.Place) -> Screen[None]:
        if place.name not in self._made:
            self._made[place.name] = place.make()
        return self._made[place.name]

    @work(thread=True)
    def _look_around(self) -> None:
        from tui import keys
        from tui.code import recovery

        try:
            keymap = keys.read_keymap()
            if left := recovery.left_behind(Path.cwd()):
                names = ", ".join(inert(Path(path).name) for path in left)
                line = f"Unsaved changes in {names} were kept; the Code screen brings them back"
                self.call_from_thread(self.notify, line, timeout=15, markup=False)
        except HoneError as error:
            self.call_from_thread(self.notify, str(error), severity="error", timeout=30, markup=False)
        else:
            if keymap:
                self.call_from_thread(self.set_keymap, keymap)

    def _look_at_jobs(self) -> None:
        if not self._watching and not self._watch.is_idle:
            self._watching = True
            self._watch_jobs()

    @work(thread=True, group="jobs")
    def _watch_jobs(self) -> None:
        try:
            ended = self._watch.look()
        except HoneError:
            # The Jobs screen says it to who looks there.
            ended = []
        self.call_from_thread(self._tell_ended, ended)

    def _tell_ended(self, ended: list[Status]) -> None:
        self._watching = False
        for status in ended:
            good = status.state in ("done", "stopped")
            words = f"{inert(status.spec.name)} {'is ' if good else ''}{status.state}"
            self.notify(words, severity="information" if good else "error", markup=False)
            notifications.send(self, os.environ, "Hone", words)

    def action_go(self, name: str) -> None:
        self.switch_mode(name)

    @on(places.Send)
    async def _sent(self, event: places.Send) -> None:
        await self.switch_mode(event.place)
        screen = self._made[event.place]
        if isinstance(screen, places.Taking):
            await screen.take(event.text, event.language)

    @on(places.Visit)
    async def _visit(self, event: places.Visit) -> None:
        await self.switch_mode(event.place)
        screen = self._made[event.place]
        if event.argument and isinstance(screen, places.Visited):
            await screen.visit(event.argument)

    def get_system_commands(self, screen: Screen[None]) -> Iterable[SystemCommand]:
        """The palette: the places, then all that has a key here, then Textual's own."""
        for place in places.PLACES:
            yield SystemCommand(place.title, place.help, partial(self.action_go, place.name))
        for node, binding, enabled, tooltip in screen.active_bindings.values():
            # Textual has leaving, and the places are above.
            listed = binding.action.startswith(("go(", "app.quit"))
            shown = binding.description and not listed and binding.id
            if shown and enabled and not binding.system:
                key = self.get_key_display(binding)
                run = partial(self.run_action, binding.action, node)
                yield SystemCommand(binding.description, f"{tooltip or binding.description} ({key})", run)
        yield from super().get_system_commands(screen)

    @work
    async def action_quit(self) -> None:  # type: ignore[override]
        for screen in self._made.values():
            if isinstance(screen, places.Keeping) and not await screen.may_leave():
                return
        self.exit()

    def close(self) -> None:
        """After the app: what runs is stopped, what is unsaved is on disk. The screens may be gone already."""
        for screen in self._made.values():
            if isinstance(screen, places.Keeping):
                screen.close()
        self.chat.close()


def _end_without_terminal(terminal: int) -> None:
    """Ends the process when its terminal is gone and it has not ended by itself.

    Textual waits for ever to write to a terminal that nobody reads, and so do the signal's handlers behind it. The
    gateway ends when this process does, and conversations are on disk.
    """
    waiting = select.poll()
    waiting.register(terminal, 0)
    if any(event & select.POLLHUP for _, event in waiting.poll()):
        time.sleep(LEAVE_SECONDS)
        os._exit(1)


def run(model: str | None, session: str | None) -> None:
    """Opens the app in this terminal and returns when the user leaves.

    Raises:
        HoneError: no terminal, no such session, or one that is open elsewhere.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError('the assistant needs a terminal; without one use `hone chat "..."` or see `hone --help`')
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise UsageError("this terminal cannot show the assistant (TERM is unset or dumb); use `hone --plain`")
    if not Path(os.curdir).exists():
        raise HoneError("the current folder no longer exists; change to another one")
    opened = sessions.open_session(session) if session else sessions.new()
    app = HoneApp(opened, model)
    try:
        app.run()
    finally:
        app.close()
    if app.chat.session_id:
        print(f"To go on with this conversation: hone --session {app.chat.session_id}")  # noqa: T201
