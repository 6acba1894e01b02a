"""Draws the screens of the app as SVG into docs/screens from made-up sample data: `python -m docs.screens`.

The same text, figures and times give the same pictures, so a picture changes only when the app does. What is sampled is
written by the helpers of the tests.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Input, Log, Static, TextArea

from assistant import paths, sessions
from assistant.conversations import Conversation
from tests.tui import models_here
from tests.tui.eval_reports import BASE, TUNED, gated, humaneval, keep, whole
from tests.tui.fake_client import Script, loaded_client, services
from tests.tui.fake_ghost import FakeGhost
from tests.tui.test_jobs_screen import LOG, pipeline, steps, write
from tui.app import HoneApp
from tui.chat.screen import ChatScreen
from tui.chat.status import StatusLine
from tui.code.screen import CodeScreen
from tui.code.tree import FileTree
from tui.keybar import KeyBar
from tui.models.shown import ModelTree
from tui.places import PLACES
from tui.review.listing import FindingList
from tuning.jobs.record import Record

FOLDER = Path(__file__).parent / "screens"
SIZE = (120, 36)
_SECONDS = 60.0
_QUESTION = "How do I sum a CSV column?"
_ANSWER = """Use the `csv` module; it knows about **quotes**:

```python
import csv
from pathlib import Path


def total(path: Path, column: str) -> float:
    \"\"\"The sum of a column; the first line names the columns.\"\"\"
    with path.open(newline="", encoding="utf-8") as file:
        return sum(float(row[column]) for row in csv.DictReader(file))
```

