"""The Evals screen: what it shows at two sizes, and what its keys do with real reports."""

import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Footer, Input, OptionList, Static

import tui
from assistant.models.registry import AdapterVersion, Registry
from tests.evals.report_fixtures import greedy, hostile_report, report, task
from tests.tui.eval_reports import BASE, TUNED, gated, humaneval, keep, whole
from tests.tui.looks import looks
from tests.tui.test_jobs_screen import write as write_job
from tests.tuning.jobs_here import end_all, spec
from tui.app import THEME
from tui.ask import Question
from tui.evals.chips import Chips
from tui.evals.form import EvalForm
from tui.evals.sample_list import SampleList
from tui.evals.samples import SamplesScreen
from tui.evals.screen import EvalsScreen
from tui.evals.text_view import MOST, TextView
from tui.places import Visit
from tui.review.diff import DiffView
from tuning.jobs import job as jobs_of
from tuning.jobs.spec import Step

SIZES = [(80, 24), (160, 48)]
Snap = Callable[..., bool]
Action = Callable[[Pilot[None]], Awaitable[None]]


class Shown(App[None]):
    """Nothing but the screen."""

    CSS_PATH: ClassVar = [Path(tui.__file__).parent / "app.tcss"]

    def __init__(self, theme: str = THEME.name) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = theme
        self.visited: list[str] = []

    def on_mount(self) -> None:
        self.push_screen(EvalsScreen())

    def on_visit(self, event: Visit) -> None:
        self.visited.append(f"{event.place} {event.argument}")


