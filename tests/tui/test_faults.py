"""What nobody foresaw ends the app in order: one line, no traceback, and with --debug a log."""

import os
import pty
import re
import stat
import sys
import threading
from pathlib import Path

import pytest

from assistant import sessions
from assistant.errors import UsageError
from tests.tui.conftest import MakeApp
from tests.tui.fake_client import FakeClient, Script
from tests.tui.test_app import ROOT, idle, notices, prompt_of, shown, type_and_send, until
from tests.tui.test_hang_up import resize
from tui import cli, faults

BROKEN = """
import sys
from tests.tui.fake_client import loaded_client, services
from tui import app
from tui.chat.prompt import PromptInput

def broken(self):
    if not self._session.conversation.draft or self._status.state != "ready":
        self.set_timer(0.1, lambda: broken(self))
        return
    typed = self._session.conversation.draft
    raise ValueError("a fault [b]of ours[/b]")

def begin(self):
    self.chat.query_one(PromptInput).insert("what was typed")
    broken(self.chat)

app.Services = lambda: services(loaded_client())
app.HoneApp._look_around = begin
sys.argv = ["hone", *sys.argv[1:]]
from tui.cli import main
main()
"""


def ended(*arguments: str) -> tuple[int, str]:
    """The app in a terminal, until its fault; its exit code and all that it wrote."""
    process, descriptor = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        environment = {**os.environ, "TERM": "xterm-256color"}
        os.execve(sys.executable, [sys.executable, "-c", BROKEN, *arguments], environment)
    resize(descriptor, 24)
    written = b""
    while True:
        try:
            data = os.read(descriptor, 65_536)
        except OSError:
            break
        if not data:
            break
        written += data
    os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), written.decode(errors="replace")


def test_a_fault_is_one_line_and_the_log_has_the_rest(hone_home: Path):
    code, written = ended("--debug")
    assert code == 1, written[-2000:]
    assert "Traceback" not in written
    line = "hone: the app ended by a fault of its own, ValueError: a fault [b]of ours[/b]; `hone --session "
    assert line in written
    assert written.rstrip().endswith(" goes on")
    (log,) = (hone_home / "logs").iterdir()
    assert f"What happened is in {log}" in written
    told = log.read_text()
    assert re.search(
        r"^\d{4}-\d\d-\d\dT[\d:.]+Z ERROR MainThread: the app ends: ValueError: a fault", told, re.MULTILINE
    )
    assert "ready: smollm2-135m, context 4096" in told
    assert "in broken" in told
    assert "what was typed" not in told
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    back = sessions.left_behind(ROOT)
    assert back is not None
    assert back.conversation.draft == "what was typed"
    back.close()


def test_a_flag_of_the_assistant_is_not_lost_in_front_of_a_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["hone", "--debug", "doctor"])
    with pytest.raises(UsageError, match="--debug in front of doctor is for the assistant; see `hone doctor --help`"):
        cli.app(standalone_mode=False)


async def test_a_gateway_that_died_is_started_again_and_the_draft_stays(make_app: MakeApp):
    class Mortal(FakeClient):
        dead = False

        def is_reached(self) -> bool:
            was_dead, self.dead = self.dead, False
            return not was_dead

    gate = threading.Event()
    client = Mortal([Script(["It begins", gate], error="the gateway does not answer"), Script(["second answer"])])
    client.loaded.set()
    connected = []

    def connect(model: str | None):
        connected.append(model)
        return services_connect(model)

    services_connect = make_app(client).services.connect
    app = make_app(client, connect=connect)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "question")
        await until(pilot, lambda: "It begins" in shown(app))
        prompt_of(app).insert("half typed")
        client.dead = True
        gate.set()
        await until(pilot, lambda: "the gateway does not answer" in notices(app))
        assert prompt_of(app).text == "half typed"
        assert "broken off; what came is kept" in shown(app)
        await until(pilot, lambda: len(connected) == 2 and idle(app))
        await pilot.press("enter")
        await until(pilot, lambda: "second answer" in shown(app))
    assert len(connected) == 2


async def test_an_error_that_nobody_foresaw_in_an_answer_is_one_line_and_kept_in_the_log(
    make_app: MakeApp, hone_home: Path, monkeypatch: pytest.MonkeyPatch
):
    class Broken(FakeClient):
        def chat(self, *arguments: object, **options: object):  # type: ignore[override]
            raise KeyError("secret")

    recorded: list[str] = []
    monkeypatch.setattr(faults, "record", lambda what, error: recorded.append(f"{what}: {faults.line(error)}"))
    client = Broken([])
    client.loaded.set()
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "question")
        await until(pilot, lambda: "unexpected KeyError: 'secret'" in notices(app))
        await until(pilot, lambda: idle(app))
    assert recorded == ["the backend: KeyError: 'secret'"]
