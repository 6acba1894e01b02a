"""What every screen looks like while it reads, and when it could not: narrow and wide, light and dark.

The other files with snapshots have what is full and what is empty. Look at a changed picture before you take it with
--snapshot-update.
"""

import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from textual.pilot import Pilot
from textual.widgets import Footer, Static

from assistant.errors import HoneError
from tests.tui import test_evals_screen
from tests.tui.conftest import MakeApp
from tests.tui.fake_client import loaded_client
from tests.tui.looks import looks
from tests.tui.test_code_screen import screen, until
from tests.tui.test_snapshots import Snap
from tui.app import HoneApp
from tui.code import files
from tui.evals.gathered import Gatherer as Evals
from tui.jobs.gathered import Gatherer as Jobs
from tui.models.gathered import Gatherer as Models
from tui.places import PLACES

KEYS = {place.name: place.key for place in PLACES}
READERS: dict[str, tuple[Any, str]] = {
    "code": (files, "listed"),
    "jobs": (Jobs, "gather"),
    "models": (Models, "models"),
    "evals": (Evals, "gather"),
}
"""What a screen reads first, in a thread."""
UNUSABLE = "cannot use /srv/hone for Hone's state: Read-only file system; set HONE_HOME to a folder you may write to"


@pytest.fixture
def app(make_app: MakeApp) -> HoneApp:
    made = make_app(loaded_client())
    # What is told goes by itself, on a busy machine before the picture is taken.
    made.NOTIFICATION_TIMEOUT = 600
    return made


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What waits for it goes on when the test ends."""
    made = threading.Event()
    yield made
    made.set()


async def at(pilot: Pilot[None], place: str) -> None:
    """The screen with its footer, whatever it shows."""
    pilot.app.animation_level = "none"
    await until(pilot, lambda: pilot.app.chat.serving)  # type: ignore[attr-defined]
    await pilot.press(KEYS[place])
    await until(pilot, lambda: pilot.app.current_mode == place and pilot.app.screen.query_one(Footer).children)


def said(app: HoneApp, words: str) -> bool:
    return words in app.export_screenshot(simplify=True).replace("\xa0", " ")


def snapped(
    snap: Snap,
    app: HoneApp,
    size: tuple[int, int],
    theme: str,
    place: str,
    condition: Callable[[], object] = lambda: True,
) -> bool:
    async def play(pilot: Pilot[None]) -> None:
        await at(pilot, place)
        await until(pilot, condition)
        await pilot.pause(0.3)

    app.theme = theme
    return snap(app, terminal_size=size, run_before=play)


@looks()
@pytest.mark.parametrize("place", READERS)
def test_while_it_reads(
    app: HoneApp,
    gate: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    snap_compare: Snap,
    place: str,
    size: tuple[int, int],
    theme: str,
):
    owner, name = READERS[place]
    reads = getattr(owner, name)

    def slow(*arguments: Any) -> Any:
        while not gate.wait(0.05) and app.is_running:
            pass
        return reads(*arguments)

    monkeypatch.setattr(owner, name, slow)
    assert snapped(snap_compare, app, size, theme, place)


@looks()
@pytest.mark.parametrize("place", READERS)
def test_when_it_cannot_read(
    app: HoneApp, monkeypatch: pytest.MonkeyPatch, snap_compare: Snap, place: str, size: tuple[int, int], theme: str
):
    def refuse(*arguments: Any) -> NoReturn:
        raise HoneError(UNUSABLE)

    monkeypatch.setattr(*READERS[place], refuse)
    assert snapped(snap_compare, app, size, theme, place, lambda: said(app, "Read-only"))


@looks()
def test_a_report_that_cannot_be_read(
    app: HoneApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snap_compare: Snap, size: tuple[int, int], theme: str
):
    test_evals_screen.fill(tmp_path / "reports")

    def refuse(*arguments: Any) -> NoReturn:
        raise HoneError("/srv/reports/report.json: line 3: 'tasks' must be a list; written by another version?")

    monkeypatch.setattr("tui.evals.screen.ReportFile", refuse)

    def shown() -> bool:
        return "another version" in str(app.screen.query_one("#report-text", Static).content)

    assert snapped(snap_compare, app, size, theme, "evals", shown)


@looks()
def test_a_review_that_is_refused(app: HoneApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    def refuse(*arguments: Any) -> NoReturn:
        raise HoneError("git knows no revision 'no-such-branch'; `git branch -a` lists what there is")

    async def play(pilot: Pilot[None]) -> None:
        await at(pilot, "review")
        await pilot.press("enter")
        await until(pilot, lambda: said(app, "no-such-branch"))
        await pilot.pause(0.3)

    app.services = replace(app.services, review=refuse)
    monkey = pytest.MonkeyPatch()
    monkey.setattr("assistant.skills.review.run.read", lambda request: None)
    app.theme = theme
    try:
        assert snap_compare(app, terminal_size=size, run_before=play)
    finally:
        monkey.undo()


@looks()
def test_a_file_that_cannot_be_opened(app: HoneApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    Path("picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00")
    Path("main.py").write_text("x = 1\n")

    async def play(pilot: Pilot[None]) -> None:
        await at(pilot, "code")
        await until(pilot, lambda: screen(pilot).files.paths)
        await screen(pilot).visit("picture.png")
        await until(pilot, lambda: app._notifications)
        await pilot.pause(0.3)

    app.theme = theme
    assert snap_compare(app, terminal_size=size, run_before=play)


def test_no_picture_shows_this_machine_or_this_moment():
    folder = Path(__file__).parent / "__snapshots__"
    pictures = sorted(folder.rglob("*.svg"))
    assert len(pictures) > 100
    for picture in pictures:
        text = picture.read_text("utf-8")
        for folder in (tempfile.gettempdir(), str(Path.home()), str(Path(__file__).parents[2])):
            assert f"{folder}/" not in text, picture.name
        assert not re.search(r"pytest-\d", text), picture.name
