"""The Code and Review screens in a real terminal with the embedded model: real keys, the user's own editor, a kill."""

import shlex
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.tui.test_tmux import HONE, Terminal, terminal  # noqa: F401

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
CODE = "def total(items):\n    return sum(items)\n\n\ndef mean(items):\n    \n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "cart.py").write_text(CODE)
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "first")):
        subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True)
    return folder


def holds(path: Path, text: str) -> None:
    end = time.monotonic() + 60
    while path.read_text() != text:
        assert time.monotonic() < end, path.read_text()
        time.sleep(0.05)


def until_file(folder: Path, pattern: str, text: str, terminal: Terminal) -> None:  # noqa: F811
    end = time.monotonic() + 60
    while not any(text in file.read_text() for file in folder.glob(pattern)):
        assert time.monotonic() < end, terminal.screen()
        time.sleep(0.05)


def test_edit_with_ghost_text_review_and_come_back_after_a_kill(
    terminal: Terminal,  # noqa: F811
    session_home: Path,
    shop: Path,
):
    other = shop.parent / "other.sh"
    other.write_text('#!/bin/sh\nprintf "# by hand\\n" >> "$1"\n')
    other.chmod(0o755)
    # The size is the terminal's: readline, which pytest loads, puts another one into the environment.
    sized = f"env -u COLUMNS -u LINES HONE_HOME={shlex.quote(str(session_home))} TERM=screen-256color"
    environment = f"{sized} VISUAL={shlex.quote(str(other))}"
    start = f"cd {shlex.quote(str(shop))} && {environment} {shlex.quote(str(HONE))}"
    terminal.start(f"{start}; echo left; exec cat", columns=130, rows=40)
    terminal.until("ready")
    terminal.keys("-l", "/code cart.py:6")
    terminal.keys("Enter")
    terminal.until("Ln 6, Col 1")
    terminal.keys("End")
    terminal.keys("C-Space")
    terminal.until("smollm2-135m")
    terminal.keys("Tab")
    terminal.keys("C-s")
    end = time.monotonic() + 60
    while (saved := (shop / "cart.py").read_text()) == CODE:
        assert time.monotonic() < end, terminal.screen()
        time.sleep(0.05)
    assert saved.startswith(CODE.rstrip("\n"))
    terminal.keys("C-End")
    terminal.keys("F9")
    terminal.until("by hand")
    holds(shop / "cart.py", saved + "# by hand\n")
    terminal.keys("C-End")
    terminal.keys("-l", 'print(mean is "tea")')
    terminal.keys("C-s")
    holds(shop / "cart.py", saved + '# by hand\nprint(mean is "tea")')
    terminal.keys("F4")
    terminal.until("Enter reviews")
    terminal.keys("Enter")
    terminal.until("Use `==`")
    end = time.monotonic() + 60
    while "Replace `is` with `==`" not in terminal.screen():
        # What the model wrote ahead may have findings of its own.
        assert time.monotonic() < end, terminal.screen()
        terminal.keys("n")
        time.sleep(1.0)
    terminal.keys("a")
    terminal.until("Fixed in cart.py")
    fixed = saved + '# by hand\nprint(mean == "tea")'
    holds(shop / "cart.py", fixed)

    terminal.keys("F2")
    terminal.until("Ask about code")
    terminal.keys("-l", "half a question")
    until_file(session_home / "sessions", "*.jsonl", "half a question", terminal)
    terminal.keys("F3")
    terminal.until("Ln ")
    terminal.keys("-l", "# unsaved")
    until_file(session_home / "unsaved", "*/*.json", "# unsaved", terminal)
    shell = psutil.Process(int(terminal.tmux("display-message", "-p", "#{pane_pid}")))
    next(child for child in shell.children() if "hone" in " ".join(child.cmdline())).kill()
    terminal.until("left")
    terminal.tmux("respawn-pane", "-k", f"{start}; echo left; exec cat")
    terminal.until("half a question")
    terminal.until("ready")
    terminal.keys("F3")
    terminal.until("# unsaved")
    assert (shop / "cart.py").read_text() == fixed
    terminal.keys("C-q")
    # A notice of what was kept also begins with the words of the question.
    terminal.until("Esc goes back")
    terminal.keys("d")
    assert "Traceback" not in terminal.until("left")
