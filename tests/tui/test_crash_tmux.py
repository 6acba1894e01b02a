"""Real processes killed under the app, in a real terminal with the embedded model."""

import shlex
import shutil
import time
from pathlib import Path

import psutil
import pytest

from tests.tui.test_tmux import _SECONDS, HONE, Terminal, answer_area, terminal

__all__ = ["terminal"]
pytestmark = [
    # It hangs on an answer being long enough to be killed in, which a sampled one once was not.
    pytest.mark.slow,
    pytest.mark.model,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
LONG = "Describe the history of programming languages at length."


def app_in(terminal: Terminal) -> psutil.Process:
    shell = psutil.Process(int(terminal.tmux("display-message", "-p", "#{pane_pid}")))
    return next(child for child in shell.children() if "hone" in " ".join(child.cmdline()))


def gateway_of(app: psutil.Process) -> psutil.Process:
    return next(child for child in app.children() if "assistant.gateway" in child.cmdline())


def ask(terminal: Terminal) -> None:
    """Until the answer streams."""
    terminal.keys("-l", LONG)
    terminal.keys("Enter")
    end = time.monotonic() + _SECONDS
    while len(answer_area(terminal.screen())) < 40 or "answering" not in terminal.screen():
        assert time.monotonic() < end, terminal.screen()
        time.sleep(0.1)


def test_the_gateway_and_then_the_app_are_killed(terminal: Terminal, session_home: Path, tmp_path: Path):
    environment = f"env HONE_HOME={shlex.quote(str(session_home))} TERM=screen-256color"
    start = f"cd {shlex.quote(str(tmp_path))} && {environment} {shlex.quote(str(HONE))}"
    terminal.start(f"{start}; echo left; exec cat", rows=30)
    terminal.until("ready")
    app = app_in(terminal)

    first = gateway_of(app)
    terminal.keys("-l", "half a question")
    first.kill()
    # Nobody asked for anything: it is noticed all the same.
    terminal.until("what answers here has ended")
    terminal.until("ready")
    assert "half a question" in terminal.screen()
    terminal.keys("C-u")

    ask(terminal)
    gateway_of(app).kill()
    terminal.until("broken off; what came is kept")
    terminal.until("ready")
    terminal.keys("-l", "/clear")
    terminal.keys("Enter")
    terminal.until("Three things to try")

    ask(terminal)
    begun = answer_area(terminal.screen()).splitlines()[0]
    terminal.keys("-l", "and then this")
    terminal.keys("Enter")
    terminal.until("queued")
    last = gateway_of(app)
    app.kill()
    terminal.until("left")
    terminal.tmux("respawn-pane", "-k", f"{start}; echo left; exec cat")
    terminal.until("Hone ended in the middle of this answer")
    # The question itself may have scrolled away.
    kept = max((session_home / "sessions").glob("*.jsonl"), key=lambda file: file.stat().st_mtime).read_text()
    assert LONG in kept
    assert begun.split()[0] in kept
    terminal.until("and then this")
    # The one that was started for the app goes with it.
    last.wait(30)
    terminal.until("ready")
    terminal.keys("C-q")
    assert "Traceback" not in terminal.until("left")
