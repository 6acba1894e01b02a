"""The Jobs screen: what it shows at two sizes, and what its keys do with real jobs."""

import json
import math
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Checkbox, Footer, Input, Log, OptionList, Static

from tests.tui.looks import looks
from tests.tuning.jobs_here import end_all, ended, shell, spec, submit, tune_step, until
from tui.app import THEME
from tui.jobs import command_form
from tui.jobs.form import Fields, JobForm, fields_of
from tui.jobs.gathered import Gathered, Gatherer
from tui.jobs.screen import JobsScreen
from tuning.jobs import files, identity, record, state
from tuning.jobs import spec as spec_of
from tuning.jobs.job import Job
from tuning.jobs.record import Checkpointed, Record
from tuning.jobs.spec import Spec, Step

SIZES = [(80, 24), (160, 48)]
Snap = Callable[..., bool]


class Shown(App[None]):
    """Nothing but the screen."""

    def __init__(self, theme: str = THEME.name) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = theme

    def on_mount(self) -> None:
        self.push_screen(JobsScreen())


@pytest.fixture(autouse=True)
def home(hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield hone_home
    end_all(hone_home)


def write(identifier: str, wanted: Spec, ended: Record | None = None, log: str = "", **pulse: Any) -> Job:
    """A job as it stands on disk; one that has not ended is supervised by this process."""
    from tuning.jobs import job as jobs_of

    made = Job(jobs_of.folder() / identifier)
    made.folder.mkdir()
    (made.folder / "spec.json").write_text(json.dumps(spec_of.to_json(wanted)))
    files.append_line(made.events, {"time": "2026-01-02T03:04:05+00:00", "event": "submitted"})
    made.log.write_text(log)
    made.put_identity("supervisor", identity.own())
    whole = {"phase": "running", "why": "", "step": "tune", "at": 0.0, "began": 0.0, "memory": 0, "peak": 1_630_000_000}
    made.pulse.write_text(json.dumps(whole | pulse))
    if ended is not None:
        made.exit.write_text(json.dumps(record.to_json(ended)))
    return made


def steps(job: Job, count: int, of: int) -> None:
    for step in range(1, count + 1):
        share = step / of
        loss = 0.9 + 1.6 * math.exp(-5 * share) + 0.12 * math.sin(step * 2.7) * math.cos(step * 0.9)
        rate = 1e-3 * min(1.0, share / 0.05) * 0.5 * (1 + math.cos(math.pi * share))
        point = {"step": step, "epoch": 0, "share": share, "loss": loss, "learning_rate": rate, "tokens": step * 1000}
        point |= {
            "seconds": step * 1.2,
            "tokens_per_second": 812.0 + 40 * math.sin(step / 9),
            "memory": 1.5e9 + step * 4e5,
        }
        point |= {
            "eta_seconds": (of - step) * 1.2,
            "validation": 0.6 + 0.3 * math.exp(-4 * share) if step % 25 == 0 else None,
        }
        files.append_line(job.metrics, point)


LOG = """$ hone tune src --name shop --minutes 10 --json
reading the corpus
214 files taken, 31 left out; 412,096 tokens in 402 rows
training needs about 1.6 GB of memory; 812 tok/s, 9 % MFU
  3%  step 12  loss 2.113  809 tok/s  ETA 7:48
 12%  step 50  loss 1.702  821 tok/s  ETA 7:05  validation 0.796 bits per byte
 31%  step 125  loss 1.204  815 tok/s  ETA 5:31  validation 0.694 bits per byte
"""


def pipeline(name: str) -> Spec:
    command = ("tune", "src", "--name", name, "--minutes", "10", "--then", "eval", "--then", "gate", "--detach")
    made = tuple(Step(each, ("true",), run=name if each == "tune" else "") for each in ("tune", "eval", "gate"))
    return replace(spec(*made, name=name), command=command)


def fill() -> None:
    """One of each kind, with fixed ids."""
    at = "2026-01-02T04:04:05+00:00"
    write("1qgt0001", pipeline("parser"), Record("done", "all steps ended well", "", at, "gate", 0, None))
    failed = Record(
        "failed",
        "gate ended with exit code 1: worse by 3.1 points on repo (p = 0.002)",
        "see `hone jobs logs 1qgt0002`; `hone jobs resume 1qgt0002` does the step again",
        at,
        "gate",
        1,
    )
    write("1qgt0002", pipeline("billing"), failed)
    died = Record(
        "died",
        "tune was killed because memory ran out (the kernel's log: Killed process 4711 (python))",
        "free memory, then `hone jobs resume 1qgt0003` goes on from the checkpoint",
        at,
        "tune",
        None,
        "SIGKILL",
        checkpoint=Checkpointed(80, 0.2),
    )
    write("1qgt0003", pipeline("[ui] \N{SNOWMAN} wide 漢字 name that is long"), died)
    waits = "1 of 1 jobs that may run at once are running: 1qgt0004"
    write(
        "1qgt0005",
        replace(spec(Step("eval", ("true",)), name="eval repo"), command=("eval", "repo", "--detach")),
        phase="waiting",
        why=waits,
        step="",
        peak=0,
    )
    steps(write("1qgt0004", pipeline("shop"), log=LOG), 125, 400)


def before(*actions: Callable[[Pilot[None]], Awaitable[None]], full: bool = True) -> Callable[..., Awaitable[None]]:
    async def run(pilot: Pilot[None]) -> None:
        pilot.app.animation_level = "none"
        if full:
            await settled(pilot, lambda: pilot.app.screen.query_one(OptionList).option_count == 5)
        for action in actions:
            await action(pilot)
        await settled(pilot, lambda: len(pilot.app.screen.query_one(Footer).children) >= 5)
        await pilot.pause(0.3)

    return run


async def settled(pilot: Pilot[None], condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "this never happened"
        await pilot.pause(0.02)


async def run_is_chosen(pilot: Pilot[None]) -> None:
    await settled(pilot, lambda: pilot.app.screen.query_one(Log).line_count > 5)


async def dead_is_chosen(pilot: Pilot[None]) -> None:
    await pilot.press("down", "down")
    await settled(pilot, lambda: "memory ran out" in text(pilot, "#job-why"))


def text(pilot: Pilot[None], selector: str) -> str:
    return str(pilot.app.screen.query_one(selector, Static).render())


def size_name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@looks()
def test_a_run_under_way(snap_compare: Snap, size: tuple[int, int], theme: str):
    fill()
    assert snap_compare(Shown(theme), terminal_size=size, run_before=before(run_is_chosen))


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_a_run_that_died(snap_compare: Snap, size: tuple[int, int]):
    fill()
    assert snap_compare(Shown(), terminal_size=size, run_before=before(dead_is_chosen))


@looks()
def test_no_job_yet(snap_compare: Snap, size: tuple[int, int], theme: str):
    async def empty(pilot: Pilot[None]) -> None:
        await settled(pilot, lambda: pilot.app.screen.has_class("-empty") and "press n" in text(pilot, "#jobs-empty"))

    assert snap_compare(Shown(theme), terminal_size=size, run_before=before(empty, full=False))


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_the_form(snap_compare: Snap, size: tuple[int, int]):
    fill()

    async def opened(pilot: Pilot[None]) -> None:
        await run_is_chosen(pilot)
        await pilot.press("a")
        await settled(pilot, lambda: isinstance(pilot.app.screen, JobForm))
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False

    async def run(pilot: Pilot[None]) -> None:
        pilot.app.animation_level = "none"
        await settled(pilot, lambda: pilot.app.screen.query_one(OptionList).option_count == 5)
        await opened(pilot)
        await pilot.pause(0.3)

    assert snap_compare(Shown(), terminal_size=size, run_before=run)


async def test_keys_stop_resume_and_remove_a_real_job():
    job = submit(tune_step("one", "--steps", "300", "--every", "1000"), name="shop")
    until(job.metrics.exists)
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot, lambda: "shop" in lines(pilot))
        assert "running" in lines(pilot)
        await pilot.press("s")
        await settled(pilot, lambda: "stopped" in lines(pilot))
        assert "goes on from there" in text(pilot, "#job-why")
        await pilot.press("r")
        await settled(pilot, lambda: "running" in lines(pilot) or "done" in lines(pilot))
        await settled(pilot, lambda: "done" in lines(pilot))
        await pilot.press("r")
        await settled(pilot, lambda: any("is done" in note.message for note in app._notifications))
        await pilot.press("d")
        assert job.folder.exists()
        while job.folder.exists():
            # A machine may take longer for two keys than the second one is waited for.
            await pilot.press("d")
            await pilot.pause(0.1)
        await settled(pilot, lambda: app.screen.has_class("-empty"))


async def test_the_job_goes_on_when_the_app_closes_and_is_found_again():
    job = submit(shell("wait", "echo hello >&2; sleep 600"), name="long")
    for _ in range(2):
        async with Shown().run_test(size=(80, 24)) as pilot:
            await settled(pilot, lambda: "long" in lines(pilot))
            await settled(pilot, lambda: "hello" in pilot.app.screen.query_one(Log).lines)
    assert state.look(job).state == "running"


async def test_a_job_that_is_removed_while_it_is_watched():
    jobs = [submit(shell("a", "true"), name=name) for name in ("one", "two")]
    for job in jobs:
        ended(job)
    async with Shown().run_test(size=(80, 24)) as pilot:
        await settled(pilot, lambda: "two" in lines(pilot))
        import shutil

        shutil.rmtree(jobs[1].folder)
        await settled(pilot, lambda: "two" not in lines(pilot))
        assert "one" in lines(pilot)


async def test_nothing_is_read_behind_another_screen(monkeypatch: pytest.MonkeyPatch):
    fill()
    read: list[str | None] = []
    gather = Gatherer.gather

    def counted(self: Gatherer, wanted: str | None) -> Gathered:
        read.append(wanted)
        return gather(self, wanted)

    monkeypatch.setattr(Gatherer, "gather", counted)
    async with Shown().run_test(size=(80, 24)) as pilot:
        pilot.app.add_mode("jobs", JobsScreen)
        pilot.app.add_mode("other", Screen)
        await pilot.app.switch_mode("jobs")
        jobs = pilot.app.screen
        assert isinstance(jobs, JobsScreen)
        await settled(pilot, lambda: jobs.query_one(OptionList).option_count == 5 and not jobs._reading)
        await pilot.app.switch_mode("other")
        await settled(pilot, lambda: pilot.app.screen is not jobs and not jobs._reading)
        before = len(read)
        jobs._look_on()
        assert (len(read), jobs._reading) == (before, False)
        await pilot.app.switch_mode("jobs")
        await settled(pilot, lambda: len(read) > before)


@pytest.mark.parametrize("size", [(10, 5), (60, 20), (250, 70)], ids=size_name)
async def test_any_size(size: tuple[int, int]):
    fill()
    async with Shown().run_test(size=size) as pilot:
        await settled(pilot, lambda: pilot.app.screen.query_one(OptionList).option_count == 5)
        await pilot.press("down", "down", "l", "n")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.resize_terminal(80, 24)
        await pilot.pause()


async def test_a_job_that_is_visited_is_chosen():
    fill()
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        jobs = app.screen
        assert isinstance(jobs, JobsScreen)
        for wanted, name in (("1qgt0002", "billing"), ("1qgt0001", "parser")):
            await jobs.visit(wanted)
            await settled(pilot, lambda name=name: f"--name {name}" in text(pilot, "#job-steps"))
            chosen = jobs.query_one(OptionList).highlighted_option
            assert chosen is not None
            assert chosen.id == wanted
        await pilot.press("up")
        await settled(pilot, lambda: "billing" in text(pilot, "#job-steps"))


async def test_the_form_starts_a_job_and_says_why_not(tmp_path: Path):
    (tmp_path / "plain").mkdir()
    first = submit(shell("wait", "sleep 600"), name="first")
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("n")
        await settled(pilot, lambda: isinstance(app.screen, JobForm))
        app.screen.query_one("#corpus", Input).value = "plain"
        await pilot.press("ctrl+s")
        await settled(pilot, lambda: "Give it a --name" in text(pilot, "#form-text"))
        app.screen.query_one("#name", Input).value = "shop"
        app.screen.query_one("#options", Input).value = f"--after {first.id} --rank 'a"
        await settled(pilot, lambda: "cannot be read" in text(pilot, "#form-command"))
        app.screen.query_one("#options", Input).value = f"--after {first.id} --rank 4"
        app.screen.query_one("#then-eval", Checkbox).value = False
        line = f"$ hone tune plain --name shop --after {first.id} --rank 4 --detach"
        await settled(pilot, lambda: text(pilot, "#form-command") == line)
        await pilot.press("ctrl+s")
        await settled(pilot, lambda: isinstance(app.screen, JobsScreen))
        await settled(pilot, lambda: "shop" in lines(pilot))
        await settled(pilot, lambda: f"--after {first.id}" in text(pilot, "#job-steps"))


async def test_the_form_shows_what_a_run_would_read_and_starts_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "plain").mkdir()
    told = "import sys; print('3 [b]files[/b]', *sys.argv[1:]); sys.exit('hone: no base' if 'none' in sys.argv else 0)"
    monkeypatch.setattr(command_form, "HONE", (sys.executable, "-c", told))
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("n")
        await settled(pilot, lambda: isinstance(app.screen, JobForm))
        app.screen.query_one("#corpus", Input).value = "plain"
        app.screen.query_one("#options", Input).value = "--rank 4"
        await pilot.press("ctrl+t")
        await settled(pilot, lambda: "--dry-run" in text(pilot, "#form-text"))
        assert text(pilot, "#form-text") == "3 [b]files[/b] tune plain --rank 4 --dry-run"
        app.screen.query_one("#options", Input).value = "--base none"
        await pilot.press("ctrl+t")
        await settled(pilot, lambda: text(pilot, "#form-text") == "no base")
        await pilot.press("escape")
        await settled(pilot, lambda: isinstance(app.screen, JobsScreen))
        assert "press n" in text(pilot, "#jobs-empty")


