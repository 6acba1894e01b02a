"""What `benchmarks/tui_stream.py` measures, each in a process of its own: Hone's app and editor, and
Textual's stock ones.

    python -m benchmarks.tui_apps WHAT --out FILE [--lines N] [--rate R] [--turns N] [--seconds S] [--headless]

Hone's app is the real one, with a client that writes at a given rate in place of the gateway. A frame is timed from the
arrival of a piece of text (or of a key) until the screen was drawn with it. Processor time is the whole process's.
"""

import argparse
import asyncio
import inspect
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from textual import events
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Markdown, TextArea

from assistant import sessions
from assistant.client import Delta
from tui import collector
from tui.app import HoneApp
from tui.chat.answer import Answer
from tui.chat.models import ModelTarget
from tui.chat.prompt import PromptInput
from tui.chat.services import Services
from tui.code.editor import Editor
from tui.places import Visit

TOKEN = 4
"""Characters, about what tokenizers make of code."""
FLUSH_SECONDS = 0.1
SIZE = (120, 36)
KEYS = "abcdefghij klmno xyz_=+ qrstuv"
_TURN = "What does this do?\n"
_SHORT = "It adds the numbers.\n\n```python\ndef total(items):\n    return sum(items)\n```\n\nThat is all.\n"


def source(lines: int) -> str:
    """Python of the standard library, repeated until it is that long."""
    text = inspect.getsource(argparse).splitlines()
    return "\n".join((text * (lines // len(text) + 1))[:lines]) + "\n"


def tokens(text: str) -> list[str]:
    return [text[at : at + TOKEN] for at in range(0, len(text), TOKEN)]


@dataclass
class Flush:
    """After one piece was drawn."""

    line: int
    cpu_seconds: float
    """Of the process until then."""
    frame_seconds: float


@dataclass
class Figures:
    flushes: list[Flush] = field(default_factory=list)
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Writer:
    """A client whose answers are `texts`, written at `rate` tokens a second; 0 is as fast as they are taken."""

    texts: list[str]
    rate: float

    def health(self) -> dict[str, Any]:
        return {"status": "ok", "context_length": 8192}

    def is_reached(self) -> bool:
        return True

    def models(self) -> list[dict[str, Any]]:
        entry = {"id": "smollm2-135m", "name": "smollm2-135m", "adapter": None, "chat": True}
        return [{**entry, "fim_tokens": None, "context_length": 8192}]

    def tokenize(self, texts: Sequence[str], model: str | None = None) -> list[list[int]]:
        return [[0] * (len(text) // TOKEN + 1) for text in texts]

    def chat(self, messages: object, **options: object) -> Iterator[Delta]:
        began = time.monotonic()
        text = self.texts.pop(0)
        for number, token in enumerate(tokens(text)):
            if self.rate:
                time.sleep(max(0.0, began + number / self.rate - time.monotonic()))
            yield Delta(token)
        yield Delta("", "stop", {"model": "smollm2-135m", "prompt_tokens": 100, "completion_tokens": 100})

    def complete(self, prompt: str, *, cancel: Any = None, **options: object) -> Iterator[Delta]:
        """A line, as the embedded model writes one."""
        for token in tokens("total = sum(items)\n"):
            time.sleep(0.02)
            if cancel is not None and cancel.cancelled:
                return
            yield Delta(token)
        yield Delta("", "stop", {"model": "smollm2-135m"})


def services(writer: Writer) -> Services:
    @contextmanager
    def connect(model: str | None) -> Iterator[Any]:
        yield writer

    target = ModelTarget("smollm2-135m", "smollm2-135m")
    return Services(connect=connect, check=lambda name, fetch: target, rows=list, clipboard=list)


def drawn(app: App[Any] | Widget) -> "asyncio.Future[float]":
    """The moment at which the screen was drawn with all that is asked for by now."""
    done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def tell() -> None:
        if not done.done():
            done.set_result(time.perf_counter())

    app.call_after_refresh(tell)
    return done


async def answered(app: HoneApp, text: str) -> None:
    """Asks and waits for the whole answer."""
    before = len(app.chat._session.conversation.messages)
    app.chat.query_one(PromptInput).post_message(PromptInput.Submitted(text))
    while len(app.chat._session.conversation.messages) < before + 2 or app.chat._under_way is not None:
        await asyncio.sleep(FLUSH_SECONDS)
    await drawn(app)


async def loaded(app: HoneApp) -> None:
    await drawn(app)
    while app.chat._status.state != "ready":
        await asyncio.sleep(FLUSH_SECONDS)


def run_ours(
    session: sessions.Session, writer: Writer, measure: Callable[[HoneApp], Awaitable[None]], headless: bool
) -> None:
    """Hone's app, with one measurement when it is ready."""
    app = HoneApp(session, "smollm2-135m", services(writer))

    async def drive(pilot: object) -> None:
        await loaded(app)
        # As the app does in a terminal.
        collector.settle()
        await measure(app)
        app.exit()

    try:
        run(app, headless, drive)
    finally:
        app.close()


def run(app: App[Any], headless: bool, drive: Callable[[Any], Awaitable[None]] | None = None) -> None:
    app.run(headless=headless, size=SIZE if headless else None, auto_pilot=drive)  # type: ignore[arg-type]
    if app.return_code:
        raise SystemExit("the app broke off")


def stream_ours(options: argparse.Namespace) -> Figures:
    figures, line = Figures(), 0
    original = Answer.write

    async def write(self: Answer, text: str) -> None:
        nonlocal line
        began = time.perf_counter()
        await original(self, text)
        line += text.count("\n")
        at, done = line, drawn(self.app)
        done.add_done_callback(
            lambda told: figures.flushes.append(Flush(at, time.process_time(), told.result() - began))
        )

    Answer.write = write  # type: ignore[method-assign]

    async def measure(app: HoneApp) -> None:
        await loaded(app)
        cpu, began = time.process_time(), time.perf_counter()
        await answered(app, "write it")
        figures.cpu_seconds, figures.wall_seconds = time.process_time() - cpu, time.perf_counter() - began
        for flush in figures.flushes:
            flush.cpu_seconds -= cpu

    writer = Writer([f"Here it is:\n\n```python\n{source(options.lines)}```\n"], options.rate)
    run_ours(sessions.new(), writer, measure, options.headless)
    return figures


class Stock(App[None]):
    """Textual's own way to stream: `Markdown.get_stream` in a scroll that is anchored at its end."""

    def __init__(self, text: str, rate: float) -> None:
        super().__init__()
        self._text = text
        self._rate = rate
        self.figures = Figures()

    def compose(self) -> ComposeResult:
        with VerticalScroll() as scroll:
            yield Markdown()
        scroll.anchor()

    def on_ready(self) -> None:
        self.run_worker(self._feed())

    async def _feed(self) -> None:
        stream = Markdown.get_stream(self.query_one(Markdown))
        cpu, began, line, due = time.process_time(), time.perf_counter(), 0, 0.0
        waiting: list[asyncio.Future[float]] = []
        for number, token in enumerate(tokens(self._text)):
            if self._rate:
                await asyncio.sleep(max(0.0, began + number / self._rate - time.perf_counter()))
            await stream.write(token)
            line += token.count("\n")
            now = time.perf_counter()
            if now >= due and (not waiting or waiting[-1].done()):
                due = now + FLUSH_SECONDS
                waiting.append(self._timed(line, cpu, now))
        await stream.stop()
        await drawn(self)
        self.figures.cpu_seconds, self.figures.wall_seconds = time.process_time() - cpu, time.perf_counter() - began
        self.exit()

    def _timed(self, line: int, cpu: float, began: float) -> "asyncio.Future[float]":
        done = drawn(self)
        done.add_done_callback(
            lambda told: self.figures.flushes.append(Flush(line, time.process_time() - cpu, told.result() - began))
        )
        return done


def stream_stock(options: argparse.Namespace) -> Figures:
    app = Stock(f"Here it is:\n\n```python\n{source(options.lines)}```\n", options.rate)
    run(app, options.headless)
    return app.figures


def long_session(options: argparse.Namespace) -> Figures:
    """Opens a conversation of many turns, lies idle, loses and gets the focus, and takes more turns."""
    session = sessions.new()
    for number in range(options.turns):
        session.user(f"{number}: {_TURN}")
        session.answer(_SHORT, "stop", "smollm2-135m")
    session.close()
    opened = sessions.open_session(session.id) if options.turns else sessions.new()
    process = psutil.Process()
    figures = Figures()

    async def measure(app: HoneApp) -> None:
        await loaded(app)
        await asyncio.sleep(1.0)
        memory, cpu, began = process.memory_info().rss, time.process_time(), time.perf_counter()
        await asyncio.sleep(options.seconds)
        idle = (time.process_time() - cpu) / (time.perf_counter() - began)
        focus = [await _focus(app, event) for _ in range(5) for event in (events.AppBlur(), events.AppFocus())]
        halfway = memory
        for number in range(options.more):
            await answered(app, f"more {number}: {_TURN}")
            if number + 1 == options.more // 2:
                halfway = process.memory_info().rss
        figures.values = {
            "turns": options.turns,
            "idle_cpu": idle,
            "focus_seconds": focus,
            "memory": memory,
            "more_turns": options.more,
            "memory_halfway": halfway,
            "memory_after_more": process.memory_info().rss,
            "mounted": len(app.screen.query("*")),
        }

    run_ours(opened, Writer([_SHORT] * options.more, 0), measure, options.headless)
    return figures


async def _focus(app: App[Any], event: events.Event) -> float:
    began = time.perf_counter()
    app.post_message(event)
    seconds = await drawn(app) - began
    await asyncio.sleep(0.2)
    return seconds


class Typed(App[None]):
    """One editor; keys are put into its queue as the terminal's driver does."""

    def __init__(self, editor: TextArea, css: Sequence[str | Path], row: int) -> None:
        super().__init__(css_path=list(css))
        self._editor = editor
        self._row = row
        self.figures = Figures()

    def compose(self) -> ComposeResult:
        yield self._editor

    def on_ready(self) -> None:
        self.run_worker(self._type())

    async def _type(self) -> None:
        self._editor.focus()
        self._editor.move_cursor((self._row, 0), center=True)
        await drawn(self)
        await asyncio.sleep(1.0)
        self.figures.values = await typed(self, self._editor)
        self.exit()


async def typed(app: App[Any], editor: TextArea) -> dict[str, Any]:
    cpu: list[float] = []
    wall: list[float] = []
    arrived = asyncio.Event()
    app.watch(editor, "selection", arrived.set, init=False)
    for character in KEYS:
        used, began = time.process_time(), time.perf_counter()
        key = {" ": "space", "_": "underscore", "=": "equals_sign", "+": "plus"}.get(character, character)
        arrived.clear()
        app.post_message(events.Key(key, character))
        await arrived.wait()
        wall.append(await drawn(editor) - began)
        # What is left for later counts too.
        await asyncio.sleep(0.05)
        cpu.append(time.process_time() - used)
    return {"cpu_seconds": cpu, "wall_seconds": wall, "typed": KEYS in editor.text}


def keys_on_screen(options: argparse.Namespace) -> Figures:
    """In the whole app's Code screen, with suggestions: its status line, its recovery file and its index cost too."""
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="hone-keys-") as folder:
        Path(folder, "module.py").write_text(source(options.lines))
        os.chdir(folder)

        async def measure(app: HoneApp) -> None:
            app.post_message(Visit("code", f"module.py:{options.lines // 2}"))
            while not app.screen.query(Editor):
                await asyncio.sleep(FLUSH_SECONDS)
            editor = app.screen.query_one(Editor)
            editor.focus()
            await drawn(app)
            # The index and the first suggestion are made meanwhile.
            await asyncio.sleep(3.0)
            figures.values = await typed(app, editor)

        run_ours(sessions.new(), Writer([], 0), measure, options.headless)
        os.chdir("/")
    if not figures.values.get("typed"):
        raise SystemExit("the keys did not reach the editor")
    return figures


def keys(options: argparse.Namespace, editor: Callable[[str], TextArea], css: Sequence[str]) -> Figures:
    import tui

    root = Path(tui.__file__).parent
    app = Typed(editor(source(options.lines)), [root / name for name in css], options.lines // 2)
    run(app, options.headless)
    if not app.figures.values.get("typed"):
        raise SystemExit("the keys did not reach the editor")
    return app.figures


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "stream-ours": stream_ours,
    "stream-stock": stream_stock,
    "session": long_session,
    "keys-ours": lambda options: keys(options, lambda text: Editor(text, "module.py"), ("app.tcss", "code/code.tcss")),
    "keys-screen": keys_on_screen,
    "keys-stock": lambda options: keys(options, lambda text: TextArea.code_editor(text, language="python"), ()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MEASUREMENTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--turns", type=int, default=1_000)
    parser.add_argument("--more", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--headless", action="store_true")
    options = parser.parse_args()
    if "HONE_HOME" not in os.environ:
        raise SystemExit("set HONE_HOME to a folder of its own")
    figures = MEASUREMENTS[options.what](options)
    told = {
        "flushes": [vars(flush) for flush in figures.flushes],
        "cpu_seconds": figures.cpu_seconds,
        "wall_seconds": figures.wall_seconds,
        **figures.values,
    }
    partial = options.out.with_suffix(".partial")
    partial.write_text(json.dumps(told))
    partial.rename(options.out)


if __name__ == "__main__":
    main()
