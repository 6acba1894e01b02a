"""The whole loop in a real terminal with the embedded model: train, watch, promote, compare, roll back."""

import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.models.registry import Registry
from tests.tui.test_tmux import HONE, Terminal, terminal  # noqa: F401
from tests.tuning.code import modules
from tests.tuning.jobs_here import end_all

pytestmark = [
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
STEPS = 3
EVALUATION = "eval --limit 2 --levels line --prompt-tokens 256"
TRAIN = f"/train . --name shop --steps {STEPS} --row-length 128 --rank 4 --then '{EVALUATION}'"


@pytest.fixture
def home(embedded_home: Path) -> Iterator[Path]:
    yield embedded_home
    end_all(embedded_home)


def send(terminal: Terminal, line: str, wanted: str) -> str:  # noqa: F811
    """Types a line, confirms the command that it stands for, and waits for what comes of it."""
    terminal.keys("-l", line)
    terminal.keys("Enter")
    terminal.until("Run this command?")
    terminal.keys("Enter")
    return terminal.until(wanted)


def above(terminal: Terminal, wanted: str) -> str:  # noqa: F811
    """The screen with a text that may have scrolled away upwards."""
    for _ in range(20):
        if wanted in (screen := terminal.screen()):
            return screen
        terminal.keys("PPage")
        time.sleep(0.3)  # to draw it
    raise AssertionError(f"{wanted} is not in the conversation:\n{terminal.screen()}")


def live(terminal: Terminal, name: str) -> None:  # noqa: F811
    """Waits until an adapter of that name is the champion."""
    end = time.monotonic() + terminal.seconds
    while (now := Registry().aliases().get("champion")) is None or now.name != name:
        assert time.monotonic() < end, terminal.screen()
        time.sleep(0.2)


def test_train_watch_promote_compare_and_roll_back(
    terminal: Terminal,  # noqa: F811
    home: Path,
    make_repository,
):
    repository = make_repository(modules(30), "shop")
    terminal.seconds = 600
    # The size is the terminal's: readline, which pytest loads, puts another one into the environment.
    environment = f"env -u COLUMNS -u LINES HONE_HOME={shlex.quote(str(home))} TERM=screen-256color"
    start = f"cd {shlex.quote(str(repository))} && {environment} {shlex.quote(str(HONE))}"
    terminal.start(f"{start}; echo left; exec cat", columns=130, rows=50)
    terminal.until("ready")

    send(terminal, TRAIN, "$ hone tune .")
    terminal.keys("F5")
    shares = [f" {step / STEPS:4.0%}" for step in range(1, STEPS + 1)]
    watched = terminal.until(*shares)
    assert "running" in watched
    assert "nats/token" in watched
    terminal.keys("F2")
    terminal.until("shop is done")
    shop = Registry().find("shop")
    assert shop is not None
    assert "Traceback" not in above(terminal, shop.id)

    send(terminal, "/promote --force", "champion -> shop@")
    live(terminal, "shop")
    terminal.keys("-l", "/compare smollm2-135m champion Say hello.")
    terminal.keys("Enter")
    terminal.until("answering")
    terminal.until("ready")
    above(terminal, "champion · ")
    terminal.keys("C-End")

    send(terminal, "/models merge shop --weights 0.5 --name softer", "softer@")
    send(terminal, "/promote softer --force", "champion -> softer@")
    live(terminal, "softer")
    send(terminal, "/rollback", "(was softer@")
    live(terminal, "shop")
    terminal.keys("-l", "/model champion")
    terminal.keys("Enter")
    terminal.until(f"now answering: smollm2-135m + {shop.id}")
    terminal.keys("C-q")
    assert "Traceback" not in terminal.until("left")
    kinds = [event.kind for event in Registry().history("champion")]
    assert kinds == ["promoted", "promoted", "rolled back"]
