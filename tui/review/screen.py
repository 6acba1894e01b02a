"""The Review screen: a change, what was found in it beside its diff, and what to do about each finding."""

import threading
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import OptionList, Static

from assistant.errors import HoneError
from tui.ask import Prompt
from tui.fields import Field, fitted
from tui.inert import inert
from tui.keybar import KeyBar
from tui.places import Visit
from tui.review import apply
from tui.review.choose import Hunks
from tui.review.detail import detail
from tui.review.diff import DiffView
from tui.review.listing import FindingList
from tui.review.summary import summary

if TYPE_CHECKING:
    from assistant.skills.review.changes import Changes, FileChange
    from assistant.skills.review.findings import Edit, Finding, Review
    from assistant.skills.review.request import Request, Source
    from tui.app import HoneApp

BASELINE = "hone-baseline.json"
"""In the repository's root; `hone review --baseline hone-baseline.json` takes the same."""
_WIDE = 120
"""Columns from which on old and new stand side by side."""
_NAMES: "dict[Source, str]" = {
    "working tree": "working tree",
    "staged": "staged",
    "base": "since",
    "commit": "commit",
}
_UNCOMMITTED = "Review all that differs from the last commit"
_HINT = "Enter reviews the working tree; s what is staged, b since a branch or revision, c one commit."


@dataclass
class Progress(Message):
    what: str
    done: int
    total: int


@dataclass
class Done(Message):
    """A review ended, with its result or a line that says why there is none."""

    changes: "Changes | None"
    review: "Review | None"
    line: str = ""


