"""The chat screen, driven by keys, with a scripted client."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Markdown, Static

from assistant import sessions
from assistant.errors import HoneError, UsageError
from tests.tui.conftest import MakeApp, fixed_session
from tests.tui.fake_client import FakeClient, Script, loaded_client, services
from tui.app import HoneApp, run
from tui.chat import live
from tui.chat.answer import Answer
from tui.chat.code import CodeBlock
from tui.chat.conversation import Conversation, Notice, UserMessage
from tui.chat.growing import Growing
from tui.chat.prompt import PromptInput
from tui.chat.status import Status, StatusLine

ROOT = Path(__file__).parents[2]


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Waits for what the backend thread does; the limit only ends a test that would hang."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "this never happened"
        await pilot.pause(0.02)
    await pilot.pause()


def prompt_of(app: HoneApp) -> PromptInput:
    return app.screen.query_one(PromptInput)


def status_of(app: HoneApp) -> Status:
    return app.screen.query_one(StatusLine).status


def notices(app: HoneApp) -> list[str]:
    return [str(notice.content) for notice in app.screen.query(Notice)]


def shown(app: HoneApp) -> str:
    """All text in the conversation, from what is mounted."""
    view = app.screen.query_one(Conversation)
    parts = [widget.source for widget in view.query(Markdown)]
    parts += [str(widget.content) for widget in view.query(Static) if widget.display]
    parts += [str(widget.render()) for widget in view.query(Growing)]
    return "\n".join(parts)


async def type_and_send(pilot: Pilot[None], text: str) -> None:
    prompt_of(pilot.app).insert(text)  # type: ignore[arg-type]
    await pilot.press("enter")


def idle(app: HoneApp) -> bool:
    return status_of(app).state == "ready"


async def test_an_answer_streams_and_is_kept(make_app: MakeApp):
    client = loaded_client(Script(["Use `sum`", ":\n\n```python\n", "sum(x)\n", "```\n"]))
    app = make_app(client)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "How do I add numbers?")
        await until(pilot, lambda: idle(app) and app.screen.query(CodeBlock))
        assert client.asked[0][-1] == {"role": "user", "content": "How do I add numbers?"}
        assert "sum(x)" in shown(app)
        assert app.screen.query_one(CodeBlock).border_title == "python"
        status = status_of(app)
        assert (status.tokens_per_second, status.used, status.context_length) == (117.0, 124, 4096)
    app.chat.close()
    kept = sessions.load("1qgt0000")
    assert [m.text for m in kept.messages] == ["How do I add numbers?", "Use `sum`:\n\n```python\nsum(x)\n```\n"]
    assert kept.messages[-1].finish == "stop"


async def test_escape_stops_the_answer_and_keeps_what_came(make_app: MakeApp):
    gate = threading.Event()
    client = loaded_client(Script(["first half ", gate, "second half", " and more"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "question")
        await until(pilot, lambda: "first half" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: idle(app))
        assert "stopped; what came is kept" in shown(app)
        gate.set()
        await until(pilot, lambda: client.closed_early == 1)
    app.chat.close()
    last = sessions.load("1qgt0000").messages[-1]
    assert (last.text, last.finish) == ("first half ", "cancelled")


async def test_escape_stops_a_model_that_has_not_begun_and_the_next_prompt_works(make_app: MakeApp):
    client = loaded_client(Script([threading.Event(), "too late"]), Script(["second answer"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "question")
        await until(pilot, lambda: status_of(app).state == "answering")
        await pilot.press("escape")
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "next question")
        await until(pilot, lambda: "second answer" in shown(app))
        assert "too late" not in shown(app)


async def test_a_prompt_sent_before_the_model_is_ready_waits_visibly(make_app: MakeApp):
    client = FakeClient([Script(["answer"])])
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: status_of(app).model == "smollm2-135m")
        assert status_of(app).state == "loading"
        await type_and_send(pilot, "early question")
        await until(pilot, lambda: "waits until the model is loaded" in shown(app))
        assert status_of(app).queued == 1
        assert sessions.load("1qgt0000").draft == "early question"
        client.loaded.set()
        await until(pilot, lambda: "answer" in shown(app))
        assert "waits until" not in shown(app)
        assert status_of(app).queued == 0


async def test_how_far_the_download_of_the_model_is_stands_in_the_status_line(make_app: MakeApp):
    client = FakeClient([], detail="downloading 12 of 98 MB")
    app = make_app(client)
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: status_of(app).detail == "downloading 12 of 98 MB")
        line = app.screen.query_one(StatusLine)
        assert str(line.render()).startswith("◌ loading downloading 12 of 98 MB │ smollm2-135m")
        client.detail = "downloading 98 of 98 MB"
        await until(pilot, lambda: "98 of 98" in str(line.render()))
        client.loaded.set()
        await until(pilot, lambda: idle(app))
        assert "download" not in str(line.render())


async def test_escape_takes_a_waiting_prompt_back_into_the_box(make_app: MakeApp):
    client = FakeClient([])
    app = make_app(client)
    async with app.run_test() as pilot:
        await type_and_send(pilot, "too early")
        await pilot.press("escape")
        assert prompt_of(app).text == "too early"
        client.loaded.set()
        await until(pilot, lambda: idle(app))
        assert client.asked == []


async def test_prompts_wait_for_the_answer_under_way_and_follow_in_order(make_app: MakeApp):
    gate = threading.Event()
    client = loaded_client(Script(["one", gate, "."]), Script(["two"]), Script(["three"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        for text in ("first", "second", "third"):
            await type_and_send(pilot, text)
        await until(pilot, lambda: status_of(app).queued == 2)
        gate.set()
        await until(pilot, lambda: len(client.asked) == 3 and idle(app))
        assert [messages[-1]["content"] for messages in client.asked] == ["first", "second", "third"]


async def test_an_error_is_a_line_and_the_next_prompt_works(make_app: MakeApp):
    client = loaded_client(Script(["half"], error="the engine ended (signal 9); send it again"), Script(["whole"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "question")
        await until(pilot, lambda: notices(app) and idle(app))
        assert notices(app) == ["the engine ended (signal 9); send it again"]
        assert "half" in shown(app)
        await type_and_send(pilot, "again")
        await until(pilot, lambda: "whole" in shown(app))
    app.chat.close()
    assert [m.finish for m in sessions.load("1qgt0000").messages if m.role == "assistant"] == ["error", "stop"]


async def test_a_model_that_cannot_load_is_one_line(make_app: MakeApp):
    client = FakeClient([], load_error="model.gguf is damaged; fetch it again")
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: notices(app))
        assert notices(app) == ["model.gguf is damaged; fetch it again"]
        assert status_of(app).state == "down"
        await type_and_send(pilot, "question")
        await until(pilot, lambda: len(notices(app)) == 2)
        assert "no model is loaded" in notices(app)[1]


async def test_an_unknown_model_is_one_line_with_a_suggestion(make_app: MakeApp):
    app = make_app(loaded_client(), model="smolm")
    async with app.run_test() as pilot:
        await until(pilot, lambda: notices(app))
        assert notices(app) == ["no model is called smolm; did you mean smollm2-135m?"]


async def test_model_lists_and_switches(make_app: MakeApp):
    client = loaded_client(Script(["tuned answer"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "/model")
        await until(pilot, lambda: notices(app))
        for name in ("smollm2-135m", "shop@0123456789ab", "champion", "Adapters", "Aliases"):
            assert name in notices(app)[0]
        await type_and_send(pilot, "/model nothing")
        await until(pilot, lambda: len(notices(app)) == 2)
        assert status_of(app).model == "smollm2-135m"
        await type_and_send(pilot, "/model shop")
        await until(pilot, lambda: status_of(app).adapter == "shop@0123456789ab")
        await type_and_send(pilot, "question")
        await until(pilot, lambda: "tuned answer" in shown(app))
        assert client.models_asked == ["shop"]


async def test_help_and_an_unknown_command(make_app: MakeApp):
    app = make_app(loaded_client())
    async with app.run_test() as pilot:
        await type_and_send(pilot, "/help")
        assert "/clear" in notices(app)[0]
        assert "Ctrl+Y" in notices(app)[0]
        # Columns stay columns: nothing is wrapped once more where it is shown.
        assert max(map(len, notices(app)[0].splitlines())) <= 72
        await type_and_send(pilot, "/hepl")
        assert notices(app)[1] == "there is no command /hepl; did you mean /help?"


async def test_clear_starts_a_new_session_and_keeps_the_old_one(make_app: MakeApp):
    client = loaded_client(Script(["one"]), Script(["two"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "first")
        await until(pilot, lambda: "one" in shown(app) and idle(app))
        await type_and_send(pilot, "/clear")
        await until(pilot, lambda: app.screen.query("#welcome"))
        await type_and_send(pilot, "second")
        await until(pilot, lambda: "two" in shown(app) and idle(app))
        assert [m["content"] for m in client.asked[1]][1:] == ["second"]
        assert app.chat.session_id != "1qgt0000"
    app.chat.close()
    assert len(sessions.listing()) == 2


async def test_quit_leaves(make_app: MakeApp):
    app = make_app(loaded_client())
    async with app.run_test() as pilot:
        await type_and_send(pilot, "/quit")
        await pilot.pause()
        assert app.is_running is False or app._exit


async def test_keys_break_lines_recall_inputs_and_complete_commands(make_app: MakeApp):
    client = loaded_client(Script(["one"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await pilot.press("a", "ctrl+j", "b", "alt+enter", "c", "enter")
        await until(pilot, lambda: "one" in shown(app) and idle(app))
        assert client.asked[0][-1]["content"] == "a\nb\nc"
        await pilot.press("x", "up")
        assert prompt_of(app).text == "a\nb\nc"
        await pilot.press("down", "down", "down")
        assert prompt_of(app).text == "x"
        await pilot.press("backspace", "/", "m", "tab")
        assert prompt_of(app).text == "/model "


async def test_a_paste_keeps_its_lines_and_sends_nothing(make_app: MakeApp):
    from textual import events

    client = loaded_client()
    app = make_app(client)
    async with app.run_test() as pilot:
        app.post_message(events.Paste("def f():\r\n\treturn 1\r\rprint(f())\n"))
        await until(pilot, lambda: prompt_of(app).text)
        assert prompt_of(app).text == "def f():\n\treturn 1\n\nprint(f())\n"
        assert client.asked == []


async def test_tab_offers_things_to_try_on_an_empty_conversation(make_app: MakeApp):
    app = make_app(loaded_client())
    async with app.run_test() as pilot:
        await pilot.press("tab")
        first = prompt_of(app).text
        await pilot.press("tab")
        assert first
        assert prompt_of(app).text not in ("", first)


async def test_copying_the_code_of_the_last_answer(make_app: MakeApp):
    app = make_app(loaded_client(Script(["Two:\n```py\na = 1\n```\nand\n```\nb = [2]\n```\n"])))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await pilot.press("ctrl+y")
        assert app.clipboard == ""
        await type_and_send(pilot, "code?")
        await until(pilot, lambda: "Two" in shown(app) and idle(app))
        await pilot.press("ctrl+y")
        assert app.clipboard == "a = 1\n\nb = [2]\n"


async def test_model_text_is_inert(make_app: MakeApp):
    hostile = "[red]x[/red] [@click=app.quit]y[/] \x1b[2J \u202etxt\u202c <b>z</b>\n\n"
    hostile += "```python\n\x1b]52;c;eA==\x07 [b]\n```\n"
    app = make_app(loaded_client(Script([hostile[i : i + 3] for i in range(0, len(hostile), 3)])))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "[bold]mine[/bold] \x1b[31m")
        await until(pilot, lambda: app.screen.query(CodeBlock) and idle(app))
        text = shown(app)
        for literal in (
            "[red]x[/red]",
            "[@click=app.quit]y[/]",
            "^[[2J",
            "<U+202E>txt",
            "<b>z</b>",
            "^[]52",
            "[bold]mine[/bold] ^[[31m",
        ):
            assert literal in text
        assert "\x1b" not in app.export_screenshot()


async def test_a_long_fence_is_drawn_in_frozen_pieces(make_app: MakeApp):
    lines = [f"value_{number} = {number}  # a line of code\n" for number in range(600)]
    app = make_app(
        loaded_client(Script(["```python\n", *("".join(lines[i : i + 20]) for i in range(0, 600, 20)), "```\n"]))
    )
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "much code")
        await until(pilot, lambda: "value_599" in shown(app) and idle(app))
        text = app.screen.query_one(CodeBlock).text
        assert 0 < len(lines) - text.finished < 130
        assert str(text.render()).split("\n") == [line.rstrip("\n") for line in lines]


async def test_a_long_conversation_keeps_few_widgets_and_shows_the_rest_on_demand(make_app: MakeApp):
    session = fixed_session()
    for number in range(60):
        session.user(f"question {number}")
        session.answer(f"answer {number}", "stop")
    app = make_app(loaded_client(*(Script([f"new {number}"]) for number in range(15))), session)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        assert "answer 59" in shown(app)
        assert "question 0" not in shown(app)
        assert "104 earlier messages" in shown(app)
        for number in range(15):
            await type_and_send(pilot, f"more {number}")
            await until(pilot, lambda number=number: f"new {number}" in shown(app) and idle(app))
        assert len(app.screen.query(UserMessage)) + len(app.screen.query(Answer)) <= 42
        await pilot.press("ctrl+home")
        await until(pilot, lambda: "question 0" in shown(app))
        assert all(f"answer {number}" in shown(app) for number in range(60))


async def test_what_answers_leave_is_swept_away_when_nothing_is_under_way(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(live, "_SWEPT_ANSWERS", 2)
    monkeypatch.setattr(live, "_SWEEP_SECONDS", 0.01)
    gate = threading.Event()
    app = make_app(loaded_client(*(Script([f"new {number}"]) for number in range(4)), Script(["half", gate, "whole"])))
    swept: list[bool] = []
    async with app.run_test() as pilot:
        monkeypatch.setattr(live.collector, "sweep", lambda: swept.append(app.chat._under_way is None))
        await until(pilot, lambda: idle(app))
        for number in range(4):
            await type_and_send(pilot, f"more {number}")
            await until(pilot, lambda number=number: f"new {number}" in shown(app) and idle(app))
            await until(pilot, lambda number=number: len(swept) == (number + 1) // 2)
        await type_and_send(pilot, "the last")
        await until(pilot, lambda: "half" in shown(app))
        # One that was due meanwhile.
        app.chat._unswept = 2
        app.chat._sweep()
        assert len(swept) == 2
        gate.set()
        await until(pilot, lambda: len(swept) == 3)
    assert swept == [True, True, True]


async def test_a_resumed_session_shows_what_was_said_and_the_draft(make_app: MakeApp):
    session = fixed_session()
    session.user("earlier question")
    session.answer("earlier answer", "cancelled")
    session.draft("half typed")
    session.close()
    client = loaded_client(Script(["later"]))
    app = make_app(client, sessions.open_session("1qgt0000"))
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        assert "earlier answer" in shown(app)
        assert "stopped; what came is kept" in shown(app)
        assert prompt_of(app).text == "half typed"
        await pilot.press("enter")
        await until(pilot, lambda: "later" in shown(app))
        assert [m["content"] for m in client.asked[0]][1:] == ["earlier question", "earlier answer", "half typed"]


async def test_dropped_turns_are_said(make_app: MakeApp):
    session = fixed_session()
    session.user("word " * 2000)
    session.answer("word " * 1500, "stop")
    app = make_app(loaded_client(Script(["ok"])), session)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "next")
        await until(pilot, lambda: notices(app))
        assert notices(app) == ["left out of the context for lack of room: the oldest turn"]


CRASHING = """
import asyncio, sys, threading
from tests.tui.fake_client import Script, loaded_client, services
from tui.app import HoneApp
from assistant import sessions
from tui.chat.prompt import PromptInput
from textual.widgets import Markdown

