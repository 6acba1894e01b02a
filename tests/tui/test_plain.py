"""The chat by lines, with a scripted client and real jobs."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from assistant import sessions
from assistant.feedback import Feedback
from assistant.sessions import Session
from tests.tui.conftest import fixed_session
from tests.tui.fake_client import FakeClient, Script, loaded_client, services
from tests.tui.test_ops_chat import PASSED, SHOP, Runner, register
from tests.tuning.jobs_here import end_all, ended
from tui.chat.ops.running import Done
from tui.plain.chat import PlainChat
from tui.plain.live import Interrupted
from tuning.jobs.job import Job, folder

CODE = "Take this:\n\n```python\ndef total(items):\n    return sum(items)\n```\n"


@pytest.fixture(autouse=True)
def home(hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    project = tmp_path / "shop"
    (project / "src").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(project)
    yield hone_home
    end_all(hone_home)


@dataclass
class Said:
    out: str
    err: str
    chat: PlainChat


def chat_with(client: FakeClient, session: Session | None, typed: int, terminal: bool, **changes: Any) -> PlainChat:
    return PlainChat(replace(services(client), **changes), session or fixed_session(), "smollm2-135m", typed, terminal)


@pytest.fixture
def piped(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """A chat whose lines come from a pipe that ends behind them."""

    def run(*lines: str, client: FakeClient | None = None, session: Session | None = None, **changes: Any) -> Said:
        read, write = os.pipe()
        os.write(write, "".join(line + "\n" for line in lines).encode())
        os.close(write)
        client = client or loaded_client()
        chat = chat_with(client, session, read, False, **changes)
        try:
            chat.run()
        finally:
            client.release()
            chat.close()
            os.close(read)
        out, err = capsys.readouterr()
        return Said(out, err, chat)

    return run


@dataclass
class Person:
    """Types at a chat that runs in a thread, and reads what it prints."""

    chat: PlainChat
    typed: int
    capture: pytest.CaptureFixture[str]
    thread: threading.Thread
    seen: str = ""

    def type(self, line: str) -> None:
        os.write(self.typed, line.encode() + b"\n")

    def until(self, text: str) -> None:
        end = time.monotonic() + 60
        while text not in self.seen:
            self.seen += "".join(self.capture.readouterr())
            assert time.monotonic() < end, f"{text!r} never came:\n{self.seen}"
            time.sleep(0.01)

    def leaves(self) -> None:
        self.type("/quit")
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def person(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Person]]:
    with contextlib.ExitStack() as after:

        def start(client: FakeClient, session: Session | None = None, **changes: Any) -> Person:
            read, write = os.pipe()
            chat = chat_with(client, session, read, True, **changes)
            thread = threading.Thread(target=chat.run, daemon=True)
            after.callback(chat.close)
            after.callback(client.release)
            # The end of what is typed: the chat leaves, and its reader with it.
            after.callback(os.close, write)
            thread.start()
            return Person(chat, write, capsys, thread)

        yield start


def kept(identifier: str = "1qgt0000") -> list[tuple[str, str]]:
    return [(one.role, one.text) for one in sessions.load(identifier).messages]


def test_each_line_of_a_pipe_is_answered_and_nothing_else_is_on_standard_output(piped: Callable[..., Said]):
    client = loaded_client(Script(["Two ", "words.\n"]), Script(["\x1b[31mAgain"]))
    said = piped("first", "", "second", client=client)
    assert said.out == "Two words.\n\x1b[31mAgain\n"
    assert said.err.startswith("hone: ")
    assert [asked[-1]["content"] for asked in client.asked] == ["first", "second"]
    answers = ["Two words.\n", "\x1b[31mAgain"]
    assert kept() == [("user", "first"), ("assistant", answers[0]), ("user", "second"), ("assistant", answers[1])]
    assert not said.chat.failed


def test_a_broken_answer_is_one_line_and_a_failure(piped: Callable[..., Said]):
    said = piped("first", client=loaded_client(Script(["Half "], error="the gateway broke")))
    assert said.out == "Half \n"
    assert said.err.endswith("hone: broken off; what came is kept\nhone: the gateway broke\n")
    assert said.chat.failed


def test_what_is_mentioned_is_shown_and_what_cannot_be_is_not_asked(piped: Callable[..., Said]):
    Path("cart.py").write_text("x = 1\n")
    client = loaded_client(Script(["One."]))
    said = piped("what is @nowhere.py", "what is @cart.py", client=client)
    assert "hone: shown: cart.py" in said.err
    assert "nowhere.py" in said.err
    assert len(client.asked) == 1
    assert "x = 1" in client.asked[0][-1]["content"]
    assert said.chat.failed


def test_a_request_is_confirmed_run_and_followed_to_its_end(piped: Callable[..., Said], home: Path):
    runner, client = Runner(), loaded_client()
    line = "hone tune ./src --minutes 10 --then eval --then gate --name shop --detach"
    said = piped("train on ./src for ten minutes and tell me if it is better", "y", client=client, run=runner)
    assert f"Run this command?\n  {line}\n" in said.out
    assert runner.ran == [(*line.split()[1:], "--json")]
    assert f"$ {line}\n" in said.out
    assert "✓ shop passed the gate\n" in said.out
    assert PASSED["explanation"] in said.out
    assert f"1  /promote {SHOP}  puts it to use\n" in said.out
    assert client.asked == []
    assert sessions.load("1qgt0000").jobs == ()
    assert not said.chat.failed


def test_nothing_runs_that_was_not_confirmed(piped: Callable[..., Said]):
    runner, client = Runner(), loaded_client(Script(["By and by."]))
    said = piped("train on src", "n", "train on src", "m", "train on src", client=client, run=runner)
    assert runner.ran == []
    assert [asked[-1]["content"] for asked in client.asked] == ["train on src"]
    assert "By and by.\n" in said.out
    assert said.err.count("hone: nothing was run") == 2, "the last question found no more lines"


def test_the_line_can_be_typed_as_it_should_be(piped: Callable[..., Said], home: Path):
    register(home)
    runner = Runner()
    said = piped("/promote", "hone tune src --name x", f"hone models promote {SHOP} --as live", run=runner)
    assert "no gate has passed" in said.out
    assert "add --detach" in said.err
    assert runner.ran == [("models", "promote", SHOP, "--as", "live")]
    assert said.out.endswith("all is well\n")


def test_what_only_looks_is_run_at_once_and_a_refusal_is_one_line(piped: Callable[..., Said]):
    done = [Done(0, "all is well\n", ""), Done(2, "", "reading\nhone: there is no champion\n")]
    said = piped("/doctor", "/rollback", "y", run=lambda words: done.pop(0))
    assert said.out.startswith("$ hone doctor\nall is well\n")
    assert said.err.endswith("hone: there is no champion\n")
    assert said.chat.failed


def test_a_review_is_the_command(piped: Callable[..., Said]):
    runner = Runner()
    piped("/review", "/review staged", "/review since main", "/review commit HEAD~1", run=runner)
    assert runner.ran == [
        ("review",),
        ("review", "--staged"),
        ("review", "--base", "main"),
        ("review", "--commit", "HEAD~1"),
    ]


def test_a_job_that_was_removed_is_followed_no_more(piped: Callable[..., Said]):
    session = fixed_session()
    session.follows("20260101-000000-abcd")
    session.close()
    said = piped(session=sessions.open_session("1qgt0000"))
    assert "it was removed" in said.err
    assert sessions.load("1qgt0000").jobs == ()


def test_code_goes_into_a_file_change_by_change_and_comes_back(piped: Callable[..., Said]):
    before = "def total(items):\n    return 0\n"
    Path("cart.py").write_text(before)
    said = piped("sum", "/apply cart.py", "n", "/apply cart.py", "y", "/undo", client=loaded_client(Script([CODE])))
    assert "-     return 0\n+     return sum(items)\n" in said.out
    assert said.err.count("hone: nothing was written") == 1
    assert "written: cart.py; /undo takes it back\ntaken back: cart.py\n" in said.out
    assert Path("cart.py").read_text() == before
    piped("/apply new.py", "a", session=sessions.open_session("1qgt0000"))
    assert Path("new.py").read_text().startswith("def total(items):\n    return sum")


def test_a_question_is_asked_again_and_otherwise_in_copies(piped: Callable[..., Said]):
    client = loaded_client(Script(["One."]), Script(["Two."]), Script(["Three."]))
    said = piped("first", "/retry", "/edit second", client=client)
    assert said.out == "One.\nTwo.\nThree.\n"
    assert [asked[-1]["content"] for asked in client.asked] == ["first", "first", "second"]
    assert kept() == [("user", "first"), ("assistant", "One.")]
    assert kept(said.chat._session.id) == [("user", "second"), ("assistant", "Three.")]
    assert said.err.count("the conversation before is kept: /open ") == 2


def test_conversations_are_found_opened_by_number_named_and_written(piped: Callable[..., Said]):
    client = loaded_client(Script(["Lions."]), Script(["Boats."]))
    piped("cats", "/clear", "/rename sea", "ships", client=client)
    said = piped("/sessions ships", "1", "/export md", "/clear", "/sessions nothing at all", session=sessions.new())
    assert said.out.startswith("1  /open ")
    assert "> ships\nBoats.\n" in said.out
    assert "written: " in said.out
    assert "no conversation holds these words" in said.err
    written = next(Path.cwd().glob("*.md")).read_text()
    assert "# sea" in written
    assert "cats" not in written


def test_a_conversation_goes_on_with_what_was_typed_and_not_asked(piped: Callable[..., Said]):
    session = fixed_session()
    session.user("first")
    session.answer("Yes.", "cancelled")
    session.draft("and why?")
    session.close()
    client = loaded_client(Script(["Because."]))
    said = piped("1", client=client, session=sessions.open_session("1qgt0000"))
    assert said.out.startswith("> first\nYes.\n1  and why?\n")
    assert "stopped; what came is kept" in said.err
    assert kept()[-2:] == [("user", "and why?"), ("assistant", "Because.")]
    assert sessions.load("1qgt0000").draft == ""


def test_two_models_answer_one_after_the_other(piped: Callable[..., Said]):
    client = loaded_client(Script(["Plain."]), Script(["Tuned."]))
    said = piped("/compare smollm2-135m shop what is it?", client=client)
    assert said.out == "smollm2-135m:\nPlain.\nshop:\nTuned.\n"
    assert sessions.listing() == []


def test_the_model_is_switched_before_the_next_line(piped: Callable[..., Said]):
    client = loaded_client(Script(["Tuned."]))
    said = piped("/model shop", "hello", "/model nobody", "/model", client=client)
    assert client.models_asked == ["shop"]
    assert "no model is called nobody" in said.err
    assert f"● {SHOP}" in said.out


def test_ratings_copies_and_figures_of_the_last_answer(piped: Callable[..., Said], home: Path):
    feedback = Feedback(repository=Path.cwd())
    said = piped(
        *("/good", "/copy", "show", "/bad", "/copy", "/context", "/why"),
        client=loaded_client(Script([CODE])),
        feedback=lambda: feedback,
    )
    assert said.err.count("there is no answer yet") == 2
    assert "Kept as bad" in said.out
    assert "no clipboard here" in said.err
    assert "tokens, " in said.out
    assert [event.kind for event in feedback.read().events] == ["down"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/hlep", "there is no command /hlep; did you mean /help?"),
        ("/code x.py", "/code is a screen of the app"),
        ("/open", "say which: /open ID"),
        ("/open zzzz", "no session 'zzzz'"),
        ("/review nothing", "review takes staged, since REV or commit REV"),
        ("/retry", "there is no question yet"),
        ("/edit", "there is no question yet"),
        ("/apply x.py", "there is no answer yet"),
        ("/undo", "no change was applied"),
        ("/export pdf", "exported as md or json"),
        ("/compare one", "compare needs two models"),
        ("/evals", "nothing was measured yet"),
        ("/train 'x", "this cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_line(piped: Callable[..., Said], line: str, told: str):
    said = piped(line)
    assert told in said.err
    assert said.err.count("\n") <= 3
    assert said.out == ""
    assert said.chat.failed


def test_help_names_every_command(piped: Callable[..., Said]):
    said = piped("/help")
    for name in ("/apply", "/train", "/open ID", "/explain", "/good", "Ctrl+C"):
        assert name in said.out
    assert "/code" not in said.out


def test_what_is_typed_ahead_waits_on_disk_and_is_no_reply(person: Callable[..., Person]):
    go = threading.Event()
    runner = Runner()
    client = loaded_client(Script(["One ", go, "done.\n"]), Script(["Yes.\n"]))
    at = person(client, run=runner)
    at.until("answers here")
    at.type("first")
    at.until("One ")
    at.type("train on src")
    until_kept("train on src")  # two lines at once would be a paste
    at.type("y")
    until_kept("train on src\n\ny")
    go.set()
    at.until("Run this command?")
    time.sleep(0.2)
    assert runner.ran == []
    at.type("n")
    at.until("nothing was run")
    at.until("Yes.\n")
    assert [asked[-1]["content"] for asked in client.asked] == ["first", "y"]
    at.leaves()
    at.chat.close()
    assert sessions.load("1qgt0000").draft == ""


def until_kept(draft: str) -> None:
    end = time.monotonic() + 60
    while sessions.load("1qgt0000").draft != draft:
        assert time.monotonic() < end, sessions.load("1qgt0000").draft
        time.sleep(0.01)


def test_ctrl_c_stops_the_answer_and_refuses_a_question_but_does_not_leave(person: Callable[..., Person]):
    never = threading.Event()
    runner = Runner()
    at = person(loaded_client(Script(["One ", never])), run=runner)
    at.type("first")
    at.until("One ")
    at.chat.post(Interrupted())
    at.until("stopped; what came is kept")
    at.type("/rollback")
    at.until("y runs it")
    at.chat.post(Interrupted())
    at.until("nothing was run")
    at.chat.post(Interrupted())
    at.until("Ctrl+D or /quit leaves")
    at.leaves()
    assert runner.ran == []
    assert kept() == [("user", "first"), ("assistant", "One ")]


def test_a_job_goes_on_when_the_chat_is_left_and_is_shown_when_it_comes_back(
    person: Callable[..., Person], piped: Callable[..., Said], tmp_path: Path
):
    gate = tmp_path / "go"
    at = person(loaded_client(), run=Runner(gate))
    at.type("/train .")
    at.until("y runs it")
    at.type("yes")
    at.until("has begun")
    at.until("tune runs")
    identifier = at.chat._session.conversation.jobs[0]
    at.leaves()
    at.until(f"job {identifier} goes on")
    at.chat.close()
    gate.touch()
    ended(Job(folder() / identifier))
    said = piped(session=sessions.open_session("1qgt0000"))
    assert "passed the gate" in said.out
    lines = (Path(os.environ["HONE_HOME"]) / "sessions" / "1qgt0000.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines[-2:]] == [{"type": "job_ended", "text": identifier}, {"type": "left"}]