class ReviewScreen(Screen[None]):
    CSS_PATH = "review.tcss"
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "begin", "Review", tooltip=_UNCOMMITTED),
        Binding("w", "run('working tree')", "Working tree", tooltip=_UNCOMMITTED, id="review.tree", show=False),
        Binding("s", "run('staged')", "Staged", tooltip="Review what is staged", id="review.staged", show=False),
        Binding("b", "since", "Since…", tooltip="Review all since a branch or revision", id="review.base", show=False),
        Binding("c", "commit", "Commit…", tooltip="Review one commit", id="review.commit", show=False),
        Binding("r", "again", "Review", tooltip="Review the same again", id="review.again"),
        Binding("n", "step(1)", "Next", tooltip="Go to the next finding", id="review.next"),
        Binding("p", "step(-1)", "Prev", tooltip="Go to the finding before", id="review.previous"),
        Binding("a", "apply", "Fix", tooltip="Write the fix to the file", id="review.apply"),
        Binding("u", "undo", "Undo", tooltip="Take back the last fix", id="review.undo", show=False),
        Binding("d", "accept", "Dismiss", tooltip="Put it in the baseline, with a reason", id="review.dismiss"),
        Binding("o", "open", "Open", tooltip="Open the line in the editor", id="review.open"),
        Binding("x", "export", "SARIF", tooltip="Write the findings as SARIF", id="review.export"),
        Binding("escape", "cancel", "Cancel", tooltip="Stop the review under way", id="review.cancel", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]
        self._root = Path.cwd()
        self._source: Source = "working tree"
        self._revision: str | None = None
        self._stop: threading.Event | None = None
        self._changes: dict[str, FileChange] = {}
        self._review: Review | None = None
        self._findings: list[Finding] = []
        self._states: dict[str, str] = {}
        """What became of findings, by their ids."""
        self._applied: list[tuple[str, apply.Applied, list[Finding]]] = []
        """The finding whose fix was written, what taking it back needs, and the findings before."""
        self._progress = ""
        self._line = ""

    def compose(self) -> ComposeResult:
        with Static(id="title"):
            yield Static("", id="where")
        with Horizontal(id="review"):
            with Vertical(id="list"):
                yield FindingList()
            with Vertical(id="beside"):
                yield DiffView()
                with VerticalScroll(id="detail", can_focus=False):
                    yield Static("", id="said")
        yield Static(_HINT, id="nothing", markup=False)
        yield Static("", id="status")
        yield KeyBar()

    def on_mount(self) -> None:
        from assistant.skills import repository

        try:
            self._root = repository.root_of(self._root) or self._root
        except HoneError as error:
            self._line = str(error)
        self._show()

    async def visit(self, argument: str) -> None:
        """`staged`, `since REV` (or any REV), `commit REV`."""
        word, _, rest = argument.partition(" ")
        if word == "staged":
            self.action_run("staged")
        elif word == "commit" and rest.strip():
            self.action_run("commit", rest.strip())
        else:
            self.action_run("base", rest.strip() if word == "since" and rest.strip() else argument)

    # A review

    def action_run(self, source: "Source", revision: str | None = None) -> None:
        if self._stop is not None:
            self.notify("A review is under way; Esc cancels it")
            return
        self._source, self._revision = source, revision
        self._stop = threading.Event()
        self._progress, self._line = "starting", ""
        self._show()
        self._run(self._request(), self._stop)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "begin":
                return not self._changes
            case "again" | "step" | "apply" | "accept" | "open" | "export":
                return bool(self._changes)
        return True

    def action_begin(self) -> None:
        self.action_run("working tree")

    def action_again(self) -> None:
        self.action_run(self._source, self._revision)

    @work
    async def action_since(self) -> None:
        if answer := await self.app.push_screen_wait(Prompt("Review all since which branch or revision?", "main")):
            self.action_run("base", answer)

    @work
    async def action_commit(self) -> None:
        if answer := await self.app.push_screen_wait(Prompt("Review which commit?", "HEAD")):
            self.action_run("commit", answer)

    def action_cancel(self) -> None:
        if self._stop is not None:
            self._stop.set()
            self._progress = "cancelling"
            self._show_status()

    def _request(self) -> "Request":
        from assistant.skills.review.request import Request

        baseline = self._root / BASELINE
        return Request(self._root, self._source, self._revision, baseline=baseline if baseline.is_file() else None)

    @work(thread=True, group="review")
    def _run(self, request: "Request", stop: threading.Event) -> None:
        from assistant.skills.review import run
        from assistant.skills.review.request import CancelledError

        def progress(what: str, done: int, total: int) -> None:
            self.post_message(Progress(what, done, total))

        try:
            changes = run.read(request)
            done = cast("HoneApp", self.app).services.review(request, progress, stop.is_set)
            self.post_message(Done(changes, done))
        except CancelledError:
            self.post_message(Done(None, None, "cancelled"))
        except HoneError as error:
            self.post_message(Done(None, None, str(error)))

    @on(Progress)
    def _progressed(self, event: Progress) -> None:
        if self._stop is not None and not self._stop.is_set():
            self._progress = f"{event.what} {event.done}/{event.total}" if event.total > 1 else event.what
            self._show_status()

    @on(Done)
    def _done(self, event: Done) -> None:
        self._stop, self._progress, self._line = None, "", event.line
        if event.changes is not None and event.review is not None:
            self._changes = {change.path: change for change in event.changes.files}
            self._review = event.review
            self._findings = list(event.review.findings)
            self._states, self._applied = {}, []
            self._fill(afresh=True)
            if self._changes:
                self.query_one("#review").display = True
                self.query_one(FindingList).focus()
        self._show()
        self.refresh_bindings()

    # Files and findings

    def _fill(self, afresh: bool = False) -> None:
        self.query_one(FindingList).fill(self._changes.values(), self._findings, self._states, afresh)

    @property
    def _chosen(self) -> "tuple[FileChange | None, Finding | None]":
        kind, name = self.query_one(FindingList).chosen
        if kind == "finding":
            finding = next((one for one in self._findings if one.id == name), None)
            return (self._changes.get(finding.path) if finding else None), finding
        return self._changes.get(name), None

    @on(OptionList.OptionHighlighted, "#findings")
    def _turned(self) -> None:
        self._show_chosen()

    @on(OptionList.OptionSelected, "#findings")
    def _selected(self) -> None:
        self.action_open()

    def action_step(self, step: int) -> None:
        self.query_one(FindingList).step(step)

    # What to do about a finding

    @work
    async def action_apply(self) -> None:
        change, finding = self._chosen
        if change is None or finding is None or finding.fix is None:
            self.notify("There is no fix for this" if finding else "Choose a finding first")
            return
        if self._states.get(finding.id):
            self.notify(f"This one is {self._states[finding.id]} already")
            return
        edits = finding.fix.edits
        if len(edits) > 1:
            edits = await self.app.push_screen_wait(Hunks(edits, change))
        if edits:
            self._apply(change, finding, edits)

    def _apply(self, change: "FileChange", finding: "Finding", edits: "tuple[Edit, ...]") -> None:
        try:
            applied = apply.write(self._root / change.path, change.data, edits)
        except HoneError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self._applied.append((finding.id, applied, self._findings))
        self._states[finding.id] = "fixed"
        self._findings = apply.moved(self._findings, change.path, edits)
        self._read_again()
        self.notify(f"Fixed in {inert(change.path)}; u takes it back", markup=False)

    def action_undo(self) -> None:
        if not self._applied:
            self.notify("No fix was applied")
            return
        identifier, applied, before = self._applied[-1]
        try:
            apply.take_back(applied)
        except HoneError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self._applied.pop()
        self._states.pop(identifier, None)
        self._findings = before
        self.notify("Taken back")
        self._read_again()

    def _read_again(self) -> None:
        """The diff is of the files as they are now."""
        from assistant.skills.review import run

        if self._source in ("working tree", "base"):
            try:
                self._changes = {change.path: change for change in run.read(self._request()).files}
            except HoneError as error:
                self._line = str(error)
        self._fill()
        self._show()

    @work
    async def action_accept(self) -> None:
        from assistant.skills.review import baseline

        _, finding = self._chosen
        if finding is None:
            self.notify("Choose a finding first")
            return
        reason = await self.app.push_screen_wait(Prompt("Why is this no problem?"))
        if not reason:
            return
        try:
            baseline.accept(self._root / BASELINE, finding, reason)
        except HoneError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self._states[finding.id] = "dismissed"
        self._fill()
        self._show_chosen()

    def action_open(self) -> None:
        change, finding = self._chosen
        if change is not None:
            line = finding.line if finding is not None else min(change.added, default=1)
            self.post_message(Visit("code", f"{self._root / change.path}:{line}"))

    @work
    async def action_export(self) -> None:
        from assistant import atomic
        from assistant.skills.review import formats

        if self._review is None:
            self.notify("There is no review to write yet")
            return
        name = await self.app.push_screen_wait(Prompt("Write SARIF to", "review.sarif"))
        if name:
            try:
                atomic.write_text(self._root / name, formats.to_sarif(self._review, version("hone-assistant")))
            except OSError as error:
                self.notify(f"cannot write {name}: {error.strerror}", severity="error", markup=False)
            else:
                self.notify(f"Written to {inert(name)}", markup=False)

    # What is shown

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        if not self.is_attached:
            return
        heading = Content.from_markup(
            "[b]Review[/b]  [dim]$folder[/dim]  $what", folder=self._root.name, what=self._what()
        )
        self.query_one("#where", Static).update(heading)
        empty = not self._changes
        self.query_one("#review").display = not empty
        nothing = self.query_one("#nothing", Static)
        nothing.display = empty
        text = _HINT
        if self._line:
            text = f"{inert(self._line)}\n\n{_HINT}"
        elif self._review is not None:
            text = f"Nothing to review in {self._what()}.\n\n{_HINT}"
        nothing.update("" if self._stop is not None else text)
        self._show_chosen()
        self._show_status()

    def _show_chosen(self) -> None:
        change, finding = self._chosen
        view = self.query_one(DiffView)
        view.show(change, self._findings, split=self.size.width >= _WIDE)
        view.go_to(self._findings.index(finding) if finding is not None else -1)
        said = self.query_one("#said", Static)
        if finding is not None:
            said.update(detail(finding, change, self._states.get(finding.id, "")))
        else:
            said.update(Content("Nothing was found here." if change else "").stylize("$text-muted"))

    def _what(self) -> str:
        name = _NAMES.get(self._source, self._source)
        return f"{name} {self._revision}" if self._revision else name

    def _show_status(self) -> None:
        status = self.query_one("#status", Static)
        status.update(fitted(self._fields(), max(1, self.size.width - 4)))

    def _fields(self) -> list[Field]:
        if self._stop is not None:
            return [(0, Content(f"▶ {inert(self._progress)}").stylize("$text-primary")), (1, Content("Esc cancels"))]
        review = self._review
        if self._line:
            return [(0, Content(f"■ {inert(self._line)}").stylize("$text-warning"))]
        if review is None:
            return [(0, Content("Enter reviews").stylize("$text-muted"))]
        return summary(review, self._findings, self._states)