async def main():
    client = loaded_client(Script(["this much ", "came ", threading.Event(), "never"]))
    app = HoneApp(sessions.new(), "smollm2-135m", services(client))
    async with app.run_test() as pilot:
        app.screen.query_one(PromptInput).insert("the question")
        await pilot.press("enter")
        while not any("this much" in widget.source for widget in app.screen.query(Markdown)):
            await pilot.pause(0.02)
        app.screen.query_one(PromptInput).insert("waits for its turn")
        await pilot.press("enter")
        app.screen.query_one(PromptInput).insert("the next, half typed")
        while sessions.load("last").draft != "waits for its turn\\n\\nthe next, half typed":
            await pilot.pause(0.02)
        print("streaming", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_what_a_killed_app_had_is_back_at_the_next_start(hone_home: Path):
    child = subprocess.Popen([sys.executable, "-c", CRASHING], cwd=ROOT, stdout=subprocess.PIPE, env=dict(os.environ))
    assert child.stdout is not None
    assert child.stdout.readline() == b"streaming\n"
    # A second app in the same folder has a conversation of its own.
    assert sessions.left_behind(ROOT) is None
    other = HoneApp(sessions.new(ROOT), "smollm2-135m", services(loaded_client(Script(["other answer"]))))
    async with other.run_test() as pilot:
        await until(pilot, lambda: idle(other))
        await type_and_send(pilot, "other question")
        await until(pilot, lambda: "other answer" in shown(other) and idle(other))
        await pilot.press("ctrl+q")
    other.close()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert sessions.left_behind(ROOT.parent) is None
    session = sessions.left_behind(ROOT)
    assert session is not None
    app = HoneApp(session, "smollm2-135m", services(loaded_client()))
    async with app.run_test() as pilot:
        assert any("all of it is back" in one.message for one in app._notifications)
        await until(pilot, lambda: idle(app))
        assert "the question" in shown(app)
        assert "this much " in shown(app)
        assert "Hone ended in the middle of this answer" in shown(app)
        assert prompt_of(app).text == "waits for its turn\n\nthe next, half typed"
        assert "other" not in shown(app)
        assert prompt_of(app).inputs.entries == ("the question", "waits for its turn", "other question")
        await pilot.press("ctrl+q")
    app.close()
    assert sessions.left_behind(ROOT) is None, "the user has left in order"


def test_without_a_terminal_it_says_what_to_use(hone_home: Path):
    with pytest.raises(UsageError, match="needs a terminal"):
        run(None, None)


def test_an_unknown_session_is_one_line_before_the_screen_changes(hone_home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    with pytest.raises(HoneError, match="no session 'nothere'"):
        run(None, "nothere")
