"""What the Review screen shows: the files and findings of a change, its diff, and how far a review is."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList, Static

from assistant.errors import HoneError
from tui.fields import Field, fitted
from tui.inert import inert
from tui.keybar import KeyBar
from tui.review import apply
from tui.review.detail import detail
from tui.review.diff import DiffView
from tui.review.listing import FindingList
from tui.review.summary import summary

if TYPE_CHECKING:
    from assistant.skills.review.changes import FileChange
    from assistant.skills.review.findings import Finding, Review
    from assistant.skills.review.request import Source

_WIDE = 120
"""Columns from which on old and new stand side by side."""
_NAMES: "dict[Source, str]" = {
    "working tree": "working tree",
    "staged": "staged",
    "base": "since",
    "commit": "commit",
}
_TOLD = 5
"""Skipped files that are named where there is nothing else to see."""
_HINT = "Enter reviews the working tree; s what is staged, b since a branch or revision, c one commit."


@dataclass(frozen=True)
class Fixed:
    """A fix that was written."""

    finding: str
    """Its id."""
    applied: apply.Applied
    change: "FileChange"
    """Before the fix, as are the findings."""
    findings: "tuple[Finding, ...]"


class ReviewShown(Screen[None]):
    CSS_PATH = "review.tcss"
    AUTO_FOCUS = ""

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
        self._applied: list[Fixed] = []
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
        text = Content(_HINT)
        if self._line:
            style = "$text-muted" if self._line == "cancelled" else "$text-error"
            text = Content.assemble((inert(self._line), style), f"\n\n{_HINT}")
        elif self._review is not None:
            text = Content("\n".join([inert(f"Nothing to review in {self._what()}."), *self._left_out(), "", _HINT]))
        nothing.update(f"Reviewing {inert(self._what())}…" if self._stop is not None else text)
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
            lines = ["Nothing was found here.", *self._left_out()] if change else []
            said.update(Content("\n".join(lines)).stylize("$text-muted"))

    def _left_out(self) -> list[str]:
        """The first files that were not reviewed, with the reason."""
        skipped = self._review.skipped if self._review is not None else ()
        left = [inert(f"{one.path} is left out: {one.reason}") for one in skipped[:_TOLD]]
        return [*left, *([f"and {len(skipped) - len(left)} more"] if len(skipped) > len(left) else [])]

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
            style = "$text-muted" if self._line == "cancelled" else "$text-error"
            return [(0, Content(f"■ {inert(self._line)}").stylize(style))]
        if review is None:
            return [(0, Content("Enter reviews").stylize("$text-muted"))]
        return summary(review, self._findings, self._states)
