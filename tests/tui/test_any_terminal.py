"""The app in terminals and places of all kinds: sizes, themes, no colours, other locales, folders nobody can write."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.segment import Segment
from textual.containers import ScrollableContainer
from textual.geometry import Region
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from assistant.errors import HoneError, UsageError
from assistant.sessions import Session
from assistant.skills.review import run as reviews
from tests.tui import models_here
from tests.tui.conftest import MakeApp, fixed_session
from tests.tui.fake_client import loaded_client
from tests.tui.test_app import until
from tests.tui.test_evals_screen import fill as fill_evals
from tests.tui.test_jobs_screen import fill as fill_jobs
from tests.tui.test_snapshots import CODE_ANSWER
from tui import encodings, themes
from tui.app import HoneApp, run
from tui.ask import Prompt, Question
from tui.chat.screen import ChatScreen
from tui.code.screen import CodeScreen
from tui.evals.form import EvalForm
from tui.evals.samples import SamplesScreen
from tui.evals.screen import EvalsScreen
from tui.jobs.form import JobForm
from tui.jobs.screen import JobsScreen
from tui.keybar import KeyBar
from tui.models.screen import ModelsScreen
from tui.places import PLACES
from tui.review.screen import ReviewScreen

SOURCE = 'def total(items):\n    """Adds up 漢字 and ☕."""\n    return sum(items)  # "\x1b[31m" ' + "x" * 300 + "\n"


@pytest.fixture
def session() -> Session:
    """Something of every kind of width."""
    made = fixed_session()
    made.user("What are [b]漢字[/b] and ☕? " + "word " * 60)
    made.answer(CODE_ANSWER + "\n| a | 漢字 |\n|---|---|\n| 1 | 👩‍👩‍👧 \u202eabc |\n", "stop")
    return made


async def code(pilot: Pilot[None]) -> None:
    """Goes to the code, with a file in it."""
    app = pilot.app
    assert isinstance(app, HoneApp)
    Path("cart.py").write_text(SOURCE)
    await pilot.press("f3")
    editor = app._made["code"]
    assert isinstance(editor, CodeScreen)
    await editor.visit("cart.py:2")
    await until(pilot, lambda: editor._file_tabs.pane)


async def test_any_size(make_app: MakeApp, session: Session):
    app = make_app(loaded_client(), session)
    async with app.run_test(size=(10, 5)) as pilot:
        await code(pilot)
        for place in PLACES:
            await pilot.press(place.key)
        for width, height in ((250, 70), (60, 20)):
            await pilot.resize_terminal(width, height)
            footer = Region(0, height - 1, width, 1)
            for place in PLACES:
                await pilot.press(place.key)
                await until(pilot, lambda footer=footer: app.screen.query_one(KeyBar).region == footer)
                assert outside(app) == [], (place.name, width, height)


def outside(app: HoneApp) -> list[str]:
    """Parts of the screen that are not all within the terminal."""
    shown = [child for child in app.screen.children if child.display and child.region.area]
    return [str(child) for child in shown if not app.screen.region.contains_region(child.region)]


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (160, 48), (250, 70)], ids=str)
async def test_what_takes_keys_is_in_sight_on_full_screens(
    make_app: MakeApp, session: Session, tmp_path: Path, size: tuple[int, int]
):
    base = models_here.base()
    models_here.version("shop", 2, base, after=0.512, day=3)
    models_here.version("bill", 3, base, before=0.7, after=0.71, day=1)
    fill_jobs()
    fill_evals(tmp_path)
    Path("cart.py").write_text("a = 1\n")
    for words in (("init", "-q"), ("add", "-A")):
        subprocess.run(["git", *words], check=True)
    app = make_app(loaded_client(), session, review=lambda request, *more: reviews.review(request, None, *more))
    async with app.run_test(size=size) as pilot:

        async def look(*keys: str, at: type[Screen[Any]], until_there: str = "") -> None:
            await pilot.press(*keys)
            await until(pilot, lambda: isinstance(app.screen, at))
            if until_there:
                await until(pilot, lambda: in_sight(app, until_there))
            await pilot.pause()
            assert unseen(app) == [], (app.screen, size)

        await look("f2", at=ChatScreen)
        await code(pilot)
        await look("ctrl+r", at=CodeScreen, until_there="#find-by")
        await look("ctrl+g", at=Prompt)
        await pilot.press("escape")
        await pilot.press("escape", "escape")
        await look("f4", "enter", at=ReviewScreen, until_there="#findings")
        await look("f5", at=JobsScreen, until_there="#job-log")
        await look("a", at=JobForm, until_there="#start")
        await look("escape", "n", at=JobForm, until_there="#start")
        await look("escape", "f6", at=ModelsScreen, until_there="#models-tree")
        await look("f7", at=EvalsScreen, until_there="#report")
        await look("n", at=EvalForm, until_there="#start")
        await pilot.press("escape")
        await until(pilot, lambda: "Machine" in str(app.screen.query_one("#report-text", Static).content))
        await look("s", at=SamplesScreen)
        app.push_screen(Question("cart.py changed on disk.", ("Overwrite it", "Take what is on disk")))
        await look(at=Question)


def in_sight(app: HoneApp, selector: str) -> bool:
    return any(widget.region.area for widget in app.screen.query(selector))


def unseen(app: HoneApp) -> list[str]:
    """What can have the focus and is not all on the screen; what scrolls counts by what it scrolls in."""
    wrong = []
    for widget in app.screen.query("*"):
        if widget.focusable and all(node.display for node in widget.ancestors_with_self if isinstance(node, Widget)):
            around = [node for node in widget.ancestors if isinstance(node, ScrollableContainer) and node.is_scrollable]
            seen = around[0] if around else widget
            if not (widget.size.area and seen.region.area and app.screen.region.contains_region(seen.region)):
                wrong.append(f"{widget} at {widget.region}")
    return wrong


def segments(app: HoneApp) -> Iterator[Segment]:
    """The text on the screen."""
    for strip in app.screen._compositor.render_strips():
        yield from (segment for segment in strip if segment.style and any(map(str.isalnum, segment.text)))


async def test_every_kind_of_theme_draws_text_that_differs_from_its_ground(make_app: MakeApp, session: Session):
    app = make_app(loaded_client(), session)
    async with app.run_test(size=(90, 30)) as pilot:
        await code(pilot)
        for name in ("ansi-dark", "ansi-light", "solarized-light"):
            assert name in app.available_themes
            app.theme = name
            for key in ("f2", "f3"):
                await pilot.press(key)
                await pilot.pause()
                seen = list(segments(app))
                assert seen
                styles = [(one.text, one.style.color, one.style.bgcolor) for one in seen if one.style]
                same = [text for text, on, ground in styles if on and not on.is_default and on == ground]
                assert same == [], (name, key)


async def test_a_theme_that_was_chosen_is_there_the_next_time(make_app: MakeApp, hone_home: Path):
    app = make_app(loaded_client())
    async with app.run_test() as pilot:
        assert themes.kept() == ""
        app.theme = "textual-light"
        await until(pilot, lambda: themes.kept() == "textual-light")
    assert make_app(loaded_client()).theme == "textual-light"
    (hone_home / "app.json").write_text('{"theme": "no such theme"}')
    assert make_app(loaded_client()).theme == "hone"
    (hone_home / "app.json").write_text("no json")
    assert make_app(loaded_client()).theme == "hone"


async def test_no_color_leaves_only_greys(make_app: MakeApp, session: Session, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = make_app(loaded_client(), session)
    async with app.run_test(size=(90, 30)) as pilot:
        await code(pilot)
        for key in ("f2", "f3"):
            await pilot.press(key)
            await pilot.pause()
            styles = [one.style for one in segments(app) if one.style]
            used = {color.triplet for style in styles for color in (style.color, style.bgcolor) if color}
            assert len(used) > 2
            assert all(one is None or one.red == one.green == one.blue for one in used)


@pytest.mark.skipif(not Path("/proc/self/attr").is_dir(), reason="a folder that nobody can write to is wanted")
async def test_a_folder_that_cannot_be_written(make_app: MakeApp, session: Session, monkeypatch: pytest.MonkeyPatch):
    app = make_app(loaded_client(), session)
    monkeypatch.chdir("/proc/self/attr")
    async with app.run_test(size=(90, 30)) as pilot:
        await until(pilot, lambda: app.chat.serving)
        await pilot.press("f3")
        await pilot.pause()
        await pilot.press("f2", *"/export", "enter")
        await until(pilot, lambda: "cannot write" in "".join(str(one.content) for one in app.screen.query(".notice")))


def test_no_folder_for_the_state_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HONE_HOME", str(tmp_path / "file" / "home"))
    in_terminal(monkeypatch)
    with pytest.raises(HoneError, match=r"cannot use .*file/home for Hone's state: .*set HONE_HOME"):
        run(None, None)


def test_a_locale_without_the_apps_characters_is_one_line(hone_home: Path, monkeypatch: pytest.MonkeyPatch):
    in_terminal(monkeypatch)
    monkeypatch.setattr(sys, "__stderr__", io.TextIOWrapper(io.BytesIO(), encoding="iso8859-1"))
    with pytest.raises(UsageError, match=r"set LC_ALL=C\.UTF-8, or use `hone --plain`"):
        run(None, None)


def in_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")


@given(st.text(), st.sampled_from(["ascii", "iso8859-1", "utf-8"]))
def test_a_stream_takes_every_character_and_json_stays_what_it_was(text: str, encoding: str):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, newline="")
    encodings.tolerate(stream)
    stream.write(json.dumps(text, ensure_ascii=False))
    stream.flush()
    assert json.loads(written.getvalue().decode(encoding)) == text


def test_a_command_prints_in_any_locale(hone_home: Path, tmp_path: Path):
    folder = hone_home / "sessions"
    folder.mkdir()
    kept = {"type": "user", "text": "漢字 → ☕ é"}
    (folder / "1qgt0001.jsonl").write_text('{"type": "session", "schema_version": 1}\n' + json.dumps(kept) + "\n")
    environment = {**os.environ, "PYTHONIOENCODING": "iso8859-1"}
    done = subprocess.run(
        [sys.executable, "-m", "tui", "chat", "--sessions"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert rb"\u6f22\u5b57 \u2192 \u2615 " + b"\xe9" in done.stdout
    assert done.stderr == b""
