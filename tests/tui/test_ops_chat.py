"""Hone's own commands in the chat: confirmed, run, and followed as real jobs to their end."""

import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from textual.widgets import Button, Static

from assistant import sessions
from assistant.models.registry import AdapterVersion, Registry
from tests.tui.conftest import MakeApp
from tests.tui.fake_client import Script, loaded_client
from tests.tui.models_here import decided
from tests.tui.test_app import idle, notices, prompt_of, shown, type_and_send, until
from tests.tuning.jobs_here import end_all, ended, shell, submit
from tests.tuning.jobs_here import until as until_seen
from tui import keys
from tui.app import HoneApp
from tui.chat.conversation import LIVE
from tui.chat.ops.card import JobCard, ResultCard
from tui.chat.ops.confirming import CommandInput, ConfirmScreen
from tui.chat.ops.running import Done, run
from tui.code.screen import CodeScreen
from tui.jobs.watch import Watch
from tuning.jobs.job import Job, folder

SHOP = "shop@0123456789ab"
TUNED = {"adapter": SHOP, "base": "smollm2-135m", "figures": {}}
PASSED = {
    "outcome": "pass",
    "exit_code": 0,
    "candidate": SHOP,
    "against": "smollm2-135m",
    "explanation": "shop is better on repo by 12 points.",
}


@pytest.fixture(autouse=True)
def home(hone_home: Path) -> Iterator[Path]:
    yield hone_home
    end_all(hone_home)


class Runner:
    """In place of the command line: what was run, and a real job of small steps where one is asked for."""

    def __init__(self, gate: Path | None = None) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.gate = gate

    def __call__(self, words: Sequence[str]) -> Done:
        self.ran.append(tuple(words))
        if "--detach" not in words:
            return Done(0, "all is well\n", "")
        wait = f"while [ ! -e {self.gate} ]; do sleep 0.05; done; " if self.gate else ""
        steps = [shell("tune", f"{wait}echo '{json.dumps(TUNED)}'"), shell("gate", f"echo '{json.dumps(PASSED)}'")]
        job = submit(*steps, name="shop")
        return Done(0, json.dumps({"job": job.id}), "")


def register(home: Path) -> None:
    folder = home / "adapters" / "shop"
    Registry().register(
        AdapterVersion("shop", "0123456789ab" + "0" * 52, "smollm2-135m", "f" * 64, folder, "2026-01-02T03:04:05+00:00")
    )


def line_of(app: HoneApp) -> str:
    return app.screen.query_one(CommandInput).text


def texts(app: HoneApp, kind: type[JobCard] | type[ResultCard]) -> str:
    return "\n".join(str(static.content) for card in app.screen.query(kind) for static in card.query(Static))


def confirming(app: HoneApp) -> bool:
    return isinstance(app.screen, ConfirmScreen) and app.screen.focused is not None


