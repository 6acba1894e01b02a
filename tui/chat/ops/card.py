"""A job in the conversation: where it is while it runs, then what came of it and what to do next."""

from dataclasses import dataclass

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message as Posted
from textual.timer import Timer
from textual.widgets import Button, Static

from tui.chat.conversation import LIVE
from tui.chat.ops import looking
from tui.chat.ops.looking import Looked
from tui.chat.ops.outcome import Next, Outcome, headline, laid_out
from tui.inert import inert
from tui.jobs import rows
from tui.jobs.described import progress_words
from tuning.jobs.command import shown
from tuning.jobs.metrics import Point
from tuning.jobs.state import Status

_SECONDS = 1.0
_PADDING = 4


@dataclass
class _Seen(Posted):
    looked: Looked


class JobCard(Vertical):
    """Follows a job by its id until it has ended."""

    @dataclass
    class Ended(Posted):
        card: "JobCard"
        outcome: Outcome | None
        """None: the job was removed meanwhile."""

    def __init__(self, identifier: str) -> None:
        super().__init__(classes=f"job {LIVE}")
        self.identifier = identifier
        self._steps = Static(f"job {identifier}", markup=False, classes="steps")
        self._where = Static("", markup=False, classes="where")
        self._timer: Timer | None = None
        self._reading = False

    def compose(self) -> ComposeResult:
        yield self._steps
        yield self._where

    def on_mount(self) -> None:
        self._timer = self.set_interval(_SECONDS, self._look)
        self._look()

    def _look(self) -> None:
        if not self._reading:
            self._reading = True
            self._read()

    @work(thread=True, group="job")
    def _read(self) -> None:
        self.post_message(_Seen(looking.look(self.identifier)))

    @on(_Seen)
    def _seen(self, event: _Seen) -> None:
        event.stop()
        self._reading = False
        looked = event.looked
        status = looked.status
        if status is None and looked.said:
            self._where.update(inert(looked.said))
            return
        if status is None:
            self._where.update("this job was removed")
        else:
            name = Content(inert(status.spec.name)).stylize("bold")
            identifier = Content(f"job {self.identifier}").stylize("$foreground 60%")
            self._steps.update(Content("  ").join([name, rows.steps(status), identifier]))
            self._where.update(_where(status, looked.point, looked.said))
        if status is None or looked.outcome is not None:
            self._end(looked.outcome)

    def _end(self, outcome: Outcome | None) -> None:
        if self._timer is not None and self.has_class(LIVE):
            self._timer.stop()
            self.remove_class(LIVE)
            self.post_message(self.Ended(self, outcome))


class ResultCard(Vertical):
    """What came of a job."""

    @dataclass
    class Wanted(Posted):
        """The user chose what to do next."""

        line: str

    def __init__(self, outcome: Outcome) -> None:
        good = outcome.passed if outcome.passed is not None else outcome.state == "done"
        super().__init__(classes=f"job result {'good' if good else 'bad'}")
        self._outcome = outcome
        self._tables = [Static("", markup=False, classes="table") for _ in outcome.tables]

    def compose(self) -> ComposeResult:
        outcome = self._outcome
        yield Static(headline(outcome), markup=False, classes="head")
        if outcome.why:
            yield Static(inert(outcome.why), markup=False)
        if outcome.fields:
            width = max(len(name) for name, _ in outcome.fields)
            lines = [f"{name:<{width}}  {inert(value)}" for name, value in outcome.fields]
            yield Static("\n".join(lines), markup=False)
        yield from self._tables
        if outcome.verdict:
            yield Static(inert(outcome.verdict), markup=False, classes="verdict")
        if outcome.next:
            with Horizontal(classes="next"):
                for at, each in enumerate(outcome.next):
                    yield Button(Content(f"{_short(each)}"), name=str(at), compact=True, tooltip=inert(each.line))

    def on_resize(self, event: events.Resize) -> None:
        for static, table in zip(self._tables, self._outcome.tables, strict=True):
            static.update(inert(laid_out(table, event.size.width - _PADDING)))

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.post_message(self.Wanted(self._outcome.next[int(event.button.name or 0)].line))


def told(outcome: Outcome) -> str:
    """How to go on by keys."""
    first = outcome.next[0]
    return f"Next: {inert(first.line.strip())} {first.does}. Tab puts it into the box"


def _short(step: Next) -> str:
    return f" {step.line.split()[0].removeprefix('/')}: {step.does} " if step.line[0] == "/" else f" {step.does} "


def _where(status: Status, point: Point | None, said: str) -> Content:
    command = Content(f"$ hone {inert(shown(status.spec.command))}").stylize("$foreground 60%")
    if not status.is_active:
        return command
    if status.state != "running":
        line = Content(inert(f"{status.state}: {status.why}" if status.why else status.state))
    elif point is not None and point.share < 1:
        line = Content.assemble(rows.bar(point.share), "  ", progress_words(point, runs=True).partition("  ")[2])
    else:
        line = Content(inert(said))
    return Content("\n").join([command, line])
