"""The samples of a run: found by outcome, error class and words; the answers of two models beside each other."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, get_args

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Input, Static

from assistant.errors import HoneError
from evals.report.schema import TaskReport
from evals.report.skim import Place, ReportFile
from tui.evals import filters, opener, plots, sample
from tui.evals.chips import Chips
from tui.evals.filters import Filter, Outcome, Pair
from tui.evals.lines import one_line
from tui.evals.plots import MUTED
from tui.evals.sample import Sample
from tui.evals.sample_list import SampleList
from tui.evals.text_view import TextView
from tui.inert import inert
from tui.keybar import KeyBar
from tui.review.diff import DiffView

_VIEWS = (("answers", "Answers"), ("diff", "Diff"), ("prompt", "Prompt"), ("verdict", "Verdict"))
_WIDE = 100
"""Columns from which on the list stands beside the sample."""
_SPLIT = 110
"""Columns of the sample from which on old and new stand side by side."""
_TYPED_SECONDS = 0.2
"""How long nothing is typed before it is searched for."""


class _Found(Message):
    """A thread has found items, or could not."""

    def __init__(self, task: int, places: list[Place], is_whole: bool = False, error: str = "") -> None:
        super().__init__()
        self.task, self.places, self.is_whole, self.error = task, places, is_whole, error


class _Searched(Message):
    def __init__(self, words: str, hits: frozenset[int], looked: int, error: str = "") -> None:
        super().__init__()
        self.words, self.hits, self.looked, self.error = words, hits, looked, error


class _Read(Message):
    def __init__(self, found: Sample | None, pair: Pair, error: str = "") -> None:
        super().__init__()
        self.found, self.pair, self.error = found, pair, error


class SamplesScreen(Screen[None]):
    CSS_PATH: ClassVar = ["evals.tcss", "../review/review.tcss"]
    AUTO_FOCUS = "#samples"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="samples.back"),
        Binding("f", "outcome", "Outcome", tooltip="Show another outcome", id="samples.outcome"),
        Binding("e", "error", "Error", tooltip="Show another error class", id="samples.error"),
        Binding("slash", "search", "Search", tooltip="Search prompts, answers and verdicts", id="samples.search"),
        Binding("v", "view(1)", "View", tooltip="Answers, diff, prompt, verdict", id="samples.view"),
        Binding("m", "model", "Model", tooltip="Compare with another model", id="samples.model"),
        Binding("t", "task", "Task", tooltip="The samples of the next task", id="samples.task"),
        Binding("o", "open", "HTML", tooltip="Open the HTML report", id="samples.open"),
    ]

    def __init__(self, file: ReportFile, task: int) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]
        self._file, self._number = file, task
        self._pair = self._first_pair()
        self._filter = Filter()
        self._view = "answers"
        self._places: Sequence[Place] = ()
        self._hits: frozenset[int] | None = None
        self._looked = 0
        self._sample: Sample | None = None
        self._loading = True
        self._stop = threading.Event()
        """Ends the search under way."""
        self._left = threading.Event()
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="samples-title", markup=False)
        yield Chips("outcomes")
        words = Input(
            placeholder="words in prompts, answers and verdicts; Esc ends the search", id="words", compact=True
        )
        words.display = False
        yield words
        with Horizontal(id="samples-body"):
            yield SampleList()
            with Vertical(id="sample"):
                yield Static(id="verdicts", markup=False)
                yield Chips("views")
                with Horizontal(id="answers"):
                    yield TextView("first")
                    yield TextView("second")
                yield DiffView()
                yield Static("The answers are the same.", id="same", markup=False)
                yield TextView("other")
        yield KeyBar()

    def on_mount(self) -> None:
        self._begin()

    def on_unmount(self) -> None:
        self._left.set()
        self._stop.set()

    @property
    def _measured(self) -> TaskReport:
        return self._file.report.tasks[self._number]

    def _first_pair(self) -> Pair:
        return Pair(0, 1 if len(self._measured.models) > 1 else 0)

    def _called(self, number: int) -> str:
        return str(self._measured.models[number].facts["name"])

    # What is read

    def _begin(self) -> None:
        self._places, self._hits, self._sample, self._loading = (), None, None, True
        self._find(self._number)
        self._show()

    @work(thread=True, group="find")
    def _find(self, task: int) -> None:
        places: list[Place] = []
        try:
            for places in self._file.places(task):
                if self._left.is_set() or task != self._number:
                    return
                self.post_message(_Found(task, places))
        except HoneError as error:
            self.post_message(_Found(task, places, True, str(error)))
        else:
            self.post_message(_Found(task, places, True))

    @on(_Found)
    def _was_found(self, event: _Found) -> None:
        if event.task != self._number:
            return
        self._places = event.places
        self._loading = not event.is_whole
        if event.error:
            self._refuse(event.error)
        self._show()
        if event.is_whole:
            # The answers of later models are further behind in the file.
            self._read_again()
            self._search_again()

    def _read_again(self) -> None:
        number = self.query_one(SampleList).number
        if number is not None:
            self._read(number, self._places[number], self._pair, self._measured)

    @on(SampleList.Turned)
    def _turned(self) -> None:
        if self.query_one(SampleList).number is None:
            self._sample = None
            self._show_sample()
        else:
            self._read_again()

    @work(thread=True, group="sample", exclusive=True)
    def _read(self, number: int, place: Place, pair: Pair, task: TaskReport) -> None:
        try:
            self.post_message(_Read(sample.read(self._file, task, number, place, pair), pair))
        except HoneError as error:
            self.post_message(_Read(None, pair, str(error)))

    @on(_Read)
    def _was_read(self, event: _Read) -> None:
        if event.error:
            self._refuse(event.error)
        # A slower thread may have read what was chosen before.
        elif event.found and (event.found.number, event.pair) == (self.query_one(SampleList).number, self._pair):
            self._sample = event.found
            self._show_sample()

    # Search

    def action_search(self) -> None:
        words = self.query_one("#words", Input)
        words.display = True
        words.focus()

    @on(Input.Changed, "#words")
    def _typed(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_TYPED_SECONDS, self._search_again)

    @on(Input.Submitted, "#words")
    def _entered(self) -> None:
        self.query_one(SampleList).focus()

    def _search_again(self) -> None:
        self._stop.set()
        self._stop = threading.Event()
        words = self.query_one("#words", Input).value
        if words:
            self._looked = 0
            self._search(words, self._places, self._stop)
        elif self._hits is not None:
            self._hits = None
            self._show()

    @work(thread=True, group="search")
    def _search(self, words: str, places: Sequence[Place], stop: threading.Event) -> None:
        try:
            for hits, looked in filters.search(self._file, places, words, stop.is_set):
                if not stop.is_set():
                    self.post_message(_Searched(words, hits, looked))
        except HoneError as error:
            self.post_message(_Searched(words, frozenset(), 0, str(error)))

    @on(_Searched)
    def _was_searched(self, event: _Searched) -> None:
        if event.words != self.query_one("#words", Input).value:
            return
        if event.error:
            self._refuse(event.error)
        self._hits, self._looked = event.hits, event.looked
        self._show()

    # What is chosen

    def action_leave(self) -> None:
        words = self.query_one("#words", Input)
        if words.display:
            words.value = ""
            words.display = False
            self.query_one(SampleList).focus()
        else:
            self.dismiss()

    def action_outcome(self) -> None:
        names = list(filters.counts((), self._pair))
        self._take_outcome(names[(names.index(self._filter.outcome) + 1) % len(names)])

    def action_error(self) -> None:
        names = [None, *(name for name, _ in filters.errors(self._places, self._pair))]
        at = names.index(self._filter.error) if self._filter.error in names else 0
        self._filter = Filter("all", names[(at + 1) % len(names)])
        self._show()

    def action_view(self, step: int) -> None:
        names = [name for name, _ in self._views()]
        self._view = names[(names.index(self._view) + step) % len(names)]
        self._show_sample()

    def action_model(self) -> None:
        """Another model in the place of the second one; one alone is exchanged."""
        count = len(self._measured.models)
        if count < 3:
            self.notify("this report has no other model to compare with")
            return
        self._pair = Pair(self._pair.before, self._pair.after % (count - 1) + 1)
        self._filter = Filter(self._filter.outcome)
        self._show()
        self._read_again()

    def action_task(self) -> None:
        count = len(self._file.report.tasks)
        following = [(self._number + step) % count for step in range(1, count)]
        found = next((number for number in following if self._file.samples[number]), None)
        if found is None:
            self.notify("this report has samples of no other task")
            return
        self._number, self._pair, self._filter, self._view = found, Pair(0, 0), Filter(), "answers"
        self._pair = self._first_pair()
        self._stop.set()
        self._begin()

    @work(thread=True, group="open")
    def action_open(self) -> None:
        folder: Path = self._file.path.parent
        try:
            opener.open_report(folder)
        except HoneError as error:
            self.app.call_from_thread(self._refuse, str(error))

    @on(Chips.Chosen, "#outcomes")
    def _outcome_clicked(self, event: Chips.Chosen) -> None:
        found = next((one for one in get_args(Outcome) if one == event.name), None)
        if found is not None:
            self._take_outcome(found)
        else:
            self.action_error()

    @on(Chips.Chosen, "#views")
    def _view_clicked(self, event: Chips.Chosen) -> None:
        self._view = event.name
        self._show_sample()

    def _take_outcome(self, outcome: Outcome) -> None:
        self._filter = Filter(outcome)
        self._show()

    # What is shown

    def on_resize(self) -> None:
        self._show_sample()

    def _show(self) -> None:
        shown = filters.chosen(self._places, self._pair, self._filter, self._hits)
        counted = filters.counts(self._places, self._pair)
        chips: list[tuple[str, str]] = [(name, f"{name} {count}") for name, count in counted.items()]
        error = self._filter.error
        if error is not None:
            number = dict(filters.errors(self._places, self._pair)).get(error, 0)
            chips.append(("error", f"{one_line(error)} {number}"))
        self.query_one("#outcomes", Chips).show(chips, "error" if error is not None else self._filter.outcome)
        self.query_one(SampleList).show(self._places, shown, self._pair)
        self._show_title(len(shown))
        self._show_sample()

    def _show_title(self, shown: int) -> None:
        models = [
            Content.assemble((f"{plots.mark(number)} ", plots.colour(number)), one_line(self._called(number)))
            for number in dict.fromkeys((self._pair.before, self._pair.after))
        ]
        state = f"{shown} of {len(self._places)}"
        state += ", reading" if self._loading else ""
        if self._hits is not None and self._looked < len(self._places):
            state += f", {self._looked} searched"
        parts = [Content(one_line(self._measured.version)).stylize("bold"), Content(state).stylize(MUTED), *models]
        self.query_one("#samples-title", Static).update(Content("  ").join(parts))

    def _views(self) -> Sequence[tuple[str, str]]:
        return [view for view in _VIEWS if view[0] != "diff" or self._pair.is_two]

    def _show_sample(self) -> None:
        if not self.is_attached:
            return
        numbers = list(dict.fromkeys((self._pair.before, self._pair.after)))
        names = [self._called(number) for number in numbers]
        found = self._sample if self._sample is not None and len(self._sample.rows) == len(numbers) else None
        view = self._view if found is not None else ""
        self.query_one("#views", Chips).show(self._views() if view else (), view)
        same = found is not None and found.change is not None and not (found.change.added or found.change.removed)
        shown = {"answers": "#answers", "diff": "#same" if same else "#diff", "": ""}.get(view, "#other")
        for selector in ("#answers", "#diff", "#same", "#other"):
            self.query_one(selector).display = selector == shown
        verdicts = self.query_one("#verdicts", Static)
        if found is None:
            verdicts.update(Content("reading ..." if self._loading else "no sample is like that").stylize(MUTED))
            return
        told = zip(found.rows, numbers, names, strict=True)
        verdicts.update(Content("\n").join(sample.verdict_line(*each) for each in told))
        match view:
            case "answers":
                self._show_answers(found, names)
            case "diff":
                self.query_one(DiffView).show(found.change, (), split=self.query_one("#sample").size.width >= _SPLIT)
            case "prompt":
                self.query_one("#other", TextView).show(found.prompt, found.path)
            case _:
                text = sample.verdict_text(dict(zip(names, found.rows, strict=True)))
                self.query_one("#other", TextView).show(text)

    def _show_answers(self, found: Sample, names: Sequence[str]) -> None:
        views = [self.query_one("#first", TextView), self.query_one("#second", TextView)]
        for index, view in enumerate(views):
            view.display = index < len(found.rows)
            if view.display:
                view.border_title = Content(one_line(names[index]))
                view.show(sample.answer_text(found.rows[index]), found.path)

    def _refuse(self, line: str) -> None:
        self.notify(inert(line), severity="error", markup=False)