@pytest.mark.parametrize(
    "printed", ['{"tuned": false, "why": "no new commits"}', '["1qgt0001"]', "Usage: hone tune", ""]
)
async def test_a_command_that_starts_no_job_leaves_the_form_open_with_what_it_printed(
    monkeypatch: pytest.MonkeyPatch, printed: str
):
    monkeypatch.setattr(command_form, "HONE", (sys.executable, "-c", f"print({printed!r})"))
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("n")
        await settled(pilot, lambda: isinstance(app.screen, JobForm))
        await pilot.press("ctrl+s")
        await settled(pilot, lambda: "submitting" not in text(pilot, "#form-text"))
        assert text(pilot, "#form-text") == printed or "started no job" in text(pilot, "#form-text")
        app.screen.query_one("#options", Input).value = "--json"
        await pilot.press("ctrl+t")
        await settled(pilot, lambda: "reading" not in text(pilot, "#form-text"))
        assert isinstance(app.screen, JobForm)


async def test_a_key_pressed_twice_starts_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = tmp_path / "calls"
    told = f"import time; open({str(log)!r}, 'a').write('x'); time.sleep(1)"
    monkeypatch.setattr(command_form, "HONE", (sys.executable, "-c", told))
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("n")
        await settled(pilot, lambda: isinstance(app.screen, JobForm))
        form = app.screen
        assert isinstance(form, JobForm)
        form.action_start()
        form.action_start()
        await settled(pilot, lambda: "started no job" in text(pilot, "#form-text"))
    assert log.read_text() == "x"


