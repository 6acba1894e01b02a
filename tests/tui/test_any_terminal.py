"""The app in terminals and places of all kinds: sizes, themes, no colours, other locales, folders nobody can write."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.segment import Segment
from textual.geometry import Region
from textual.pilot import Pilot

from assistant.errors import HoneError, UsageError
from assistant.sessions import Session
from tests.tui.conftest import MakeApp, fixed_session
from tests.tui.fake_client import loaded_client
from tests.tui.test_app import until
from tests.tui.test_snapshots import CODE_ANSWER
from tui import encodings, themes
from tui.app import HoneApp, run
from tui.code.screen import CodeScreen
from tui.keybar import KeyBar
from tui.places import PLACES

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
