"""Whose turn it is: questions that wait, that are taken back, that get no answer, and what is remembered of them."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest

from assistant import sessions
from assistant.client import Client
from assistant.errors import HoneError
from tests.tui.conftest import MakeApp, fixed_session
from tests.tui.fake_client import FakeClient, Script, loaded_client
from tests.tui.test_app import idle, notices, prompt_of, shown, status_of, type_and_send, until
from tui.app import HoneApp


def hold_up(condition: Callable[[], object]) -> None:
    """Waits without letting the screen do anything."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.01)


def noted(app: HoneApp) -> list[str]:
    return [one.message for one in app._notifications]


class SlowReader(FakeClient):
    """Whose tokenizer can be held up: a question is being read then."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reading, self.may_read = threading.Event(), threading.Event()
        self.waits.append(self.may_read)
        self.loaded.set()

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]:
        self.reading.set()
        self.may_read.wait(300)
        return super().tokenize(texts, model)


async def test_an_answer_is_itself_although_the_next_question_is_asked_already(make_app: MakeApp):
    gate = threading.Event()
    client = loaded_client(Script(["one", gate]), Script(["two"]))
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "first")
        await type_and_send(pilot, "second")
        await until(pilot, lambda: "one" in shown(app) and status_of(app).queued == 1)
        gate.set()
        hold_up(lambda: len(client.asked) == 2)
        await until(pilot, lambda: "two" in shown(app) and idle(app))
        for keys, text in ((("ctrl+up",), "two"), (("up",), "second"), (("up",), "one"), (("up",), "first")):
            await pilot.press(*keys, "c")
            await until(pilot, lambda text=text: app.clipboard == text)
        assert not any("still being written" in line for line in noted(app))


@pytest.mark.parametrize("why", ["no model is loaded", "it cannot be prepared"])
async def test_a_question_without_an_answer_is_asked_again_by_its_key(why: str, make_app: MakeApp):
    client = loaded_client(Script(["two"])) if why != "no model is loaded" else FakeClient([], load_error="damaged")
    app = make_app(client)
    text = "word " * 5000 if why != "no model is loaded" else "question"
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app) or status_of(app).state == "down")
        before = len(notices(app))
        await type_and_send(pilot, text)
        await until(pilot, lambda: len(notices(app)) == before + 1)
        await pilot.press("ctrl+up", "e")
        await until(pilot, lambda: prompt_of(app).text == text)
        await pilot.press("escape", "ctrl+up", "r")
        await until(pilot, lambda: app.chat.session_id != "1qgt0000")
        await until(pilot, lambda: [m.text for m in sessions.load("last").messages if m.role == "user"] == [text])


async def test_a_question_that_was_read_is_stopped_and_not_said_to_be_taken_back(make_app: MakeApp):
    client = SlowReader([Script([threading.Event(), "too late"])])
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "question")
        hold_up(client.reading.is_set)
        await until(pilot, lambda: len(sessions.load("1qgt0000").messages) == 1)
        await pilot.press("escape")
        assert status_of(app).state == "stopping"
        client.may_read.set()
        await until(pilot, lambda: idle(app) and len(sessions.load("1qgt0000").messages) == 2)
        assert "taken back" not in shown(app)
        assert prompt_of(app).text == ""
    assert sessions.load("1qgt0000").messages[1].finish == "cancelled"


async def test_a_question_that_is_taken_back_while_its_files_are_read_is_not_asked(make_app: MakeApp):
    client = SlowReader([Script(["never"])])
    app = make_app(client)
    with open("shop.py", "w") as file:
        file.write("x = 1\n")
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "explain @shop.py")
        hold_up(client.reading.is_set)
        await pilot.press("escape")
        await until(pilot, lambda: "taken back" in shown(app))
        assert prompt_of(app).text == "explain @shop.py"
        client.may_read.set()
        await type_and_send(pilot, "")
        await until(pilot, lambda: client.asked)
        await until(pilot, lambda: idle(app) and "never" in shown(app))
    app.chat.close()
    assert [m.text for m in sessions.load("1qgt0000").messages] == ["explain @shop.py", "never"]
    assert len(client.asked) == 1


async def test_what_is_typed_ahead_is_kept_when_the_question_before_it_is_asked(make_app: MakeApp):
    client = SlowReader([Script([threading.Event()])])
    app = make_app(client)
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        client.may_read.clear()
        with open("shop.py", "w") as file:
            file.write("x = 1\n")
        await type_and_send(pilot, "explain @shop.py")
        hold_up(client.reading.is_set)
        assert sessions.load("1qgt0000").draft == "explain @shop.py", "killed now, it would be lost"
        prompt_of(app).insert("and then")
        await until(pilot, lambda: sessions.load("1qgt0000").draft.endswith("and then"))
        client.may_read.set()
        await until(pilot, lambda: sessions.load("1qgt0000").messages)
        assert sessions.load("1qgt0000").draft == "and then"


async def test_a_disk_that_refuses_leaves_an_answer_that_can_be_copied(make_app: MakeApp):
    session = fixed_session()

    def refuse(*_: object, **__: object) -> None:
        raise HoneError("the disk is full")

    app = make_app(loaded_client(Script(["one"])), session)
    session.answer = refuse  # type: ignore[method-assign, assignment]
    async with app.run_test() as pilot:
        await until(pilot, lambda: idle(app))
        await type_and_send(pilot, "first")
        await until(pilot, lambda: notices(app) == ["the disk is full"])
        await pilot.press("ctrl+up", "c")
        await until(pilot, lambda: app.clipboard == "one")


class SilentGateway:
    """Takes a request over HTTP and never sends a byte."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked, self.left = threading.Event(), threading.Event()
        """A request is there; who sent it waits no more."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            while b"messages" not in connection.recv(65536):
                pass
            self.asked.set()
            while connection.recv(65536):
                pass
            self.left.set()

    def close(self) -> None:
        self._socket.close()


class SilentClient(FakeClient):
    """Whose answers come from a gateway."""

    http: httpx.Client

    def chat(self, messages: Sequence[Any], **asked: Any) -> Iterator[Any]:  # type: ignore[override]
        return Client(self.http).chat(messages, **asked)


async def test_escape_ends_the_request_while_the_model_reads_the_prompt(make_app: MakeApp):
    gateway = SilentGateway()
    client = SilentClient([])
    client.loaded.set()
    app = make_app(client)
    with httpx.Client(base_url=gateway.url, timeout=None, trust_env=False) as client.http:
        async with app.run_test() as pilot:
            await until(pilot, lambda: idle(app))
            await type_and_send(pilot, "question")
            await until(pilot, gateway.asked.is_set)
            assert not gateway.left.is_set()
            await pilot.press("escape")
            await until(pilot, lambda: gateway.left.is_set() and idle(app))
            assert notices(app) == []
        app.chat.close()
    gateway.close()
    assert sessions.load("1qgt0000").messages[-1].finish == "cancelled"
