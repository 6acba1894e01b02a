"""What the Code and Review screens look like. Look at a changed picture before you take it with --snapshot-update."""

import subprocess
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from assistant.skills.review import run
from assistant.skills.review.findings import Review
from assistant.skills.review.request import Progress, Request
from tests.tui.conftest import MakeApp
from tests.tui.fake_client import loaded_client
from tests.tui.fake_ghost import FakeGhost
from tests.tui.looks import looks
from tests.tui.test_code_screen import editor, screen, until
from tests.tui.test_review_screen import AFTER, BEFORE, done
from tests.tui.test_snapshots import Snap, size_name
from tui.app import HoneApp
from tui.ask import Question
from tui.keybar import KeyBar

SIZES = [(80, 24), (160, 48)]
CART = '''"""A cart and what is in it."""

from dataclasses import dataclass, field


@dataclass
class Cart:
    """Prices in cents."""

    items: dict[str, int] = field(default_factory=dict)

    def total(self) -> int:
        # free of charge above a hundred
        return sum(self.items.values()) if len(self.items) < 100 else 0


def main(name: str = "café ☕") -> None:
    cart =
    print(f"{name}: {cart.total() / 100:.2f}", None)
'''
GHOST = ' Cart(\n        items={"tea": 250},\n    )'
Step = Callable[[Pilot[None]], Awaitable[None]]


@pytest.fixture
def app(make_app: MakeApp) -> HoneApp:
    """In a repository with changed, new and unchanged files."""
    folder = Path.cwd()
    files = {
        "shop/cart.py": CART,
        "shop/price.ts": "export const vat = 0.19;\n",
        "README.md": "# Shop\n",
        "bill.py": BEFORE,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "first")):
        subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True)
    (folder / "README.md").write_text("# Shop\n\nmore\n")
    (folder / "shop/new.py").write_text("x = 1\n")
    (folder / "bill.py").write_text(AFTER)
    made = make_app(loaded_client())
    # What is told goes by itself, on a busy machine before the picture is taken.
    made.NOTIFICATION_TIMEOUT = 600
    ghost = FakeGhost([GHOST])
    made.services = replace(
        made.services,
        ghost=lambda client, model, root: ghost,  # type: ignore[arg-type,return-value]
        review=lambda request, progress, cancelled: run.review(request, None, progress, cancelled),
    )
    return made


def before(*steps: Step) -> Step:
    async def play(pilot: Pilot[None]) -> None:
        pilot.app.animation_level = "none"
        await until(pilot, lambda: pilot.app.chat.serving)  # type: ignore[attr-defined]
        for step in steps:
            await step(pilot)
        await until(pilot, lambda: len(pilot.app.screen.query_one(KeyBar).children) >= 4)
        await pilot.pause(0.2)

    return play


async def go_to_code(pilot: Pilot[None]) -> None:
    await pilot.press("f3")
    await until(pilot, lambda: screen(pilot).files.paths and screen(pilot)._ghost_now())


async def open_cart(pilot: Pilot[None]) -> None:
    await screen(pilot).visit("shop/cart.py:18")
    await pilot.press("end")


async def suggest(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+@")
    await until(pilot, lambda: editor(pilot).ghost)


async def change_twice(pilot: Pilot[None]) -> None:
    await screen(pilot).visit("README.md")
    await pilot.press("x")
    Path("README.md").write_text("# Other\n")
    screen(pilot)._file_tabs.look()


async def search(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+r", *"items")
    for field in pilot.app.screen.query(Input):
        field.cursor_blink = False
    await until(pilot, lambda: editor(pilot).selected_text == "items")


async def go_to_review(pilot: Pilot[None]) -> None:
    await pilot.press("f4")
    await pilot.pause()


async def review(pilot: Pilot[None]) -> None:
    await pilot.press("enter")
    await done(pilot)
    await pilot.press("n")


@looks()
def test_code_empty(app: HoneApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    app.theme = theme
    assert snap_compare(app, terminal_size=size, run_before=before(go_to_code))


@looks()
def test_code_with_ghost_text(app: HoneApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    app.theme = theme
    assert snap_compare(app, terminal_size=size, run_before=before(go_to_code, open_cart, suggest))


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_code_search_and_a_change_on_disk(app: HoneApp, snap_compare: Snap, size: tuple[int, int]):
    assert snap_compare(app, terminal_size=size, run_before=before(go_to_code, change_twice, open_cart, search))


def test_code_conflict_and_question(app: HoneApp, snap_compare: Snap):
    async def play(pilot: Pilot[None]) -> None:
        pilot.app.animation_level = "none"
        await until(pilot, lambda: pilot.app.chat.serving)  # type: ignore[attr-defined]
        await go_to_code(pilot)
        await change_twice(pilot)
        await pilot.press("ctrl+w")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.pause(0.2)

    assert snap_compare(app, terminal_size=(100, 24), run_before=play)


@looks()
def test_review_empty(app: HoneApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    app.theme = theme
    assert snap_compare(app, terminal_size=size, run_before=before(go_to_review))


@looks()
def test_review_findings(app: HoneApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    app.theme = theme
    assert snap_compare(app, terminal_size=size, run_before=before(go_to_review, review))


async def test_review_refused(app: HoneApp):
    # No picture: the line names the folder, which is another one in every run.
    async with app.run_test(size=(120, 24)) as pilot:
        await go_to_review(pilot)
        pilot.app.screen.action_run("base", "no-such-branch")  # type: ignore[attr-defined]
        await done(pilot)
        assert "no-such-branch" in app.export_screenshot(simplify=True)


@looks()
def test_review_under_way(app: HoneApp, snap_compare: Snap, size: tuple[int, int], theme: str):
    app.theme = theme
    gate = threading.Event()

    def slow(request: Request, progress: Progress, cancelled: Callable[[], bool]) -> Review:
        progress("asking the model", 3, 7)
        while not gate.wait(0.05) and app.is_running:
            pass
        return run.review(request, None, progress, cancelled)

    async def begin(pilot: Pilot[None]) -> None:
        await pilot.press("enter")
        await pilot.pause(0.5)

    app.services = replace(app.services, review=slow)
    try:
        assert snap_compare(app, terminal_size=size, run_before=before(go_to_review, begin))
    finally:
        gate.set()
