"""The Review screen, driven by keys, on real changes with the analyzer that is built in."""

import json
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import Input, Static

from assistant import feedback_consent
from assistant.feedback import Feedback
from assistant.feedback_consent import Consent
from assistant.skills.review import run
from assistant.skills.review.findings import MODEL, MODEL_RULE, Edit, Evidence, Finding, Fix, Review
from assistant.skills.review.request import CancelledError, Progress, Request
from tests.tui.conftest import MakeApp
from tests.tui.fake_client import loaded_client
from tui.app import HoneApp
from tui.ask import Prompt, Question
from tui.review.choose import Hunks
from tui.review.diff import DiffView
from tui.review.listing import FindingList
from tui.review.screen import BASELINE, ReviewScreen

BEFORE = "def total(items):\n    return sum(items)\n\n\ndef kind(name):\n    return 1\n"
AFTER = BEFORE.replace("sum(items)", "sum(itens)").replace(
    "    return 1", '    if name is "x":\n        return 2\n    return 1'
)
FIXED = AFTER.replace('name is "x"', 'name == "x"')
Reviewer = Callable[[Request, Progress, Callable[[], bool]], Review]


@pytest.fixture
def shop(make_app: MakeApp) -> Path:
    """A repository in the current folder with one commit and an uncommitted change with two errors."""
    folder = Path.cwd()
    (folder / "cart.py").write_text(BEFORE)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    (folder / "cart.py").write_text(AFTER)
    return folder


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def analyzers(request: Request, progress: Progress, cancelled: Callable[[], bool]) -> Review:
    return run.review(request, None, progress, cancelled)


@asynccontextmanager
async def review(
    make_app: MakeApp, reviewer: Reviewer = analyzers, size: tuple[int, int] = (130, 40), start: bool = True
) -> AsyncIterator[Pilot[None]]:
    app = make_app(loaded_client())
    app.services = replace(app.services, review=reviewer)
    async with app.run_test(size=size) as pilot:
        await pilot.press("f4")
        await pilot.pause()
        if start:
            await pilot.press("enter")
            await done(pilot)
        yield pilot


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "this never happened"
        await pilot.pause(0.02)
    await pilot.pause()


async def done(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: screen(pilot)._stop is None and (screen(pilot)._review or screen(pilot)._line))


def screen(pilot: Pilot[None]) -> ReviewScreen:
    app = pilot.app
    assert isinstance(app, HoneApp)
    found = app._made["review"]
    assert isinstance(found, ReviewScreen)
    return found


def listed(pilot: Pilot[None]) -> list[str]:
    return [str(option.prompt) for option in screen(pilot).query_one(FindingList).options]


def text(pilot: Pilot[None], selector: str) -> str:
    return str(screen(pilot).query_one(selector, Static).content)


def diff(pilot: Pilot[None]) -> str:
    view = screen(pilot).query_one(DiffView)
    return "\n".join(strip.text.rstrip() for strip in view.render_lines(view.size.region))


def told(pilot: Pilot[None]) -> list[str]:
    return [notification.message for notification in pilot.app._notifications]


async def typed(pilot: Pilot[None], value: str) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, Prompt))
    pilot.app.screen.query_one(Input).value = value
    await pilot.press("enter")
    await until(pilot, lambda: not isinstance(pilot.app.screen, Prompt))


async def test_findings_stand_beside_the_diff_with_their_evidence(make_app: MakeApp, shop: Path):
    async with review(make_app) as pilot:
        assert listed(pilot) == ["cart.py  +3 −1", "  ✕ 2  Undefined name `itens`", listed(pilot)[2]]
        assert "2 errors" in text(pilot, "#status")
        assert "ruff/F821" in text(pilot, "#said")
        assert "95%" in text(pilot, "#said")
        shown = diff(pilot)
        assert "−     return sum(items)" in shown.splitlines()[1]
        assert "+     return sum(itens)" in shown.splitlines()[1], "old and new are side by side"
        await pilot.press("n")
        assert "F632" in text(pilot, "#said")
        await pilot.press("n")
        assert "F821" in text(pilot, "#said")
        await pilot.press("p")
        assert "F632" in text(pilot, "#said")
        await pilot.press("o")
        await until(pilot, lambda: pilot.app.current_mode == "code")


