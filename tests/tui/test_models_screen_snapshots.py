"""The Models screen as it looks, narrow and wide: full, empty, the card, the history, a download, two compared."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Footer, Input, Markdown, Static

import tui
from assistant.models.registry import AdapterVersion
from tests.tui import models_here
from tests.tui.fake_client import FakeClient, Script, loaded_client
from tests.tui.looks import looks
from tui.app import THEME
from tui.chat.models import ModelTarget
from tui.models import rows
from tui.models.compare import CompareScreen, Pair
from tui.models.described import Base
from tui.models.gathered import Gathered, Version
from tui.models.pull import Progress, Pull
from tui.models.screen import ModelsScreen
from tui.models.shown import ModelTree

SIZES = [(80, 24), (160, 48)]
Snap = Callable[..., bool]
Action = Callable[[Pilot[None]], Awaitable[None]]


class Shown(App[None]):
    """Nothing but the screen."""

    CSS_PATH: ClassVar = [Path(tui.__file__).parent / "app.tcss", Path(tui.__file__).parent / "chat" / "chat.tcss"]

    def __init__(self, theme: str = THEME.name) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = theme

    def on_mount(self) -> None:
        self.push_screen(ModelsScreen())


@pytest.fixture(autouse=True)
def home(hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Paths are shown from the user's folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return hone_home


@pytest.fixture
def versions() -> list[AdapterVersion]:
    base = models_here.base()
    on = base.name
    other = models_here.version("billing", 3, base, before=0.7, after=0.71, day=1)
    made = [
        models_here.version("shop", 1, base, after=0.561, day=2),
        models_here.version("shop", 2, base, after=0.547, day=3),
        models_here.version("shop", 4, base, after=0.512, day=9),
    ]
    models_here.event("promoted", made[0], "champion", day=3)
    models_here.event("promoted", made[1], "champion", made[0].id, day=4, data={"report": {"outcome": "pass"}})
    models_here.event("promoted", made[2], "champion", made[1].id, day=10, data={"report": {"outcome": "pass"}})
    models_here.event("rolled back", made[1], "champion", made[2].id, day=11)
    models_here.event("promoted", other, "[next]", day=12)
    run = models_here.measured("1qgt0001", (on, made[0].base_digest), (made[1].id, made[1].digest))
    models_here.decided(run, made[1].id, on)
    return made


async def settled(pilot: Pilot[None], condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "this never happened"
        await pilot.pause(0.02)


def before(*actions: Action) -> Action:
    async def run(pilot: Pilot[None]) -> None:
        pilot.app.animation_level = "none"
        await settled(pilot, lambda: pilot.app.screen.query_one(ModelTree).option_count > 3)
        await read(pilot)
        for action in actions:
            await action(pilot)
        await settled(pilot, lambda: not pilot.app.screen.query(Footer) or len(pilot.app.screen.query("FooterKey")) > 5)
        await pilot.pause(0.3)

    return run


async def read(pilot: Pilot[None]) -> None:
    facts = pilot.app.screen.query_one("#model-facts", Static)
    await settled(pilot, lambda: str(facts.content) not in ("", "reading …"))


def pressed(*keys: str) -> Action:
    async def press(pilot: Pilot[None]) -> None:
        await pilot.press(*keys)
        await read(pilot)

    return press


def size_name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@looks((60, 20))
def test_full(snap_compare: Snap, versions: list[AdapterVersion], size: tuple[int, int], theme: str):
    assert snap_compare(Shown(theme), terminal_size=size, run_before=before(pressed("up", "space", "down")))


@looks()
def test_nothing_fetched_or_tuned_yet(snap_compare: Snap, size: tuple[int, int], theme: str):
    assert snap_compare(Shown(theme), terminal_size=size, run_before=before())


def test_history(snap_compare: Snap, versions: list[AdapterVersion]):
    assert snap_compare(Shown(), terminal_size=(160, 48), run_before=before(pressed("home", "h")))


def test_card(snap_compare: Snap, versions: list[AdapterVersion]):
    async def card(pilot: Pilot[None]) -> None:
        await pilot.press("v")
        await settled(pilot, lambda: "A LoRA." in pilot.app.screen.query_one(Markdown).source)

    assert snap_compare(Shown(), terminal_size=(160, 48), run_before=before(card))


def test_a_download_and_a_promotion_asked_for(snap_compare: Snap, versions: list[AdapterVersion]):
    async def downloading(pilot: Pilot[None]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, ModelsScreen)
        screen._pull = Pull("qwen2.5-coder-0.5b", screen.post_message)
        told = "downloading qwen2.5-coder-0.5b-instruct-q8_0.gguf"
        screen.post_message(Progress("qwen2.5-coder-0.5b", told, 212_000_000, 531_000_000, 4.1e6))
        await settled(pilot, lambda: screen.query_one("#models-line").display)
        await pilot.press("p")
        await settled(pilot, lambda: pilot.app.screen.query(Input))
        pilot.app.screen.query_one(Input).cursor_blink = False

    assert snap_compare(Shown(), terminal_size=(100, 30), run_before=before(downloading))


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_two_compared(snap_compare: Snap, versions: list[AdapterVersion], size: tuple[int, int]):
    client = loaded_client(
        Script(["Use `sum`:\n\n```python\ntotal = sum(prices)\n```\n"]),
        Script(["Prices are `Money`, so:\n\n```python\ntotal = sum(prices, Money.zero())\n```\n"]),
    )

    async def compared(pilot: Pilot[None]) -> None:
        pair = Pair(models_here.BASE, versions[1].id, ".")
        pilot.app.push_screen(CompareScreen(pair, *services(client)))
        await settled(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
        screen = pilot.app.screen
        assert isinstance(screen, CompareScreen)
        await settled(pilot, lambda: screen.query("#compare-measured"))
        await settled(pilot, lambda: "humaneval" in str(screen.query_one("#compare-measured", Static).content))
        prompt = screen.query_one(Input)
        prompt.cursor_blink = False
        prompt.value = "How do I add up prices?"
        await pilot.press("enter")
        await settled(pilot, lambda: len(client.models_asked) == 2 and screen._last is None)

    assert snap_compare(Shown(), terminal_size=size, run_before=before(compared))


def services(client: FakeClient) -> tuple[Any, Any]:
    @contextmanager
    def connect(model: str | None) -> Iterator[FakeClient]:
        yield client

    def check(name: str, may_fetch: bool) -> ModelTarget:
        return ModelTarget(name, models_here.BASE, name)

    return connect, check


names = st.text(max_size=70)
figures = st.none() | st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e4)


@given(names, names, names, figures, figures, st.integers(0, 10**13), st.integers(1, 260))
def test_a_line_fits_whatever_is_in_it(
    base: str, name: str, corpus: str, before: float | None, after: float | None, count: int, width: int
):
    known = Base(base, corpus, name, bool(count % 2), count, count, None, None, None)
    adapter = AdapterVersion(name, "a" * 64, base, "b" * 64, Path("x"), "2026", {"validation_after": after})
    adapter.figures["validation_before"] = before
    version = Version(adapter, (name,) * (count % 3), count, corpus)
    nodes = rows.tree(Gathered((known,), (version,), (), {}), ())
    assert [node.kind for node in nodes] == ["base", "adapter", "version"]
    for node in nodes:
        drawn = rows.line(node, width, marked=count % 2 == 0, pulled=0.5 if count % 5 == 0 else None)
        assert drawn.cell_length <= width
        assert "\n" not in drawn.plain
    assert rows.header(width).cell_length <= width