async def test_a_request_is_confirmed_run_and_followed_to_its_end(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (Path.cwd() / "src").mkdir()
    gate = tmp_path / "go"
    runner, client = Runner(gate), loaded_client()
    app = make_app(client, run=runner)
    told: list[str] = []
    # Notifications go by themselves, on a busy machine before they are looked at.
    monkeypatch.setattr(app, "notify", lambda message, **_: told.append(message))
    async with app.run_test(size=(110, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "train on ./src for ten minutes and tell me if it is better")
        await until(pilot, lambda: confirming(app))
        line = "hone tune ./src --minutes 10 --then eval --then gate --name shop --detach"
        assert line_of(app) == line
        assert runner.ran == [], "nothing runs before it is confirmed"
        await pilot.press("enter")
        await until(pilot, lambda: "tune" in texts(app, JobCard))
        assert runner.ran == [(*line.split()[1:], "--json")]
        assert f"$ {line}" in notices(app)
        assert app.chat._session.conversation.jobs
        # The app looks every few seconds; a job that was never seen at work is no news.
        await until(pilot, lambda: app._watch._active)
        gate.touch()
        await until(pilot, lambda: app.screen.query(ResultCard) and notices(app)[-1].startswith("Next:"))
        result = texts(app, ResultCard)
        assert "shop passed the gate" in result
        assert PASSED["explanation"] in result
        assert SHOP in result
        assert not app.screen.query(f".{LIVE}")
        assert not app.chat._session.conversation.jobs
        await pilot.press("tab")
        assert prompt_of(app).text == f"/promote {SHOP}"
        await until(pilot, lambda: any("shop is done" in message for message in told))
    assert client.asked == []


@pytest.mark.parametrize("said_something", [False, True])
async def test_a_job_belongs_to_the_conversation_that_it_was_asked_in(said_something: bool, make_app: MakeApp):
    (Path.cwd() / "src").mkdir()
    asked, gate = threading.Event(), threading.Event()

    def slow(words: Sequence[str]) -> Done:
        asked.set()
        gate.wait(60)
        return Done(0, json.dumps({"job": "shop-1"}), "")

    app = make_app(loaded_client(Script(["ok"])), run=slow)
    async with app.run_test(size=(110, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        if said_something:
            await type_and_send(pilot, "hello")
            await until(pilot, lambda: "ok" in shown(app) and idle(app))
        await type_and_send(pilot, "train on ./src for ten minutes")
        await until(pilot, lambda: confirming(app))
        await pilot.press("enter")
        await until(pilot, asked.is_set)
        await type_and_send(pilot, "/clear")
        await until(pilot, lambda: app.chat._session.id != "1qgt0000")
        gate.set()
        await until(pilot, lambda: any("hone --session 1qgt0000" in one.message for one in app._notifications))
        assert not app.screen.query(JobCard)
    kept = sessions.load("1qgt0000")
    assert kept.jobs == ("shop-1",)
    assert not kept.broke_off


async def test_escape_runs_nothing_and_the_model_can_be_asked_instead(make_app: MakeApp):
    (Path.cwd() / "src").mkdir()
    runner, client = Runner(), loaded_client(Script(["By and by."]))
    app = make_app(client, run=runner)
    async with app.run_test(size=(110, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "train on src")
        await until(pilot, lambda: confirming(app))
        await pilot.press("escape")
        await until(pilot, lambda: not confirming(app))
        assert prompt_of(app).text == "train on src"
        await pilot.press("enter")
        await until(pilot, lambda: confirming(app))
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "By and by." in shown(app) and idle(app))
    assert client.asked[0][-1]["content"] == "train on src"
    assert runner.ran == []


async def test_a_question_goes_to_the_model(make_app: MakeApp):
    runner, client = Runner(), loaded_client(Script(["With gradients."]))
    app = make_app(client, run=runner)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "train a network")
        await until(pilot, lambda: "With gradients." in shown(app))
    assert runner.ran == []


async def test_what_only_looks_is_run_at_once_and_the_rest_is_confirmed(make_app: MakeApp, home: Path):
    register(home)
    runner = Runner()
    app = make_app(loaded_client(), run=runner)
    async with app.run_test(size=(110, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "/doctor")
        await until(pilot, lambda: notices(app)[-1:] == ["all is well"])
        assert runner.ran == [("doctor",)]
        await type_and_send(pilot, "/promote")
        await until(pilot, lambda: confirming(app))
        assert line_of(app) == f"hone models promote {SHOP}"
        assert "no gate has passed" in str(app.screen.query_one("#confirm-note", Static).content)
        app.screen.query_one(CommandInput).load_text("hone tune src --name x")
        await pilot.press("enter")
        assert "add --detach" in str(app.screen.query_one("#confirm-note", Static).content)
        app.screen.query_one(CommandInput).load_text(f"hone models promote {SHOP} --as live")
        await pilot.press("enter")
        await until(pilot, lambda: len(runner.ran) == 2)
        assert runner.ran[-1] == ("models", "promote", SHOP, "--as", "live")
        await until(pilot, lambda: not confirming(app))
        await type_and_send(pilot, "/gate nobody")
        await until(pilot, lambda: "no adapter is called nobody" in notices(app)[-1])


async def test_a_job_is_followed_again_after_the_app_was_closed(make_app: MakeApp, home: Path, tmp_path: Path):
    register(home)
    gate = tmp_path / "go"
    app = make_app(loaded_client(), run=Runner(gate))
    async with app.run_test(size=(110, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "/train .")
        await until(pilot, lambda: confirming(app))
        await pilot.press("enter")
        await until(pilot, lambda: "tune" in texts(app, JobCard))
        identifier = app.screen.query_one(JobCard).identifier
    assert app.chat.session_id == "1qgt0000"
    app.chat.close()
    gate.touch()
    job = Job(folder() / identifier)
    ended(job)
    decided(job, SHOP, "smollm2-135m")
    again = make_app(loaded_client(), sessions.open_session("1qgt0000"))
    async with again.run_test(size=(110, 40)) as pilot:
        await until(pilot, lambda: "passed the gate" in texts(again, ResultCard))
        again.screen.query_one(ResultCard).query(Button).first().press()
        await until(pilot, lambda: confirming(again))
        assert line_of(again).startswith(f"hone models promote {SHOP} --evidence ")
    again.chat.close()
    assert sessions.load("1qgt0000").jobs == ()


async def test_a_card_stays_mounted_in_a_long_conversation_and_a_removed_job_is_said(make_app: MakeApp, tmp_path: Path):
    app = make_app(loaded_client(), run=Runner(tmp_path / "never"))
    async with app.run_test(size=(110, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "/train .")
        await until(pilot, lambda: confirming(app))
        await pilot.press("enter")
        await until(pilot, lambda: "tune" in texts(app, JobCard))
        for number in range(50):
            await app.chat._say(f"line {number}")
        assert len(app.screen.query(JobCard)) == 1
        identifier = app.screen.query_one(JobCard).identifier
        end_all(Path(app.chat._session.path).parent.parent)
        shutil.rmtree(folder() / identifier)
        await until(pilot, lambda: "this job was removed" in texts(app, JobCard))
        assert not app.screen.query(f".{LIVE}")


async def test_a_command_that_is_refused_is_one_line(make_app: MakeApp):
    app = make_app(loaded_client(), run=lambda words: Done(2, "", "reading\nhone: there is no champion\n"))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "/rollback")
        await until(pilot, lambda: confirming(app))
        await pilot.press("enter")
        await until(pilot, lambda: notices(app)[-1:] == ["there is no champion"])


def test_a_real_command_line_is_run(home: Path):
    done = run(["models", "list", "--json"])
    assert done.code == 0
    assert json.loads(done.out)["schema_version"] == 1
    assert done.job == ""
    refused = run(["models", "rollback"])
    assert refused.code != 0
    assert "champion" in refused.refusal
    assert not refused.refusal.startswith("hone:")


def test_the_gate_is_a_job_like_any_other(home: Path):
    done = run(["gate", "nobody", "--against", "smollm2-135m", "--tasks", "repo", "--detach", "--json"])
    status = ended(Job(folder() / done.job))
    assert (status.spec.name, status.spec.command[0]) == ("gate nobody", "gate")
    assert status.ended is not None
    assert (status.state, status.ended.exit_code) == ("failed", 3)
    assert run(["gate", "nobody", "--against", "x", "--after", done.job]).code == 3


def test_the_end_of_a_job_is_seen_once_whoever_started_it(home: Path, tmp_path: Path):
    watch = Watch()
    assert watch.is_idle
    assert watch.look() == []
    gate = tmp_path / "go"
    job = submit(shell("eval", f"while [ ! -e {gate} ]; do sleep 0.05; done"), name="mine")
    assert not watch.is_idle
    assert watch.look() == []
    gate.touch()
    ended(job)
    assert [status.spec.name for status in watch.look()] == ["mine"]
    assert watch.look() == []
    # Another end in the same tick of the clock would have been missed, so it looks once more.
    until_seen(lambda: watch.look() == [] and watch.is_idle)


async def test_a_block_of_code_is_sent_to_the_editor(make_app: MakeApp):
    client = loaded_client(Script(["Two:\n\n```python\nx = 1\n```\n\nand\n\n```go\nvar y int\n```\n"]))
    app = make_app(client)
    async with app.run_test(size=(110, 40)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "show me")
        await until(pilot, lambda: idle(app) and "and" in shown(app))
        await pilot.press("ctrl+up", "up", "o")
        await until(pilot, lambda: isinstance(app.screen, CodeScreen) and app.screen._file_tabs.pane)
        pane = app.screen._file_tabs.pane
        assert (pane.path, pane.editor.text) == ("snippet.py", "x = 1\n")
        assert not (Path.cwd() / "snippet.py").exists()
        await pilot.press("f2", "ctrl+up", "o")
        await until(pilot, lambda: isinstance(app.screen, CodeScreen))
        await until(pilot, lambda: pane.editor.text == "x = 1\nvar y int\n")


def test_the_keys_of_chat_jobs_and_dialogs_can_be_given_others():
    found = keys.ids()
    wanted = {"chat.stop", "chat.walk", "walk.copy", "walk.editor", "apply.take", "jobs.stop", "jobs.form.start"}
    assert wanted | {"ops.to_model", "picker.leave", "sessions.rename", "app.quit"} <= found.keys()