async def test_a_narrow_terminal_shows_the_diff_unified(make_app: MakeApp, shop: Path):
    async with review(make_app, size=(80, 30)) as pilot:
        lines = diff(pilot).splitlines()
        assert [line[:4].split() for line in lines[1:3]] == [["2", "−"], ["2", "+"]]


async def test_a_fix_is_applied_and_taken_back(make_app: MakeApp, shop: Path):
    async with review(make_app) as pilot:
        await pilot.press("a")
        await until(pilot, lambda: any("There is no fix" in line for line in told(pilot)))
        await pilot.press("n", "a")
        await until(pilot, lambda: (shop / "cart.py").read_text() == FIXED)
        assert listed(pilot)[2].startswith("  ✓ 6")
        assert "1 error" in text(pilot, "#status")
        assert 'name == "x"' in diff(pilot)
        await pilot.press("u")
        await until(pilot, lambda: (shop / "cart.py").read_text() == AFTER)
        (shop / "cart.py").write_text(AFTER + "# more\n")
        await pilot.press("a")
        await until(pilot, lambda: any("not as it was reviewed" in line for line in told(pilot)))
        assert (shop / "cart.py").read_text() == AFTER + "# more\n"


TWICE = 'a = 1\nif a is "x":\n    a = 2\nif a is "y":\n    a = 3\n'


@pytest.mark.parametrize("of", ["staged", "commit HEAD", "since HEAD"])
async def test_two_fixes_in_one_file_of_any_source(make_app: MakeApp, shop: Path, of: str):
    (shop / "cart.py").write_text(TWICE)
    git(shop, "add", "-A")
    if of == "commit HEAD":
        git(shop, "commit", "-qm", "second")
    async with review(make_app, start=False) as pilot:
        await screen(pilot).visit(of)
        await done(pilot)
        await pilot.press("a")
        await until(pilot, lambda: 'a == "x"' in (shop / "cart.py").read_text())
        assert 'a == "x"' in diff(pilot)
        await pilot.press("n", "a")
        await until(pilot, lambda: (shop / "cart.py").read_text() == TWICE.replace(" is ", " == "))
        await pilot.press("u", "u")
        await until(pilot, lambda: (shop / "cart.py").read_text() == TWICE)
        assert 'a is "x"' in diff(pilot)


async def test_a_fix_that_cannot_be_taken_back_does_not_keep_the_one_before(make_app: MakeApp, shop: Path):
    (shop / "cart.py").write_text(TWICE)
    (shop / "more.py").write_text(TWICE)
    git(shop, "add", "-A")
    async with review(make_app) as pilot:
        await pilot.press("a")
        await until(pilot, lambda: '== "x"' in (shop / "cart.py").read_text())
        await pilot.press("n", "n", "a")
        await until(pilot, lambda: '== "x"' in (shop / "more.py").read_text())
        (shop / "more.py").write_text("a = 1\n")
        await pilot.press("u")
        await until(pilot, lambda: any("was changed since the fix" in line for line in told(pilot)))
        await pilot.press("u")
        await until(pilot, lambda: (shop / "cart.py").read_text() == TWICE)
        assert (shop / "more.py").read_text() == "a = 1\n"
        assert [line[:5] for line in listed(pilot)] == ["cart.", "  ✕ 2", "  ✕ 4", "more.", "  ✓ 2", "  ✕ 4"]


async def test_hunks_of_a_fix_are_chosen_one_by_one(make_app: MakeApp, shop: Path):
    edits = (Edit(1, 1, ("def total(itens):",)), Edit(6, 6, ('    if name == "x":',)))

    def two_hunks(request: Request, progress: Progress, cancelled: Callable[[], bool]) -> Review:
        found = analyzers(request, progress, cancelled)
        one: Finding = replace(found.findings[0], fix=Fix("model", "Rename", "", edits))
        return replace(found, findings=(one,))

    async with review(make_app, two_hunks) as pilot:
        await pilot.press("a")
        await until(pilot, lambda: isinstance(pilot.app.screen, Hunks))
        await pilot.press("down", "space", "enter")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Hunks))
        assert (shop / "cart.py").read_text() == AFTER.replace("total(items)", "total(itens)")


