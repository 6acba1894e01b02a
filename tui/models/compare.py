"""Two models beside each other: on a prompt, and on what evaluations measured of both."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from assistant.errors import HoneError
from tui.chat.comparing import Comparison
from tui.chat.events import (
    Compare,
    CompareFinished,
    ComparePiece,
    CompareSide,
    Loading,
    Ready,
    Rejected,
)
from tui.chat.models import ModelTarget
from tui.columns import fit, joined
from tui.inert import inert
from tui.jobs.form import JobForm
from tui.models import measured
from tui.models.gathered import stamp
from tui.models.measured import Difference

if TYPE_CHECKING:
    from assistant.client import Client
    from tui.chat.backend import Backend

ITEMS = 50
"""Of an evaluation that is offered here: minutes, not hours."""
_SECONDS = 3.0
_DIM = "$foreground 60%"
Connect = Callable[[str | None], AbstractContextManager["Client"]]
Check = Callable[[str, bool], ModelTarget]


@dataclass(frozen=True)
class Pair:
    """Names as the command line takes them; the first is what the second is compared with."""

    before: str
    after: str
    repository: str
    """What an evaluation asks about."""

    @property
    def names(self) -> tuple[str, str]:
        return self.before, self.after

    @property
    def evaluation(self) -> tuple[str, ...]:
        """The command line, without the program."""
        models = ("--model", self.before, "--model", self.after)
        return ("eval", "repo", "--repo", self.repository, "--limit", str(ITEMS), *models)


@dataclass
class _Measured(Message):
    found: list[Difference]
    error: str = ""


class CompareScreen(ModalScreen[None]):
    """The two, until Escape."""

    CSS_PATH: ClassVar = ["models.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="compare.leave"),
        # Before the prompt's own, which would go to the end of the line.
        Binding("ctrl+e", "evaluate", "Evaluate both", priority=True, id="compare.evaluate"),
    ]

    def __init__(self, pair: Pair, connect: Connect, check: Check) -> None:
        super().__init__()
        self._pair, self._connect, self._check = pair, connect, check
        self._backend: Backend | None = None
        self._asked: dict[Compare, Comparison] = {}
        self._last: Compare | None = None
        self._is_broken = False
        self._stamp: tuple[int, ...] = ()
        self._found: list[Difference] = []
        self._started = ""

    def compose(self) -> ComposeResult:
        before, after = map(inert, self._pair.names)
        with Vertical(id="compare"):
            title = Content.assemble((before, "bold $text-secondary"), ("  →  ", _DIM), (after, "bold $primary"))
            yield Static(title, id="compare-title", markup=False)
            yield Static("", id="compare-measured", markup=False)
            yield Input(placeholder="Ask both the same, and press Enter", id="compare-prompt", compact=True)
            yield Static("", id="compare-line", markup=False)
            yield VerticalScroll(id="compare-answers")
            with Horizontal(id="compare-buttons"):
                yield Button("Evaluate both (^e)", id="evaluate", compact=True)
                yield Button("Stop, or back (esc)", id="leave", compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._read()
        self.set_interval(_SECONDS, self._read)

    def on_unmount(self) -> None:
        self._end_backend()

    # What was measured

    @work(thread=True, group="measured", exclusive=True)
    def _read(self) -> None:
        from evals import gate_inputs

        try:
            seen = stamp()
            if seen == self._stamp:
                return
            self._stamp = seen
            models = [gate_inputs.known(name) for name in self._pair.names]
            self.post_message(_Measured(measured.differences(measured.reports(), *models)))
        except (HoneError, OSError) as error:
            self.post_message(_Measured([], str(error)))

    @on(_Measured)
    def _was_measured(self, event: _Measured) -> None:
        if event.error:
            self._say(event.error, "$text-error")
        self._found = event.found
        self._show_measured()

    def _show_measured(self) -> None:
        said = self.query_one("#compare-measured", Static)
        if self._found:
            said.update(table(self._found, max(said.size.width, 20)))
        elif self._started:
            said.update(Content(f"Job {self._started} measures both.").stylize(_DIM))
        else:
            said.update(Content("No evaluation has measured both yet; ^e starts one.").stylize(_DIM))

    def on_resize(self) -> None:
        # Its width is known once it is laid out.
        self.call_after_refresh(self._show_measured)

    @on(Button.Pressed, "#evaluate")
    def action_evaluate(self) -> None:
        self.app.push_screen(JobForm(self._pair.evaluation), self._job_started)

    def _job_started(self, identifier: str | None) -> None:
        if identifier:
            self._started = identifier
            self._show_measured()
            self._say(f"job {identifier} measures both; its figures will stand here", "$text-success")

    # What they answer

    @on(Input.Submitted)
    async def _ask(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if self._last is not None:
            self._say("one moment, they still answer; Esc stops them", "$text-warning")
        if not text or self._last is not None:
            return
        event.input.value = ""
        if self._backend is None:
            from tui.chat.backend import Backend

            self._backend = Backend(self._connect, self._check, self.post_message, self._pair.before)
            self._backend.start()
        self._say("waiting for the model", _DIM)
        job = self._backend.compare(text, (), self._pair.names)
        drawn = Comparison(text, self._pair.names)
        self._asked[job], self._last = drawn, job
        answers = self.query_one("#compare-answers")
        # The newest above the others.
        await answers.mount(drawn, before=0 if answers.children else None)

    @on(Loading)
    def _loading(self, event: Loading) -> None:
        self._say(f"loading {inert(event.target.label)} {inert(event.detail)}".rstrip(), _DIM)

    @on(Ready)
    def _ready(self, event: Ready) -> None:
        self._say("", _DIM)

    @on(ComparePiece)
    async def _piece(self, event: ComparePiece) -> None:
        self._say("", _DIM)
        if event.job in self._asked:
            await self._asked[event.job].write(event.side, event.text)

    @on(CompareSide)
    async def _side(self, event: CompareSide) -> None:
        if event.job in self._asked:
            await self._asked[event.job].close(event.side, event.finish, event.line, event.details)
        self._is_broken |= event.finish == "error"

    @on(Rejected)
    async def _rejected(self, event: Rejected) -> None:
        self._say(event.line, "$text-error")
        if isinstance(event.job, Compare) and event.job in self._asked:
            await self._asked.pop(event.job).remove()
        self._last = None

    @on(CompareFinished)
    def _finished(self, event: CompareFinished) -> None:
        self._last = None
        self._say("", _DIM)
        if self._is_broken:
            # The connection may be what broke: the next question gets a new one.
            self._end_backend()

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        """Stops the answers first, where they are still being written."""
        if self._last is not None and not self._last.stop.is_set():
            self._last.stop.set()
            self._say("stopped", "$text-warning")
        else:
            self.dismiss(None)

    def _end_backend(self) -> None:
        backend, self._backend, self._is_broken = self._backend, None, False
        if backend is not None:
            # It waits for its thread, the interface does not.
            threading.Thread(target=backend.close, name="end of a comparison", daemon=True).start()
        if self._last is not None:
            self._last.stop.set()
            self._last = None

    def _say(self, line: str, style: str) -> None:
        said = self.query_one("#compare-line", Static)
        said.update(Content(inert(line)).stylize(style))
        said.display = bool(line)


def table(found: Sequence[Difference], width: int) -> Content:
    """One figure a line: what it is, before and after, and the change; green where it is better, red where worse."""
    names = [f"{inert(one.task)} {inert(one.figure)}" for one in found]
    values = [f"{one.before} → {one.after}" for one in found]
    widest = min(max(map(len, names), default=0), max(width // 2 - 10, 10)), max(map(len, values), default=0)
    lines = []
    for name, value, one in zip(names, values, found, strict=True):
        style = {True: "$text-success", False: "$text-error", None: _DIM}[one.better]
        cells = [fit(Content(name), widest[0]), fit(Content(value), widest[1]), Content(one.change).stylize(style)]
        lines.append(joined(cells, width))
    return Content("\n").join(lines)


def sharing(
    serving: "Callable[[], tuple[Client, str] | None]", connect: Connect, check: Check
) -> "Callable[[str | None], AbstractContextManager[Client]]":
    """A way to connect that takes the client at hand where it serves the same base: no model is loaded twice.

    Args:
        serving: the client at hand, and the model that it was opened for.
    """

    @contextmanager
    def connected(model: str | None) -> "Iterator[Client]":
        at_hand = serving()
        if at_hand is not None and model is not None:
            client, asked = at_hand
            if check(asked, False).base == check(model, False).base:
                yield client
                return
        with connect(model) as client:
            yield client

    return connected
