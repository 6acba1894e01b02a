"""The Evals screen: what was measured on this machine, the figures and plots of one run, and the way to its samples.

A list of runs is read without their reports; a report is read without its samples; all of it in threads.
"""

import asyncio
import threading
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from assistant.errors import HoneError
from evals.report import removal, runs
from evals.report.runs import Run
from evals.report.skim import ReportFile, StoppedError
from tui.ask import Question
from tui.evals import opener, rows
from tui.evals.document import document
from tui.evals.form import EvalForm, fields_of
from tui.evals.gathered import Gatherer, Listed, report_of
from tui.evals.samples import SamplesScreen
from tui.inert import inert
from tui.jobs.described import size
from tui.keybar import KeyBar
from tui.places import Visit

EMPTY = "Nothing was measured yet: press n, or run `hone eval humaneval --model M`"
_SECONDS = 2.0
_PAUSE_SECONDS = 0.1
"""How long the cursor rests on a run before its report is read."""


class _Listed(Message):
    """A thread has looked for runs, or could not."""

    def __init__(self, listed: Listed | None, error: str = "") -> None:
        super().__init__()
        self.listed, self.error = listed, error


class _Opened(Message):
    """A thread has read a report, or could not."""

    def __init__(self, path: Path, file: ReportFile | None, error: str = "", asked_by_path: bool = False) -> None:
        super().__init__()
        self.path, self.file, self.error, self.asked_by_path = path, file, error, asked_by_path


