"""The Textual app."""

import asyncio
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from textual.theme import Theme
from textual.worker import WorkerFailed

from assistant import sessions
from assistant.errors import HoneError, UsageError
from tui import encodings, faults, notifications, places
from tui.ask import Question
from tui.chat.screen import ChatScreen
from tui.chat.services import Services
from tui.inert import inert
from tui.jobs.watch import Watch
from tui.themes import THEME, keep, kept
from tuning.jobs.state import Status

_JOBS_SECONDS = 2.0
"""Between looks at whether a job has ended."""
LEAVE_SECONDS = 10.0
"""What leaving in order may take once the terminal is gone: the gateway has six of them."""


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
        self._kept_theme = kept()
        self.theme = self._kept_theme if self._kept_theme in self.available_themes else THEME.name
        self.services = services or Services()
        self.chat = ChatScreen(self.services, session, model)
        self._made: dict[str, Screen[None]] = {places.CHAT.name: self.chat}
        self._watch = Watch()
        self._watching = self._leaving = False
        self.fault: BaseException | None = None
        """What nobody foresaw, and the app ended for."""
        for place in places.PLACES:
            self.add_mode(place.name, partial(self._screen_of, place))

    def on_mount(self) -> None:
        if not self.is_headless:
            # Told to go, or the window closed: the terminal is given back in order and the gateway ended.
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self.exit)
            threading.Thread(target=_end_without_terminal, args=(sys.stdin.fileno(),), daemon=True).start()
        self.theme_changed_signal.subscribe(self, self._keep_theme)
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
            if left := recovery.left_behind(_root()):
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

    def get_css_variables(self) -> dict[str, str]:
        """The footer has the screen's own ground: colours that a theme has for another one could not be read on it."""
        variables = super().get_css_variables()
        if "footer-background" in self.current_theme.variables:
            variables["footer-key-foreground"] = variables["primary"]
            variables["footer-description-foreground"] = variables["foreground"]
        return variables

    def _keep_theme(self, theme: Theme) -> None:
        if theme.name == (self._kept_theme or THEME.name):
            return
        self._kept_theme = theme.name
        try:
            keep(theme.name)
        except HoneError as error:
            self.notify(str(error), severity="error", markup=False)

    def _handle_exception(self, error: Exception) -> None:
        cause = error.error if isinstance(error, WorkerFailed) else error
        faults.record("the app ends", cause)
        self.fault = self.fault or cause
        super()._handle_exception(error)
        # Textual would print the traceback with the values of the variables, what was typed among them.
        self._exit_renderables.clear()

    def action_go(self, name: str) -> None:
        faults.LOG.debug("screen %s", name)
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
        keys: dict[tuple[object, str], list[str]] = {}
        found: dict[tuple[object, str], tuple[str, str, Callable[[], Any]]] = {}
        for node, binding, enabled, tooltip in screen.active_bindings.values():
            # Textual has leaving, and the places are above.
            listed = binding.action.startswith(("go(", "app.quit"))
            shown = binding.description and not listed and binding.id
            if shown and enabled and not binding.system:
                # What several keys do stands there once.
                keys.setdefault((node, binding.action), []).append(self.get_key_display(binding))
                run = partial(self.run_action, binding.action, node)
                found.setdefault((node, binding.action), (binding.description, tooltip, run))
        for one, (title, tooltip, action) in found.items():
            pressed = ", ".join(keys[one])
            yield SystemCommand(title, f"{tooltip} ({pressed})" if tooltip else pressed, action)
        yield from super().get_system_commands(screen)

    @work
    async def action_quit(self) -> None:  # type: ignore[override]
        # Asked once, however often the key is pressed.
        if self._leaving or isinstance(self.screen, Question):
            return
        self._leaving = True
        try:
            for screen in self._made.values():
                if isinstance(screen, places.Keeping) and not await screen.may_leave():
                    return
        finally:
            self._leaving = False
        self.chat.leave()
        self.exit()

    def close(self) -> None:
        """After the app: what runs is stopped, what is unsaved is on disk. The screens may be gone already."""
        for screen in self._made.values():
            if isinstance(screen, places.Keeping):
                screen.close()
        self.chat.close()


def _root() -> Path:
    """As the Code screen has it."""
    from assistant.skills import repository

    try:
        return repository.root_of(Path.cwd()) or Path.cwd()
    except HoneError:
        # The Code screen says why.
        return Path.cwd()


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


def run(model: str | None, session: str | None, log: Path | None = None) -> None:
    """Opens the app in this terminal and returns when the user leaves.

    Args:
        session: the conversation to go on with; None: the one here that broke off, else a new one.
        log: where what happens is written, to be told at the end.

    Raises:
        HoneError: no terminal, no such session, one that is open elsewhere, or a fault of the app's own.
    """
    _check_terminal()
    opened = sessions.open_session(session) if session else sessions.left_behind(Path.cwd()) or sessions.new()
    app = HoneApp(opened, model)
    try:
        app.run()
    finally:
        app.close()
    if log is not None:
        print(f"What happened is in {log}", file=sys.stderr)  # noqa: T201
    if app.fault is not None:
        more = "" if log is not None else "; `hone --debug` writes down what happens"
        on = f"; `hone --session {app.chat.session_id}` goes on" if app.chat.session_id else ""
        raise HoneError(f"the app ended by a fault of its own, {inert(faults.line(app.fault))}{on}{more}")
    if app.chat.session_id:
        print(f"To go on with this conversation: hone --session {app.chat.session_id}")  # noqa: T201


def _check_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError('the assistant needs a terminal; without one use `hone chat "..."` or see `hone --help`')
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise UsageError("this terminal cannot show the assistant (TERM is unset or dumb); use `hone --plain`")
    if not encodings.is_utf8(sys.__stderr__):
        raise UsageError(
            "the assistant draws with characters that this locale lacks; set LC_ALL=C.UTF-8, or use `hone --plain`"
        )
    if not Path(os.curdir).exists():
        raise HoneError("the current folder no longer exists; change to another one")
