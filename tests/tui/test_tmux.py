"""The whole program in a real terminal, with the embedded model."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
HONE = Path(sys.executable).with_name("hone")
_SECONDS = 120


@dataclass
class Terminal:
    """A tmux server of its own with one window."""

    socket: Path
    seconds: float = _SECONDS
    """Until a test is given up that waits for something to come up."""

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self.socket), "-f", os.devnull, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def start(self, command: str, columns: int = 80, rows: int = 24) -> None:
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), command)

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def until(self, *texts: str) -> str:
        """Waits until one of the texts is on the screen; the limit only ends a test that would hang."""
        end = time.monotonic() + self.seconds
        while True:
            screen = self.screen()
            if any(text in screen for text in texts):
                return screen
            assert time.monotonic() < end, f"none of {texts} came up in\n{screen}"
            time.sleep(0.1)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path / "tmux.sock")
    yield made
    subprocess.run(["tmux", "-S", str(made.socket), "kill-server"], capture_output=True, check=False)


def answer_area(screen: str) -> str:
    """What stands below the last question and above the input box."""
    lines = screen.rsplit("Describe the history", maxsplit=1)[-1].splitlines()[1:]
    box = next((index for index, line in enumerate(lines) if line.startswith("╭──────")), len(lines))
    return "\n".join(line.strip() for line in lines[:box] if line.strip())


def test_ask_stop_quit_and_resume(terminal: Terminal, session_home: Path, tmp_path: Path):
    environment = f"env HONE_HOME={shlex.quote(str(session_home))} TERM=screen-256color"
    start = f"cd {shlex.quote(str(tmp_path))} && {environment} {shlex.quote(str(HONE))}"
    terminal.start(f"{start}; echo left; exec cat")
    terminal.until("Three things to try")
    terminal.until("Ask about code")
    terminal.until("ready")
    terminal.keys("-l", "Describe the history of programming languages at length.")
    terminal.keys("Enter")
    terminal.until("answering")
    end = time.monotonic() + _SECONDS
    while len(answer_area(terminal.screen())) < 40:
        assert time.monotonic() < end, terminal.screen()
        time.sleep(0.1)
    begun = answer_area(terminal.screen())
    while answer_area(terminal.screen()) == begun:
        assert time.monotonic() < end, "the answer did not stream"
        time.sleep(0.1)
    terminal.keys("Escape")
    terminal.until("stopped; what came is kept")
    terminal.until("ready")
    terminal.keys("-l", "/quit")
    terminal.keys("Enter")
    left = terminal.until("left")
    assert "Traceback" not in left
    session = left.split("hone --session ")[1].split()[0]

    terminal.tmux("respawn-pane", "-k", f"{start} --session {session}; echo left; exec cat")
    terminal.until("stopped; what came is kept")
    terminal.until(f"session {session}")
    terminal.keys("C-q")
    assert "Traceback" not in terminal.until("left")