class EvalsScreen(Screen[None]):
    """Runs and what can be done with them."""

    TITLE = "Evals"
    CSS_PATH = "evals.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", tooltip="Start a measurement", id="evals.new"),
        Binding("a", "again", "Run again", tooltip="Start this one with changes", id="evals.again"),
        Binding("s", "samples", "Samples", tooltip="Prompts, answers and verdicts", id="evals.samples"),
        Binding("o", "open", "HTML", tooltip="Open the HTML report", id="evals.open"),
        Binding("d", "delete", "Delete", tooltip="Delete this report", id="evals.delete"),
        Binding("l", "report", "Report", tooltip="Scroll the report", show=False, id="evals.report"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._gatherer = Gatherer()
        self._listed: Listed | None = None
        self._file: ReportFile | None = None
        """The report that is shown."""
        self._wanted: str | None = None
        self._reading = self._look_again = False
        self._stop = threading.Event()
        """Ends the reading of a report that is not wanted any more."""
        self._error = ""

    def compose(self) -> ComposeResult:
        yield Static("Evals", id="evals-title", markup=False)
        yield Static(id="evals-header", markup=False)
        yield OptionList(id="evals-list", markup=False, compact=True)
        yield Static("reading …", id="evals-empty", markup=False)
        with VerticalScroll(id="report"):
            yield Static(id="report-text", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self.add_class("-unread")
        self.query_one(OptionList).focus()
        self.set_interval(_SECONDS, self._look_on)
        self._look()

    def on_unmount(self) -> None:
        self._stop.set()

    def on_screen_resume(self) -> None:
        self._look()

    def on_resize(self) -> None:
        self._show_list()
        self._show_report()

    async def visit(self, argument: str) -> None:
        """The path of a report, or of the folder that holds one."""
        self._open(report_of(argument), asked_by_path=True)

    # What is read

    def _look_on(self) -> None:
        if self.is_current:
            self._look()

    def _look(self) -> None:
        if self._reading:
            self._look_again = True
            return
        self._reading = True
        self._gather()

    @work(thread=True, group="gather")
    def _gather(self) -> None:
        try:
            self.post_message(_Listed(self._gatherer.gather()))
        except HoneError as error:
            self.post_message(_Listed(None, str(error)))

    @on(_Listed)
    def _was_listed(self, event: _Listed) -> None:
        self._reading = False
        if event.error and self._listed is None:
            # There is nothing to look at behind a notification that goes.
            self.query_one("#evals-empty", Static).update(Content(inert(event.error)).stylize("$text-error"))
        elif event.error and event.error != self._error:
            self._refuse(event.error)
        self._error = event.error
        if event.listed is not None and event.listed != self._listed:
            before = self._run()
            if self._listed is None:
                self.remove_class("-unread")
                # What is not shown cannot have the focus.
                self.call_after_refresh(self.query_one(OptionList).focus)
                self.query_one("#evals-empty", Static).update(EMPTY)
            self._listed = event.listed
            self.set_class(not event.listed.jobs and not event.listed.runs, "-empty")
            self._show_list()
            now = self._run()
            if now is not None and before is not None and now.folder == before.folder and now != before:
                # Written anew in the same folder.
                self._open(now.file)
        if self._look_again:
            self._look_again = False
            self._look()

    def _open(self, path: Path, asked_by_path: bool = False) -> None:
        self._stop.set()
        self._stop = threading.Event()
        self._read(path, asked_by_path, self._stop)

    @work(thread=True, group="report")
    def _read(self, path: Path, asked_by_path: bool, stop: threading.Event) -> None:
        # Who only passes by with the cursor starts nothing.
        if stop.wait(0 if asked_by_path else _PAUSE_SECONDS):
            return
        try:
            file = ReportFile(path, stop.is_set)
            if asked_by_path:
                self._gatherer.add(Run(path.parent, runs.summarise(file.report)))
            self.post_message(_Opened(path, file, asked_by_path=asked_by_path))
        except StoppedError:
            return
        except HoneError as error:
            self.post_message(_Opened(path, None, str(error), asked_by_path))

    @on(_Opened)
    def _was_opened(self, event: _Opened) -> None:
        chosen = self._run()
        if event.asked_by_path:
            if event.error:
                self._refuse(event.error)
                return
            self._wanted = str(event.path.parent)
            listed = self.query_one(OptionList)
            if self._wanted in [option.id for option in listed.options]:
                listed.highlighted = listed.get_option_index(self._wanted)
            self._look()
        elif chosen is None or chosen.file != event.path:
            return
        self._file = event.file
        self._show_report(event.error)

    # What is shown

    def _show_list(self) -> None:
        if self._listed is None or not self.is_attached:
            return
        listed, width = self.query_one(OptionList), max(self.size.width - 5, 1)
        jobs, found = self._listed.jobs, self._listed.runs
        counts = [f"{len(found)} run{'s' if len(found) != 1 else ''}"] if found else []
        counts += [f"{number} under way"] if (number := sum(job.is_active for job in jobs)) else []
        self.query_one("#evals-title", Static).update(Content(" · ").join(["Evals", *counts]))
        self.query_one("#evals-header", Static).update(rows.header(width))
        lines = {f"job:{job.job.id}": rows.job_line(job, width) for job in jobs}
        lines |= {str(run.folder): rows.line(run.summary, width) for run in found}
        if list(lines) != [option.id for option in listed.options]:
            with self.prevent(OptionList.OptionHighlighted):
                listed.set_options(Option(line, id=one) for one, line in lines.items())
            # A job stands above the runs only until it has ended.
            first = next((one for one in lines if not one.startswith("job:")), next(iter(lines), None))
            wanted = self._wanted if self._wanted in lines else first
            if wanted is not None:
                listed.highlighted = list(lines).index(wanted)
        else:
            for number, line in enumerate(lines.values()):
                if listed.get_option_at_index(number).prompt != line:
                    listed.replace_option_prompt_at_index(number, line)

    def _show_report(self, error: str = "") -> None:
        if not self.is_attached:
            return
        text = self.query_one("#report-text", Static)
        if error:
            text.update(Content(inert(error)).stylize("$text-error"))
        elif self._file is not None:
            width = max(20, self.query_one("#report").scrollable_content_region.width)
            text.update(Content("\n").join(document(self._file.report, width)))
        else:
            text.update("")

    @on(OptionList.OptionHighlighted, "#evals-list")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        before, self._wanted = self._wanted, event.option_id
        run = self._run()
        if run is not None and (self._wanted != before or self._file is None or self._file.path != run.file):
            self.query_one("#report").scroll_home(animate=False)
            self._open(run.file)
        elif run is None:
            self._file = None
            self.query_one("#report-text", Static).update(
                Content("Enter goes to its log and progress.").stylize("$foreground 60%")
            )

    def _run(self) -> Run | None:
        found = self._listed.runs if self._listed is not None else ()
        return next((run for run in found if str(run.folder) == self._wanted), None)

    # What is done

    def action_new(self) -> None:
        self.app.push_screen(EvalForm(), self._started)

    def action_again(self) -> None:
        run = self._run()
        if run is None:
            self._refuse("choose a run first")
        elif run.command[:1] != ("eval",):
            self._refuse("the command line of this one is not known; n starts a new one")
        else:
            self.app.push_screen(EvalForm(fields_of(run.command)), self._started)

    @on(OptionList.OptionSelected, "#evals-list")
    def _selected(self) -> None:
        kind, _, job = (self._wanted or "").partition(":")
        if kind == "job":
            self.post_message(Visit("jobs", job))
        else:
            self.action_samples()

    def action_samples(self) -> None:
        file = self._file
        task = next((number for number, spans in enumerate(file.samples) if spans), None) if file is not None else None
        if file is None or task is None:
            self._refuse("this report has no samples" if file is not None else "choose a run first")
        else:
            self.app.push_screen(SamplesScreen(file, task))

    def action_report(self) -> None:
        """Between the list and the report, which scrolls."""
        listed, report = self.query_one(OptionList), self.query_one("#report")
        (listed if report.has_focus else report).focus()

    @work(thread=True, group="open")
    def action_open(self) -> None:
        run = self._run()
        try:
            if run is None:
                raise HoneError("choose a run first")
            opener.open_report(run.folder)
        except HoneError as error:
            self.app.call_from_thread(self._refuse, str(error))

    @work
    async def action_delete(self) -> None:
        run = self._run()
        if run is None:
            self._refuse("choose a run first; a job is removed on the Jobs screen")
            return
        try:
            use = await asyncio.to_thread(removal.use_of, run)
            if use.refusal:
                self._refuse(use.refusal)
            elif await self.app.push_screen_wait(Question(_before_deletion(run, use), ["Delete"])):
                await asyncio.to_thread(removal.remove, run)
                self._deleted(run)
        except HoneError as error:
            self._refuse(str(error))

    def _deleted(self, run: Run) -> None:
        self._gatherer.forget(run)
        listed = [str(each.folder) for each in self._listed.runs] if self._listed is not None else []
        if self._wanted == str(run.folder) and self._wanted in listed:
            here = listed.index(self._wanted)
            self._wanted = next(iter([*listed[here + 1 :], *reversed(listed[:here])]), None)
            self._file = None
            self._show_report()
        self._look()

    def _started(self, identifier: str | None) -> None:
        if identifier:
            self._wanted = f"job:{identifier}"
            self.query_one(OptionList).focus()
            self._look()

    def _refuse(self, line: str) -> None:
        self.notify(inert(line), severity="error", markup=False)


def _before_deletion(run: Run, use: removal.Use) -> str:
    name = f"{', '.join(run.summary.tasks)} of {run.summary.created[:16].replace('T', ' ')}"
    if not use.kept_here:
        return f"Take {inert(name)} off this list? Its files stay in {inert(str(run.folder))}."
    lines = [f"Delete the report on {inert(name)}? That frees {size(use.bytes) or 'nothing'}."]
    if use.within:
        lines.append(f"· {use.within} other{'s' if use.within > 1 else ''} of this list in its folder too")
    lines += [f"· {inert(rests.version)} was promoted on it as {inert(rests.alias)}" for rests in use.rests]
    return "\n".join(lines)