@pytest.fixture(autouse=True)
def home(hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield hone_home
    end_all(hone_home)


def fill(folder: Path) -> None:
    """One of each kind, the newest first: a gate, two models, hostile names, one model."""
    measured = humaneval()
    keep(gated(measured, day=5), folder / "gate", "gate", TUNED, "--against", BASE)
    keep(
        whole(measured, day=4), folder / "two", "eval", "humaneval", "--model", BASE, "--model", TUNED, "--limit", "164"
    )
    keep(replace(hostile_report(), created="2026-01-03T03:04:05+00:00"), folder / "hostile")
    name = "[b]wide[/b] 漢字 \N{SNOWMAN} and a name that is long"
    rows = greedy(name, [True, False, True])
    one = task({name: rows}, name="my_task.py")
    keep(report(one, created="2026-01-01T03:04:05+00:00"), folder / "one", "eval", "my_task.py")


def before(*actions: Action) -> Callable[..., Awaitable[None]]:
    async def run(pilot: Pilot[None]) -> None:
        pilot.app.animation_level = "none"
        for action in actions:
            await action(pilot)
        await settled(
            pilot, lambda: len(pilot.app.screen.query(Footer)) == 0 or pilot.app.screen.query_one(Footer).children
        )
        await pilot.pause(0.3)

    return run


async def settled(pilot: Pilot[None], condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "this never happened"
        await pilot.pause(0.02)
    await pilot.pause()


def keys(*pressed: str) -> Action:
    async def press(pilot: Pilot[None]) -> None:
        await pilot.press(*pressed)
        await pilot.pause(0.1)

    return press


def text(pilot: Pilot[None], selector: str) -> str:
    return str(pilot.app.screen.query_one(selector, Static).content)


def lines(pilot: Pilot[None]) -> list[str]:
    screen = next(screen for screen in pilot.app.screen_stack if isinstance(screen, EvalsScreen))
    return [str(option.prompt) for option in screen.query_one(OptionList).options]


def drawn(pilot: Pilot[None], kind: type[TextView | DiffView | SampleList], selector: str = "") -> str:
    view = pilot.app.screen.query_one(selector or kind.__name__, kind)
    return "\n".join(strip.text.rstrip() for strip in view.render_lines(view.outer_size.region))


def told(pilot: Pilot[None]) -> list[str]:
    return [note.message for note in pilot.app._notifications]


async def read(pilot: Pilot[None]) -> None:
    await settled(pilot, lambda: isinstance(pilot.app.screen, EvalsScreen) and "Machine" in text(pilot, "#report-text"))


async def in_samples(pilot: Pilot[None]) -> None:
    await read(pilot)
    await pilot.press("enter")
    await settled(pilot, lambda: isinstance(pilot.app.screen, SamplesScreen))
    await settled(pilot, lambda: "reading" not in text(pilot, "#samples-title"))
    await settled(pilot, lambda: pilot.app.screen._sample is not None)  # type: ignore[attr-defined]


def size_name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@looks((60, 20))
def test_two_models(snap_compare: Snap, tmp_path: Path, size: tuple[int, int], theme: str):
    fill(tmp_path)
    assert snap_compare(Shown(theme), terminal_size=size, run_before=before(read, keys("down"), read))


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_a_gate_and_a_job_under_way(snap_compare: Snap, tmp_path: Path, size: tuple[int, int]):
    fill(tmp_path)
    waits = replace(spec(Step("eval", ("true",)), name="eval mbpp"), command=("eval", "mbpp", "--detach"))
    jobs_of.mark_active(write_job("1qgt0005", waits, phase="waiting", why="for its turn", step="", peak=0))
    assert snap_compare(Shown(), terminal_size=size, run_before=before(read))


@looks()
def test_nothing_yet(snap_compare: Snap, size: tuple[int, int], theme: str):
    async def empty(pilot: Pilot[None]) -> None:
        await settled(
            pilot, lambda: pilot.app.screen.has_class("-empty") and "reading" not in text(pilot, "#evals-empty")
        )

    assert snap_compare(Shown(theme), terminal_size=size, run_before=before(empty))


@pytest.mark.parametrize("size", [*SIZES, (60, 20)], ids=size_name)
def test_samples(snap_compare: Snap, tmp_path: Path, size: tuple[int, int]):
    fill(tmp_path)
    assert snap_compare(Shown(), terminal_size=size, run_before=before(in_samples, keys("down", "down")))


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_the_diff_of_two_answers(snap_compare: Snap, tmp_path: Path, size: tuple[int, int]):
    fill(tmp_path)
    steps = before(in_samples, keys("f", "f", "f", "v", "down"))
    assert snap_compare(Shown(), terminal_size=size, run_before=steps)


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_the_form(snap_compare: Snap, tmp_path: Path, size: tuple[int, int]):
    fill(tmp_path)

    async def form(pilot: Pilot[None]) -> None:
        await pilot.press("down", "a")
        await settled(pilot, lambda: isinstance(pilot.app.screen, EvalForm))
        for each in pilot.app.screen.query(Input):
            each.cursor_blink = False

    assert snap_compare(Shown(), terminal_size=size, run_before=before(read, form))


async def test_runs_are_listed_and_each_shows_its_report(tmp_path: Path):
    fill(tmp_path)
    async with Shown().run_test(size=(120, 40)) as pilot:
        await read(pilot)
        assert [line.split()[3] for line in lines(pilot)] == ["gate:", "humaneval", "humaneval,", "my_task.py"]
        assert "4 runs" in text(pilot, "#evals-title")
        assert "Gate: pass" in text(pilot, "#report-text")
        await pilot.press("end")
        await settled(pilot, lambda: "my_task.py@1" in text(pilot, "#report-text"))
        assert "[b]wide[/b]" in text(pilot, "#report-text")
        # A run that ends meanwhile is found, and the cursor stays where it is.
        keep(whole(humaneval(8), day=9), tmp_path / "new", "eval", "humaneval")
        await settled(pilot, lambda: len(lines(pilot)) == 5)
        assert "my_task.py@1" in text(pilot, "#report-text")
        shutil.rmtree(tmp_path / "one")
        await settled(pilot, lambda: len(lines(pilot)) == 4)


async def test_samples_are_filtered_searched_and_compared(tmp_path: Path):
    fill(tmp_path)
    app = Shown()
    async with app.run_test(size=(160, 40)) as pilot:
        await read(pilot)
        await pilot.press("down")
        await in_samples(pilot)
        screen = app.screen
        assert isinstance(screen, SamplesScreen)
        assert "164 of 164" in text(pilot, "#samples-title")
        assert "✓ ✓ HumanEval/0" in drawn(pilot, SampleList)
        # Answers stand beside each other, in the order of the models.
        await pilot.press("down")
        await settled(pilot, lambda: "HumanEval/1" in drawn(pilot, SampleList) and screen._sample.number == 1)
        assert "✕ ● smollm2-135m  timeout" in text(pilot, "#verdicts")
        assert "✓ ◆ shop" in text(pilot, "#verdicts")
        assert "one line is enough" in drawn(pilot, TextView, "#second")
        await pilot.press("v")
        await settled(pilot, lambda: "one line is enough" in drawn(pilot, DiffView))
        await pilot.press("v")
        await settled(pilot, lambda: ">>> total_1([1, 2])" in drawn(pilot, TextView, "#other"))
        await pilot.press("v")
        await settled(pilot, lambda: "no result within 3 CPU seconds" in drawn(pilot, TextView, "#other"))
        # What became of them.
        for outcome, count in (("wrong", 111), ("right", 53), ("better", 42), ("worse", 10)):
            await pilot.press("f")
            await settled(pilot, lambda: f"{count} of 164" in text(pilot, "#samples-title"))  # noqa: B023
            assert f"{outcome} {count}" in str(screen.query_one("#outcomes", Chips).render())
        await pilot.click("#outcomes", offset=(3, 0))
        await settled(pilot, lambda: "164 of 164" in text(pilot, "#samples-title"))
        await pilot.press("e")
        await settled(pilot, lambda: "164 of 164" not in text(pilot, "#samples-title"))
        assert screen._filter.error is not None
        await pilot.press("f")
        # Words.
        await pilot.press("slash", *"total_77(")
        await pilot.press("enter")
        await settled(pilot, lambda: "1 of 164" in text(pilot, "#samples-title"))
        assert "HumanEval/77" in drawn(pilot, SampleList)
        await pilot.press("slash", *"xyzzy")
        await settled(pilot, lambda: "no sample is like that" in text(pilot, "#verdicts"))
        await pilot.press("escape")
        await settled(pilot, lambda: "111 of 164" in text(pilot, "#samples-title"))
        await pilot.press("escape")
        await settled(pilot, lambda: isinstance(app.screen, EvalsScreen))


async def test_what_models_wrote_is_shown_and_not_obeyed(tmp_path: Path):
    keep(hostile_report(), tmp_path / "hostile")
    app = Shown()
    async with app.run_test(size=(160, 40)) as pilot:
        await in_samples(pilot)
        await pilot.press("v", "v", "v")
        await settled(pilot, lambda: "</script>" in drawn(pilot, TextView, "#other"))
        whole_screen = "".join(segment.text for line in app.screen._compositor.render_strips() for segment in line)
        assert "\x1b" not in whole_screen
        assert "\u2028" not in whole_screen
        await pilot.press("t")
        await settled(pilot, lambda: "review@1" in text(pilot, "#samples-title"))
        await settled(pilot, lambda: "pkg/a b.py@1" in drawn(pilot, SampleList))
        # One model alone has nothing to be compared with.
        assert "Diff" not in str(app.screen.query_one("#views", Chips).render())
        await pilot.press("m")
        assert any("no other model" in message for message in told(pilot))


async def test_long_answers_and_lines_stay_usable(tmp_path: Path):
    huge = "x" * 100_000 + "\n" + "漢" * 60_000 + "\n" + "y" * 100_000
    rows = [{**row, "text": huge} for row in greedy("old", [True, False])]
    keep(report(task({"old": rows})), tmp_path / "huge")
    app = Shown()
    async with app.run_test(size=(100, 30)) as pilot:
        await in_samples(pilot)
        view = app.screen.query_one("#first", TextView)
        await settled(pilot, lambda: "xxxxx" in drawn(pilot, TextView, "#first"))
        view.scroll_end(animate=False)
        await settled(pilot, lambda: f"… {len(huge) - MOST:,} more characters" in drawn(pilot, TextView, "#first"))


async def test_a_report_is_opened_by_its_path(tmp_path: Path):
    keep(whole(humaneval(8)), tmp_path / "mine")
    from evals.report import json as json_report

    json_report.write(whole(humaneval(16), day=1), tmp_path / "brought" / "report.json")
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        await read(pilot)
        screen = app.screen
        assert isinstance(screen, EvalsScreen)
        await screen.visit("brought")
        await settled(pilot, lambda: "16 of 164 items" in text(pilot, "#report-text"))
        assert len(lines(pilot)) == 2
        (tmp_path / "none.json").write_text("{")
        await screen.visit("none.json")
        await settled(pilot, lambda: any("none.json" in message for message in told(pilot)))
        assert "16 of 164 items" in text(pilot, "#report-text")


async def test_a_report_is_deleted_after_a_question(tmp_path: Path, home: Path):
    kept = home / "evals" / "reports"
    keep(whole(humaneval(8), day=3), kept / "three")
    keep(whole(humaneval(16), day=2), kept / "two")
    keep(whole(humaneval(24), day=1), tmp_path / "mine")
    version = AdapterVersion("shop", "1a" * 32, BASE, "b" * 64, home / "adapters", "2026-01-01T00:00:00+00:00")
    Registry().register(version)
    Registry().promote(version.id, evidence={"file": str(kept / "two" / "decision.json")})
    app = Shown()

    async def asked(words: str, *answer: str) -> None:
        await pilot.press("d")
        await settled(pilot, lambda: isinstance(app.screen, Question))
        assert words in str(app.screen.query(Static).first().content)
        await pilot.press(*answer)
        await settled(pilot, lambda: isinstance(app.screen, EvalsScreen))

    async with app.run_test(size=(120, 40)) as pilot:
        await read(pilot)
        await asked("Delete the report on humaneval of 2026-01-03 03:04?", "escape")
        assert len(lines(pilot)) == 3
        await asked("kB.", "d")
        await settled(pilot, lambda: len(lines(pilot)) == 2)
        assert not (kept / "three").exists()
        # The one below is shown then; the champion is live on it.
        await settled(pilot, lambda: "16 of 164 items" in text(pilot, "#report-text"))
        await pilot.press("d")
        await settled(pilot, lambda: any("is live as champion on this report" in message for message in told(pilot)))
        await pilot.press("down")
        await settled(pilot, lambda: "24 of 164 items" in text(pilot, "#report-text"))
        await asked("Its files stay in", "d")
        await settled(pilot, lambda: len(lines(pilot)) == 1)
        assert (tmp_path / "mine" / "report.json").is_file()
        await settled(pilot, lambda: "16 of 164 items" in text(pilot, "#report-text"))


async def test_a_damaged_report_is_one_line_and_the_others_stay(tmp_path: Path):
    fill(tmp_path)
    (tmp_path / "gate" / "report.json").write_text('{"schema_version": 2')
    async with Shown().run_test(size=(100, 30)) as pilot:
        await settled(pilot, lambda: "this is no report" in text(pilot, "#report-text"))
        await pilot.press("enter")
        assert any("choose a run first" in message for message in told(pilot))
        await pilot.press("down")
        await read(pilot)


async def test_a_job_leads_to_the_jobs(tmp_path: Path):
    waits = replace(spec(Step("eval", ("true",)), name="eval mbpp"), command=("eval", "mbpp", "--detach"))
    jobs_of.mark_active(write_job("1qgt0005", waits, phase="waiting", why="", step="", peak=0))
    app = Shown()
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot, lambda: any("eval mbpp" in line and "waiting" in line for line in lines(pilot)))
        assert "1 under way" in text(pilot, "#evals-title")
        await pilot.press("enter")
        await settled(pilot, lambda: app.visited == ["jobs 1qgt0005"])
        await pilot.press("s")
        assert any("choose a run first" in message for message in told(pilot))


async def test_the_form_starts_a_job_and_says_why_not():
    first = write_job("1qgt0005", spec(Step("tune", ("true",))), phase="running")
    jobs_of.mark_active(first)
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("n")
        await settled(pilot, lambda: isinstance(app.screen, EvalForm))
        app.screen.query_one("#options", Input).value = "--key 'secret"
        await settled(pilot, lambda: "cannot be read" in text(pilot, "#form-command"))
        app.screen.query_one("#options", Input).value = "--key secret"
        await pilot.press("ctrl+s")
        await settled(pilot, lambda: "a key must not be" in text(pilot, "#form-text"))
        app.screen.query_one("#options", Input).value = f"--after {first.id}"
        app.screen.query_one("#models", Input).value = "nobody"
        line = f"$ hone eval humaneval --model nobody --after {first.id} --detach"
        await settled(pilot, lambda: text(pilot, "#form-command") == line)
        await pilot.press("ctrl+s")
        await settled(pilot, lambda: isinstance(app.screen, EvalsScreen))
        await settled(pilot, lambda: any("eval humaneval" in each for each in lines(pilot)))


@pytest.mark.parametrize("size", [(10, 5), (60, 20), (250, 70)], ids=size_name)
async def test_any_size(tmp_path: Path, size: tuple[int, int]):
    fill(tmp_path)
    async with Shown().run_test(size=size) as pilot:
        await in_samples(pilot)
        await pilot.press("v", "down", "v", "f", "v", "escape")
        await pilot.resize_terminal(80, 24)
        await pilot.press("down", "n")
        await pilot.pause()
        await pilot.resize_terminal(*size)
        await pilot.press("escape", "l", "pagedown", "l")
        await pilot.pause()
