"""The Jobs screen: what runs, waits and ended, the curves and the log of one of them.

Everything is read from the jobs' folders, so it makes no difference who started a job, and nothing ends with the app.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Log, OptionList, Static
from textual.widgets.option_list import Option

from assistant.errors import HoneError
from tui import images
from tui.inert import inert
from tui.jobs import rows
from tui.jobs.curves import Gauges, Plot
from tui.jobs.described import duration
from tui.jobs.form import JobForm
from tui.jobs.gathered import TAIL_LINES, Gathered, Gatherer
from tui.keybar import KeyBar
from tuning.jobs import verbs
from tuning.jobs.command import shown
from tuning.jobs.job import Job
from tuning.jobs.state import Status

EMPTY = "No job yet: press n, or run `hone tune CORPUS --name NAME --detach`"
_SECONDS = 1.0
_AGAIN_SECONDS = 3.0
"""Within which a second `d` removes."""


class _Read(Message):
    """A thread has read the jobs, or could not."""

    def __init__(self, gathered: Gathered | None, error: str) -> None:
        super().__init__()
        self.gathered, self.error = gathered, error


class _Done(Message):
    """A verb has been done, or was refused."""

    def __init__(self, error: str) -> None:
        super().__init__()
        self.error = error


class JobsScreen(Screen[None]):
    """Jobs and what can be done with them."""

    TITLE = "Jobs"
    CSS_PATH = "jobs.tcss"
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="jobs.new"),
        Binding("s", "stop", "Stop", id="jobs.stop"),
        Binding("r", "resume", "Resume", id="jobs.resume"),
        Binding("a", "again", "Run again", id="jobs.again"),
        Binding("d", "remove", "Remove", id="jobs.remove"),
        Binding("l", "log", "Log", show=False, id="jobs.log"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._gatherer = Gatherer()
        self._gathered: Gathered | None = None
        self._wanted: str | None = None
        self._asked_to_remove: tuple[str, float] | None = None
        self._reading = self._look_again = False
        self._error = ""
        self._pictures = False

    def compose(self) -> ComposeResult:
        yield Static("Jobs", id="jobs-title", markup=False)
        yield Static(id="jobs-header", markup=False)
        yield OptionList(id="jobs-list", markup=False, compact=True)
        yield Static("reading …", id="jobs-empty", markup=False)
        with Vertical(id="job"):
            yield Static(id="job-steps", markup=False)
            yield Static(id="job-why", markup=False)
            with Horizontal(id="plots"):
                loss = "the curve begins with the second training step"
                yield Plot("loss", "nats/token", "$primary", loss, mean=True, id="loss")
                validation = "measured now and then while it trains"
                yield Plot("validation", "bits/byte", "$secondary", validation, mean=False, id="validation")
            yield Gauges()
            yield Log(id="job-log", max_lines=2 * TAIL_LINES)
        yield KeyBar()

    def on_mount(self) -> None:
        self.add_class("-unread")
        self.query_one(OptionList).focus()
        self.set_interval(_SECONDS, self._look_on)
        self._look()
        if not self.app.is_headless:
            self._ask_for_pictures()

    @work(thread=True, group="pictures")
    def _ask_for_pictures(self) -> None:
        """Reading the configuration imports much, so not while the screen waits."""
        try:
            wanted = images.load().images
        except HoneError as error:
            self.app.call_from_thread(self._refuse, str(error))
            return
        cell = images.cell_size(sys.__stdout__.fileno()) if sys.__stdout__ is not None else None
        decision = images.decide(wanted, os.environ, cell, self.app.console.color_system)
        if decision.refused:
            self.app.call_from_thread(self._refuse, decision.refused)
        elif decision.cell is not None:
            self.app.call_from_thread(self._draw_pictures, decision.cell)

    def _draw_pictures(self, cell: tuple[int, int]) -> None:
        self._pictures = True
        for plot in self.query(Plot):
            plot.draw_pictures(cell)

    def on_screen_suspend(self) -> None:
        for plot in self.query(Plot):
            plot.refresh()

    def on_screen_resume(self) -> None:
        for plot in self.query(Plot):
            plot.refresh()
        self._look()

    def on_resize(self) -> None:
        if self._pictures and sys.__stdout__ is not None:
            # Another font, or another screen, has cells of other sizes.
            for plot in self.query(Plot):
                plot.draw_pictures(images.cell_size(sys.__stdout__.fileno()))
        if self._gathered is not None:
            self._show_list(self._gathered)

    async def visit(self, argument: str) -> None:
        """The id of a job."""
        self._started(argument)

    # What is read

    def _look_on(self) -> None:
        # Behind other screens nobody sees it: the app itself tells which job ended.
        if self.is_current:
            self._look()

    def _look(self) -> None:
        # One at a time: what is read of a log is read once.
        if self._reading:
            self._look_again = True
            return
        self._reading = True
        self._gather(self._wanted)

    @work(thread=True, group="gather")
    def _gather(self, wanted: str | None) -> None:
        try:
            self.post_message(_Read(self._gatherer.gather(wanted), ""))
        except HoneError as error:
            self.post_message(_Read(None, str(error)))

    @on(_Read)
    def _was_read(self, event: _Read) -> None:
        self._reading = False
        if event.gathered is None:
            if self._gathered is None:
                # There is nothing to look at behind a notification that goes.
                self.query_one("#jobs-empty", Static).update(Content(inert(event.error)).stylize("$text-error"))
            elif event.error != self._error:
                self._refuse(event.error)
        else:
            self._show(event.gathered)
        self._error = event.error
        if self._look_again:
            self._look_again = False
            self._look()

    def _show(self, gathered: Gathered) -> None:
        if self._gathered is None:
            self.remove_class("-unread")
            # What is not shown cannot have the focus.
            self.call_after_refresh(self.query_one(OptionList).focus)
            self.query_one("#jobs-empty", Static).update(EMPTY)
        self._gathered = gathered
        self.set_class(not gathered.jobs, "-empty")
        self._show_list(gathered)
        if gathered.chosen is not None:
            self._show_job(gathered.chosen, gathered)

    def _show_list(self, gathered: Gathered) -> None:
        listed, width = self.query_one(OptionList), max(self.size.width - 4, 1)
        counts = [f"{number} {state}" for state in ("running", "waiting") if (number := _count(gathered, state))]
        self.query_one("#jobs-title", Static).update(Content(" · ").join(["Jobs", *counts]))
        self.query_one("#jobs-header", Static).update(rows.header(width))
        ids = [status.job.id for status, _ in gathered.jobs]
        lines = [rows.line(status, point, width) for status, point in gathered.jobs]
        chosen = gathered.chosen.job.id if gathered.chosen is not None else None
        afresh = ids != [option.id for option in listed.options]
        if afresh:
            with self.prevent(OptionList.OptionHighlighted):
                listed.set_options(Option(line, id=one) for one, line in zip(ids, lines, strict=True))
        else:
            for number, line in enumerate(lines):
                if listed.get_option_at_index(number).prompt != line:
                    listed.replace_option_prompt_at_index(number, line)
        # One that was just started, or is visited, may stand in the list already.
        if chosen is not None and (afresh or chosen == self._wanted):
            with self.prevent(OptionList.OptionHighlighted):
                listed.highlighted = ids.index(chosen)

    def _show_job(self, status: Status, gathered: Gathered) -> None:
        self.query_one("#job-steps", Static).update(_steps(status))
        self.query_one("#job-why", Static).update(_why(status, gathered))
        points = gathered.steps
        self.query_one("#loss", Plot).show([(one.step, one.loss) for one in points])
        measured = [(one.step, one.validation) for one in points if one.validation is not None]
        self.query_one("#validation", Plot).show(measured)
        self.query_one(Gauges).show(points, status.peak)
        trains = any(step.run for step in status.spec.steps) and (status.is_active or points)
        self.query_one("#job").set_class(not trains, "-without-curves")
        log = self.query_one(Log)
        if gathered.afresh:
            log.clear()
        if gathered.log:
            log.write_lines([inert(line) for line in gathered.log])
            if gathered.afresh:
                # Once the screen is laid out it is known where the end is.
                self.call_after_refresh(log.scroll_end, animate=False)

    @on(OptionList.OptionHighlighted, "#jobs-list")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_id and event.option_id != self._wanted:
            self._wanted = event.option_id
            self._look()

    # What is done

    def action_new(self) -> None:
        self.app.push_screen(JobForm(), self._started)

    def action_again(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.app.push_screen(JobForm(chosen.spec.command), self._started)

    def action_stop(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.notify(f"stopping {inert(chosen.spec.name)}; a training run leaves a checkpoint first", markup=False)
            self._do(verbs.stop, chosen.job)

    def action_resume(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self._do(verbs.resume, chosen.job)

    def action_remove(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        asked, self._asked_to_remove = self._asked_to_remove, None
        if asked is not None and asked[0] == chosen.job.id and time.monotonic() - asked[1] < _AGAIN_SECONDS:
            self._do(verbs.remove, chosen.job)
            return
        self._asked_to_remove = chosen.job.id, time.monotonic()
        words = "press d again to remove its log and figures; adapters and checkpoints stay"
        self.notify(words, timeout=_AGAIN_SECONDS)

    def action_log(self) -> None:
        """Between the list and the log, which scrolls."""
        listed, log = self.query_one(OptionList), self.query_one(Log)
        (listed if log.has_focus else log).focus()

    def _chosen(self) -> Status | None:
        if self._gathered is None or self._gathered.chosen is None:
            self.notify(EMPTY, severity="warning", markup=False)
            return None
        return self._gathered.chosen

    @work(thread=True, group="verbs")
    def _do(self, verb: Callable[[Job], object], job: Job) -> None:
        error = ""
        try:
            verb(job)
        except HoneError as refused:
            error = str(refused)
        self.post_message(_Done(error))

    @on(_Done)
    def _was_done(self, event: _Done) -> None:
        if event.error:
            self._refuse(event.error)
        self._look()

    def _started(self, identifier: str | None) -> None:
        if identifier:
            self._wanted = identifier
            self.query_one(OptionList).focus()
            self._look()

    def _refuse(self, line: str) -> None:
        self.notify(inert(line), severity="error", markup=False)


def _count(gathered: Gathered, state: str) -> int:
    return sum(status.state == state for status, _ in gathered.jobs)


def _steps(status: Status) -> Content:
    """Where the steps are, and the command."""
    command = Content(f"  $ hone {inert(shown(status.spec.command))}").stylize("bold")
    return Content("  ").join([rows.steps(status), command])


def _why(status: Status, gathered: Gathered) -> Content:
    """Why it waits or ended and what to do about it; of a run under way how far it is."""
    parts = [inert(status.why)] if status.why else []
    if status.ended is not None and status.ended.advice:
        parts.append(inert(status.ended.advice))
    elif gathered.steps and status.is_active and status.state != "waiting":
        point = gathered.steps[-1]
        left = f", {duration(point.eta_seconds)} left" if point.eta_seconds is not None else ""
        parts.append(f"step {point.step:.0f}, {point.tokens:,.0f} tokens in {duration(point.seconds)}{left}")
    return Content("; ".join(parts)).stylize("$foreground 80%")
