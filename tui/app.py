"""The Textual app."""

import asyncio
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import App
from textual.theme import Theme

from assistant import sessions
from assistant.errors import HoneError, UsageError
from tui.chat.screen import ChatScreen
from tui.chat.services import Services

if TYPE_CHECKING:
    from textual.screen import Screen

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
    """Opens on the chat; `session` is the conversation to go on with."""

    TITLE = "Hone"
    CSS_PATH = "chat/chat.tcss"
    PAUSE_GC_ON_SCROLL = True

    def __init__(self, session: sessions.Session, model: str | None = None, services: Services | None = None) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = THEME.name
        self.chat = ChatScreen(services or Services(), session, model)

    def on_mount(self) -> None:
        if not self.is_headless:
            # Told to go, or the window closed: the terminal is given back in order and the gateway ended.
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self.exit)
            threading.Thread(target=_end_without_terminal, args=(sys.stdin.fileno(),), daemon=True).start()

    def get_default_screen(self) -> "Screen[None]":
        return self.chat


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
        raise UsageError('this terminal cannot show the assistant (TERM is unset or dumb); use `hone chat "..."`')
    if not Path(os.curdir).exists():
        raise HoneError("the current folder no longer exists; change to another one")
    opened = sessions.open_session(session) if session else sessions.new()
    app = HoneApp(opened, model)
    try:
        app.run()
    finally:
        app.chat.close()
    if app.chat.session_id:
        print(f"To go on with this conversation: hone --session {app.chat.session_id}")  # noqa: T201