async def test_a_dismissed_finding_is_in_the_baseline_with_its_reason(make_app: MakeApp, shop: Path):
    async with review(make_app) as pilot:
        await pilot.press("d")
        await typed(pilot, "defined by the plugin")
        await until(pilot, (shop / BASELINE).exists)
        (entry,) = json.loads((shop / BASELINE).read_text())["accepted"]
        assert (entry["reason"], entry["rule"]) == ("defined by the plugin", "ruff/F821")
        await pilot.press("r")
        await done(pilot)
        assert len(listed(pilot)) == 2
        assert "1 in the baseline" in text(pilot, "#status")


async def test_a_dismissed_finding_of_the_model_is_kept_as_feedback(make_app: MakeApp, shop: Path):
    def reviewer(request: Request, progress: Progress, cancelled: Callable[[], bool]) -> Review:
        made = analyzers(request, progress, cancelled)
        said = Evidence(MODEL, MODEL_RULE, "this line is probably wrong", 0.8, None, {"model": "rev@1a2b3c4d5e6f"})
        return replace(made, findings=(replace(made.findings[0], evidence=(said,)), *made.findings[1:]))

    feedback_consent.write(Consent().with_repository(shop))
    async with review(make_app, reviewer) as pilot:
        await pilot.press("d")
        await typed(pilot, "defined by the plugin")
        await until(pilot, lambda: Feedback().read().events)
        await pilot.press("n", "d")
        await typed(pilot, "that is ruff's")
        await until(pilot, lambda: "dismissed" in text(pilot, "#said"))
    (event,) = Feedback().read().events
    assert (event.kind, event.source, event.model, event.path) == ("rejected", "review", "rev@1a2b3c4d5e6f", "cart.py")
    assert (event.prompt or "").endswith("as it should be.\n2")
    assert event.completion == "     return sum(itens)\n"


async def test_what_was_left_out_is_told_where_there_is_nothing_else(make_app: MakeApp, shop: Path):
    (shop / "README.md").write_text("# Shop\n")
    git(shop, "add", "-A")
    git(shop, "commit", "-qm", "second")
    (shop / "README.md").write_text("# The shop\n")
    async with review(make_app) as pilot:
        assert "README.md is left out: not source code" in text(pilot, "#nothing")


async def test_the_confidence_of_the_configuration_holds_here_too(make_app: MakeApp, shop: Path):
    (shop / "hone.toml").write_text("[review]\nmin_confidence = 1.0\n")
    async with review(make_app) as pilot:
        await until(pilot, lambda: "below the minimum confidence" in text(pilot, "#status"))
        assert "nothing found" in text(pilot, "#status")


async def test_what_is_staged_a_branch_and_a_commit_are_reviewed(make_app: MakeApp, shop: Path):
    async with review(make_app, start=False) as pilot:
        await pilot.press("s")
        await done(pilot)
        assert "Nothing to review in staged" in text(pilot, "#nothing")
        git(shop, "commit", "-qam", "second")
        await pilot.press("c")
        await typed(pilot, "HEAD")
        await done(pilot)
        await until(pilot, lambda: len(listed(pilot)) == 3)
        await pilot.press("b")
        await typed(pilot, "HEAD~1")
        await until(pilot, lambda: "since HEAD~1" in text(pilot, "#where"))
        await done(pilot)
        await pilot.press("b")
        await typed(pilot, "nowhere")
        await until(pilot, lambda: "nowhere" in text(pilot, "#status"))


