"""What confirming, a job under way and its result look like in the chat."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from tests.tui.conftest import MakeApp
from tests.tui.fake_client import loaded_client
from tests.tui.test_jobs_screen import LOG, pipeline, steps, write
from tests.tui.test_snapshots import SIZES, Snap, ready, size_name, until
from tests.tuning.jobs_here import end_all
from tui.app import HoneApp
from tui.chat.conversation import Notice
from tui.chat.ops.card import JobCard, ResultCard, told
from tui.chat.ops.confirming import CommandInput, ConfirmScreen
from tui.chat.ops.outcome import Next, Outcome
from tui.chat.prompt import PromptInput

SHOP = "shop@0123456789ab"
OUTCOME = Outcome(
    job="1qgt0004",
    name="shop",
    state="done",
    why="",
    fields=(("adapter", SHOP), ("trained", "227 steps, 230,762 tokens in 10.0 min, 385 tok/s")),
    tables=(
        (
            ("repo@3", "smollm2-135m", SHOP, "change"),
            (
                "bits per byte, held-out files",
                "0.685 [0.650, 0.714]",
                "0.516 [0.477, 0.542]",
                "-24.7% [-29.1%, -21.9%]",
            ),
            ("exact match", "8.5% [5.4%, 13.2%]", "12.5% [8.6%, 17.8%]", "+4.0 [+0.5, +8.0] points, p = 0.077"),
        ),
    ),
    verdict="shop may replace smollm2-135m: bits per byte on repo is better by 24.7 %, within every budget.",
    passed=True,
    next=(Next(f"/promote {SHOP}", "puts it to use"), Next(f"/compare smollm2-135m {SHOP} ", "asks both the same")),
)
Step = Callable[[Pilot[None]], Awaitable[None]]


@pytest.fixture(autouse=True)
def home(hone_home: Path) -> Iterator[Path]:
    yield hone_home
    end_all(hone_home)


def before(step: Step) -> Step:
    async def run(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, HoneApp)
        pilot.app.animation_level = "none"
        pilot.app.screen.query_one(PromptInput).cursor_blink = False
        await ready(pilot)
        await step(pilot)
        await pilot.pause(0.3)

    return run


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_a_command_to_confirm(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    (Path.cwd() / "src").mkdir()

    async def asked(pilot: Pilot[None]) -> None:
        line = "train on ./src for ten minutes and tell me if it is better"
        pilot.app.screen.query_one(PromptInput).insert(line)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen) and pilot.app.screen.focused)
        pilot.app.screen.query_one(CommandInput).cursor_blink = False

    assert snap_compare(make_app(loaded_client()), terminal_size=size, run_before=before(asked))


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_a_job_and_its_result(make_app: MakeApp, snap_compare: Snap, size: tuple[int, int]):
    steps(write("1qgt0004", pipeline("shop"), log=LOG), 125, 400)

    async def shown(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, HoneApp)
        view = pilot.app.chat._conversation
        card = JobCard("1qgt0004")
        await view.add(card)
        await until(pilot, lambda: any("31%" in str(static.content) for static in card.query(Static)))
        await view.add(ResultCard(OUTCOME))
        await view.add(Notice(told(OUTCOME)))

    assert snap_compare(make_app(loaded_client()), terminal_size=size, run_before=before(shown))
