"""The Review screen: begins reviews, and does what is asked about findings. What it shows is in `shown`."""

import os
import threading
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import OptionList

from assistant.errors import HoneError
from tui.ask import Prompt, Question
from tui.inert import inert
from tui.places import Visit
from tui.review import apply
from tui.review.choose import Hunks
from tui.review.listing import FindingList
from tui.review.shown import Fixed, ReviewShown

if TYPE_CHECKING:
    from assistant.skills.review.changes import Changes, FileChange
    from assistant.skills.review.findings import Edit, Finding, Review
    from assistant.skills.review.request import Request, Source
    from tui.app import HoneApp

BASELINE = "hone-baseline.json"
"""In the repository's root; `hone review --baseline hone-baseline.json` takes the same."""
_UNCOMMITTED = "Review all that differs from the last commit"


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


class ReviewScreen(ReviewShown):
    """A change, what was found in it beside its diff, and what to do about each finding."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "begin", "Review", tooltip=_UNCOMMITTED, id="review.begin"),
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

    # What to do about a finding

    @on(OptionList.OptionSelected, "#findings")
    def _selected(self) -> None:
        self.action_open()

    def action_step(self, step: int) -> None:
        self.query_one(FindingList).step(step)

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
        self._applied.append(Fixed(finding.id, applied, change, tuple(self._findings)))
        self._states[finding.id] = "fixed"
        self._findings = apply.moved(self._findings, change.path, edits)
        # Not read again: the findings fit these changes alone, whatever has happened to the files since.
        self._changes[change.path] = apply.edited(change, edits)
        self._fill()
        self._show()
        self.notify(f"Fixed in {inert(change.path)}; u takes it back", markup=False)

    def action_undo(self) -> None:
        if not self._applied:
            self.notify("No fix was applied")
            return
        last = self._applied[-1]
        try:
            apply.take_back(last.applied)
        except apply.ChangedError as error:
            self._applied.pop()
            more = "; u takes back the one before" if self._applied else ""
            self.notify(f"{error}{more}", severity="error", markup=False)
            return
        except HoneError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self._applied.pop()
        self._states.pop(last.finding, None)
        path = last.change.path
        self._changes[path] = last.change
        # A later fix in another file may have stayed.
        pairs = zip(last.findings, self._findings, strict=True)
        self._findings = [before if before.path == path else now for before, now in pairs]
        self._fill()
        self._show()
        self.notify("Taken back")

    @work
    async def action_accept(self) -> None:
        from assistant.skills.review import baseline

        change, finding = self._chosen
        if change is None or finding is None:
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
        self._remember(change, finding)

    @work(thread=True, group="feedback")
    def _remember(self, change: "FileChange", finding: "Finding") -> None:
        """The reviewer can learn that the line is fine; see `hone feedback`."""
        from assistant.skills.review import dismissed

        try:
            dismissed.record(cast("HoneApp", self.app).services.feedback(), change, finding)
        except HoneError as error:
            self.app.call_from_thread(self.notify, str(error), severity="error", markup=False)

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
        if not name:
            return
        path = self._root / os.path.expanduser(name)
        if path.exists() and not await self.app.push_screen_wait(Question(f"{inert(name)} exists.", ["Overwrite it"])):
            return
        try:
            atomic.write_text(path, formats.to_sarif(self._review, version("hone-assistant")))
        except OSError as error:
            self.notify(f"cannot write {inert(name)}: {error.strerror}", severity="error", markup=False)
        else:
            self.notify(f"Written to {inert(name)}", markup=False)