async def test_a_review_shows_how_far_it_is_and_can_be_cancelled(make_app: MakeApp, shop: Path):
    going = threading.Event()

    def slow(request: Request, progress: Progress, cancelled: Callable[[], bool]) -> Review:
        progress("asking the model", 3, 7)
        going.set()
        while not cancelled():
            time.sleep(0.01)
        raise CancelledError("the review was cancelled")

    async with review(make_app, slow, start=False) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: "asking the model 3/7" in text(pilot, "#status"))
        await pilot.press("r", "s")
        await until(pilot, lambda: any("under way" in line for line in told(pilot)))
        await pilot.press("escape")
        await done(pilot)
        assert "cancelled" in text(pilot, "#status")


async def test_findings_are_written_as_sarif(make_app: MakeApp, shop: Path):
    async with review(make_app) as pilot:
        await pilot.press("x")
        await typed(pilot, "out/review.sarif")
        await until(pilot, (shop / "out/review.sarif").exists)
        log = json.loads((shop / "out/review.sarif").read_text())
        assert [one["ruleId"] for one in log["runs"][0]["results"]] == ["ruff/F821", "ruff/F632"]


async def test_sarif_goes_to_the_home_folder_and_over_a_file_only_when_told_to(make_app: MakeApp, shop: Path):
    at_home = Path.home() / "x.sarif"
    at_home.write_text("kept")
    async with review(make_app) as pilot:
        for answer in ("escape", "o"):
            await pilot.press("x")
            await typed(pilot, "~/x.sarif")
            await until(pilot, lambda: isinstance(pilot.app.screen, Question))
            assert at_home.read_text() == "kept"
            await pilot.press(answer)
            await until(pilot, lambda: pilot.app.screen is screen(pilot))
        await until(pilot, lambda: at_home.read_text().startswith("{"))
        assert not (shop / "~").exists()


async def test_outside_of_a_repository_it_says_so(make_app: MakeApp):
    async with review(make_app) as pilot:
        assert "no git repository" in text(pilot, "#nothing")
        assert "Enter reviews" in text(pilot, "#nothing")


async def test_the_slash_command_reviews(make_app: MakeApp, shop: Path):
    async with review(make_app, start=False) as pilot:
        git(shop, "add", "-A")
        await pilot.press("f2", *"/review staged", "enter")
        await until(pilot, lambda: pilot.app.current_mode == "review")
        await done(pilot)
        assert len(listed(pilot)) == 3


@pytest.mark.parametrize("size", [(160, 40), (80, 24)])
async def test_wide_lines_and_control_characters_are_shown_inert(make_app: MakeApp, shop: Path, size: tuple[int, int]):
    wide = "".join(f"{name} = '{text}'\n" for name, text in (("x", "y" * 1_900), ("z", "漢" * 1_900)))
    wide += "".join(f"v{number} = {number}\n" for number in range(40))
    odd = "a = '\x1b[31mred\x1b]0;title\x07 \u202egnp.exe [bold]b[/bold]'\n"
    (shop / "cart.py").write_text(AFTER.replace("def kind", odd + wide + "\n\ndef kind"), encoding="utf-8")
    async with review(make_app, size=size) as pilot:
        shown = diff(pilot)
        assert "x = 'yyy" in shown
        assert "[bold]b[/bold]" in shown
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
        assert all(cell_len(line) <= size[0] for line in shown.splitlines())
        assert any("itens" in line for line in listed(pilot))


async def test_a_file_with_a_huge_line_is_left_out_and_the_screen_says_why(make_app: MakeApp, shop: Path):
    (shop / "data.py").write_text("x = '" + "y" * 100_000 + "'\n")
    reason = "data.py is left out: minified or data: a line of 100,006 characters"
    git(shop, "add", "-N", "data.py")
    async with review(make_app) as pilot:
        assert "1 file skipped" in text(pilot, "#status")
        assert any("itens" in line for line in listed(pilot)), "the other file is reviewed"
        await pilot.press("home")
        await pilot.pause()
        assert reason in text(pilot, "#said")
    (shop / "cart.py").write_text(BEFORE)
    async with review(make_app) as pilot:
        assert reason in text(pilot, "#nothing")