1. `newline=""` leaves line ends to the module.
2. A value that is no number raises `ValueError`.
"""
_CART = '''"""A cart and what is in it."""

from dataclasses import dataclass, field


@dataclass
class Cart:
    """Prices in cents."""

    items: dict[str, int] = field(default_factory=dict)

    def total(self) -> int:
        # free of charge above a hundred
        return sum(self.items.values()) if len(self.items) < 100 else 0


def main(name: str = "tea") -> None:
    cart =
    print(f"{name}: {cart.total() / 100:.2f}")
'''
_GHOST = ' Cart(\n        items={"tea": 250, "cake": 420},\n    )'
_BILL = "def total(items):\n    return sum(items)\n\n\ndef kind(name):\n    return 1\n"
_CHANGED = _BILL.replace("sum(items)", "sum(itens)").replace(
    "    return 1", '    if name is "tea":\n        return 2\n    return 1'
)
Shown = Callable[[Pilot[None]], Awaitable[None]]


def fill(shop: Path) -> None:
    """A repository with changes, jobs, models with their history, and reports."""
    files = {"shop/cart.py": _CART, "shop/price.ts": "export const vat = 0.19;\n", "README.md": "# Shop\n"}
    for name, text in {**files, "shop/bill.py": _BILL}.items():
        (shop / name).parent.mkdir(parents=True, exist_ok=True)
        (shop / name).write_text(text)
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "first")):
        subprocess.run(["git", *who, *command], cwd=shop, check=True, capture_output=True)
    (shop / "shop/new.py").write_text("x = 1\n")
    (shop / "shop/bill.py").write_text(_CHANGED)

    base = models_here.base()
    first = models_here.version("shop", 1, base, after=0.561, day=2)
    second = models_here.version("shop", 2, base, after=0.547, day=3)
    models_here.version("billing", 3, base, before=0.7, after=0.66, day=4)
    models_here.event("promoted", first, "champion", day=3)
    models_here.event("promoted", second, "champion", first.id, day=4, data={"report": {"outcome": "pass"}})
    both = (base.name, first.base_digest), (second.id, second.digest)
    run = models_here.measured("1qgt0001", *both, name="eval humaneval")
    models_here.decided(run, second.id, base.name)

    reports = paths.home() / "evals" / "reports"
    keep(gated(humaneval(), day=8), reports / "gate" / "gate", "gate", TUNED, "--against", BASE)
    keep(whole(humaneval(), day=7), reports / "two", "eval", "humaneval", "--model", BASE, "--model", TUNED)

    at = "2026-01-02T04:04:05+00:00"
    write("1qgt0002", pipeline("parser"), Record("done", "all steps ended well", "", at, "gate", 0, None))
    why = "gate ended with exit code 1: worse by 3.1 points on repo (p = 0.002)"
    advice = "see `hone jobs logs 1qgt0003`; `hone jobs resume 1qgt0003` does the step again"
    write("1qgt0003", pipeline("billing"), Record("failed", why, advice, at, "gate", 1))
    steps(write("1qgt0004", pipeline("shop"), log=LOG), 125, 400)
    for record in (paths.home() / "jobs").glob("*/exit.json"):
        os.utime(record, (0, 0))  # an end that is news would be announced


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    end = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("a screen never came to show its sample")
        await pilot.pause(0.05)


async def chat(pilot: Pilot[None]) -> None:
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    line = screen.query_one(StatusLine)
    await until(pilot, lambda: line.status.state == "ready")
    screen.query_one(TextArea).insert(_QUESTION)
    await pilot.press("enter")
    await until(pilot, lambda: len(screen._session.conversation.messages) == 2 and line.status.state == "ready")


async def code(pilot: Pilot[None]) -> None:
    screen = pilot.app.screen
    assert isinstance(screen, CodeScreen)
    await until(pilot, lambda: screen.files.paths and screen._ghost_now())
    await screen.visit("shop/cart.py:18")
    await pilot.press("end", "ctrl+@")
    await until(pilot, lambda: (pane := screen._file_tabs.pane) and pane.editor.ghost)
    # The tree may have been listed again meanwhile.
    tree = screen.query_one(FileTree)
    tree.reveal("shop/cart.py")
    await until(pilot, lambda: tree.cursor_node is not None and tree.cursor_node.data == "shop/cart.py")


async def review(pilot: Pilot[None]) -> None:
    await pilot.press("enter")
    await until(pilot, lambda: pilot.app.screen.query_one(FindingList).option_count > 2)
    await pilot.press("n")


async def jobs(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: pilot.app.screen.query_one(Log).line_count > 5)


async def models(pilot: Pilot[None]) -> None:
    screen = pilot.app.screen
    await until(pilot, lambda: screen.query_one(ModelTree).option_count > 3)
    await until(pilot, lambda: str(screen.query_one("#model-facts", Static).content) not in ("", "reading …"))


async def evals(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: "Machine" in str(pilot.app.screen.query_one("#report-text", Static).content))


STEPS: dict[str, Shown] = {
    "chat": chat,
    "code": code,
    "review": review,
    "jobs": jobs,
    "models": models,
    "evals": evals,
}


async def draw(app: HoneApp) -> dict[str, str]:
    """Each screen as SVG, by its name."""
    drawn = {}
    async with app.run_test(size=SIZE) as pilot:
        app.animation_level = "none"
        for place in PLACES:
            await app.switch_mode(place.name)
            await pilot.pause()
            await STEPS[place.name](pilot)
            await until(pilot, lambda: len(app.screen.query_one(KeyBar).children) > len(PLACES))
            for field in app.screen.query(Input).results():
                field.cursor_blink = False
            for area in app.screen.query(TextArea).results():
                area.cursor_blink = False
            app.clear_notifications()
            await pilot.pause(1.0)
            drawn[place.name] = named(app.export_screenshot(title="Hone", simplify=True), place.name)
    return drawn


def named(svg: str, name: str) -> str:
    """With names of its own: several pictures may stand in one page."""
    (found,) = set(re.findall(r"terminal-\d+(?=-)", svg))
    return svg.replace(found, f"hone-{name}")


def main() -> None:
    for name in ("NO_COLOR", "TEXTUAL_THEME"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as temporary:
        # A folder of the same name each time: it is shown.
        user = Path(temporary) / "ada"
        shop = user / "shop"
        os.environ |= {"HOME": str(user), "HONE_HOME": str(user / "hone")}
        for folder in (shop, user / "hone" / "models"):
            folder.mkdir(parents=True)
        os.chdir(shop)
        fill(shop)
        session = sessions.Session(
            Conversation("1qgt0000", folder="shop", created="2026-01-02T03:04:05+00:00"),
            paths.sessions_dir() / "1qgt0000.jsonl",
        )
        ghost = FakeGhost([_GHOST])
        made = replace(
            services(loaded_client(Script([_ANSWER]))),
            ghost=lambda client, model, root: ghost,  # type: ignore[arg-type,return-value]
        )
        app = HoneApp(session, "smollm2-135m", made)
        try:
            drawn = asyncio.run(draw(app))
        finally:
            app.close()
            os.chdir(FOLDER.parent)
    FOLDER.mkdir(exist_ok=True)
    for name, svg in drawn.items():
        (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}.svg  {len(svg) / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