async def test_promoting_needs_the_gate():
    app = Shown()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("n")
        await settled(pilot, lambda: isinstance(app.screen, JobForm))
        form = app.screen
        assert isinstance(form, JobForm)
        form.query_one("#then-promote", Checkbox).value = True
        await settled(pilot, lambda: form.query_one("#then-gate", Checkbox).value)
        assert form.fields().then == ("eval", "gate", "promote")
        form.query_one("#then-gate", Checkbox).value = False
        await settled(pilot, lambda: not form.query_one("#then-promote", Checkbox).value)


def test_an_earlier_command_comes_back_into_the_fields():
    command = (
        "tune",
        "--name",
        "shop",
        "--minutes",
        "10.0",
        "--rank",
        "4",
        "--then",
        "eval --limit 5",
        "--detach",
        "a b",
    )
    fields = fields_of(command)
    assert fields == Fields("'a b'", "shop", "10", "--rank 4", ("eval --limit 5",))
    assert fields.words() == [
        *("tune", "a b", "--name", "shop", "--minutes", "10", "--rank", "4", "--then", "eval --limit 5")
    ]
    evaluation = fields_of(("eval", "mbpp", "--limit", "3", "--detach"))
    assert evaluation.words() == ["eval", "mbpp", "--limit", "3"]
    assert asdict(fields_of(("tune", "--of-another-version", "x")))["options"] == "--of-another-version x"


def lines(pilot: Pilot[None]) -> str:
    """What the list shows."""
    screen = next(screen for screen in pilot.app.screen_stack if isinstance(screen, JobsScreen))
    return "\n".join(str(option.prompt) for option in screen.query_one(OptionList).options)
