"""What the screen looks like. A changed picture fails until someone looked at it and took it with --snapshot-update."""

import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Footer

from tests.tui.conftest import MakeApp, fixed_session
from tests.tui.fake_client import FakeClient, Script, loaded_client
from tests.tui.looks import looks
from tui.app import HoneApp
from tui.chat.conversation import Notice
from tui.chat.prompt import PromptInput
from tui.chat.status import StatusLine

SIZES = [(80, 24), (160, 48)]
CODE_ANSWER = """Use the `csv` module; it knows about **quotes**:

```python
import csv
from pathlib import Path


def total(path: Path, column: str) -> float:
    \"\"\"The sum of a column; the first line names the columns.\"\"\"
    with path.open(newline="", encoding="utf-8") as file:
        return sum(float(row[column]) for row in csv.DictReader(file))
```

1. `newline=""` leaves line ends to the module.
2. [brackets] and <b>tags</b> stay as they are.
"""
Snap = Callable[..., bool]
Before = Callable[[Pilot[None]], Awaitable[None]]


def size_name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def before(*steps: Callable[[Pilot[None]], Awaitable[None]]) -> Before:
    async def run(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, HoneApp)
        app.animation_level = "none"
        prompt = app.screen.query_one(PromptInput)
        prompt.cursor_blink = False
        for step in steps:
            await step(pilot)
        await until(pilot, lambda: len(app.screen.query_one(Footer).children) >= 4)
        await pilot.pause(0.2)

    return run


async def until(pilot: Pilot[None], condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "this never happened"
        await pilot.pause(0.02)


def state(pilot: Pilot[None]) -> str:
    return pilot.app.screen.query_one(StatusLine).status.state


async def ready(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: state(pilot) == "ready")


async def loading(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: pilot.app.screen.query_one(StatusLine).status.model)


def ask(text: str, until_state: str | None = "ready") -> Callable[[Pilot[None]], Awaitable[None]]:
    async def step(pilot: Pilot[None]) -> None:
        pilot.app.screen.query_one(PromptInput).insert(text)
        await pilot.press("enter")
        await pilot.pause(0.3)
        chat = pilot.app.chat  # type: ignore[attr-defined]
        if until_state == "ready":
            await until(pilot, lambda: not chat._waiting and chat._under_way is None and state(pilot) == "ready")
        elif until_state:
            await until(pilot, lambda: state(pilot) == until_state)

    return step


def says(text: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def step(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: any(text in str(one.content) for one in pilot.app.screen.query(Notice)))

    return step


def typed(text: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def step(pilot: Pilot[None]) -> None:
        await pilot.press(*text)

    return step


async def without_clock(pilot: Pilot[None]) -> None:
    """Stops the seconds of the answer under way."""
    chat = pilot.app.screen
    chat._ticker.pause()  # type: ignore[attr-defined]
    line = chat.query_one(StatusLine)
    line.status = line.status.__class__(**{**line.status.__dict__, "detail": "3 s"})


@looks((60, 20))
def test_welcome(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    app = make_app(loaded_client())
    app.theme = theme
    assert snap_compare(app, terminal_size=size, run_before=before(ready))


@looks()
def test_loading(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    app = make_app(FakeClient([]))
    app.theme = theme
    steps = before(loading, ask("How do I sum a CSV column?", None), typed("/m"))
    assert snap_compare(app, terminal_size=size, run_before=steps)


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_code_answer_while_it_streams(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    half = CODE_ANSWER[: CODE_ANSWER.index("    with path")]
    app = make_app(loaded_client(Script([half, threading.Event()])))
    steps = before(ready, ask("How do I sum a CSV column?", "answering"), without_clock)
    assert snap_compare(app, terminal_size=size, run_before=steps)


@looks((60, 20))
def test_code_answer(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    app = make_app(loaded_client(Script([CODE_ANSWER])))
    app.theme = theme
    steps = before(ready, ask("How do I sum a CSV column?\nIt has a header."))
    assert snap_compare(app, terminal_size=size, run_before=steps)


@looks()
def test_error(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    app = make_app(loaded_client(Script(["It begins"], error="the engine ended (signal 9); send the request again")))
    app.theme = theme
    steps = before(ready, ask("Question"), ask("/modle"), ask("/model nothing"), says("no model is called nothing"))
    assert snap_compare(app, terminal_size=size, run_before=steps)


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_long_conversation(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    session = fixed_session()
    for number in range(30):
        session.user(f"Question {number}: what is {number} + {number}?")
        session.answer(f"It is **{2 * number}**.\n\n- doubled: `{number} * 2`\n", "length" if number == 29 else "stop")
    app = make_app(loaded_client(), session)
    assert snap_compare(app, terminal_size=size, run_before=before(ready))


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_help_and_models(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    app = make_app(loaded_client())
    steps = before(ready, ask("/help"), ask("/model shop"), says("now answering"), ask("/model"), says("champion"))
    assert snap_compare(app, terminal_size=size, run_before=steps)


def keys(*pressed: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def step(pilot: Pilot[None]) -> None:
        await pilot.press(*pressed)
        await pilot.pause(0.4)

    return step


SHOP = "import csv\n\n\ndef total(path, column):\n    rows = list(csv.DictReader(open(path)))\n    return sum(rows)\n"


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_mention_completion(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    app = make_app(loaded_client())
    for name in ("shop.py", "shelf.py", "tests/test_shop.py", "[b]odd[/b].py"):
        path = Path.cwd() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SHOP)
    steps = before(ready, typed("explain @sh"), keys())
    assert snap_compare(app, terminal_size=size, run_before=steps)


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_slash_completion(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    app = make_app(loaded_client())
    assert snap_compare(app, terminal_size=size, run_before=before(ready, typed("/"), keys("down")))


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_walk_to_a_code_block(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    app = make_app(loaded_client(Script([CODE_ANSWER])))
    steps = before(ready, ask("How do I sum a CSV column?"), keys("ctrl+up"))
    assert snap_compare(app, terminal_size=size, run_before=steps)


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_apply_by_hunks(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    app = make_app(loaded_client(Script([CODE_ANSWER])))
    (Path.cwd() / "shop.py").write_text(SHOP)
    steps = before(ready, ask("Improve @shop.py"), keys("ctrl+up", "a"), keys("down", "space"))
    assert snap_compare(app, terminal_size=size, run_before=steps)


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_sessions(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    for number in range(5):
        other = fixed_session(f"1qgt000{number + 1}")
        other.user(f"Question {number} about [b]sorting[/b]")
        other.answer(f"Answer {number}: use `sorted` with a key", "stop")
        other.close()
    app = make_app(loaded_client())
    steps = before(ready, ask("/sessions sorted key", None), keys("down"))
    assert snap_compare(app, terminal_size=size, run_before=steps)


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_comparison(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    short = "Use `sum`:\n\n```python\nsum(float(row[column]) for row in rows)\n```\n"
    app = make_app(loaded_client(Script([short]), Script([CODE_ANSWER])))
    steps = before(ready, ask("/compare smollm2-135m shop How do I sum a CSV column?"))
    assert snap_compare(app, terminal_size=size, run_before=steps)
