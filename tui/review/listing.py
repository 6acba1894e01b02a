"""The list at the left: each reviewed file, below it what was found there."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.inert import inert
from tui.review.diff import SIGNS

if TYPE_CHECKING:
    from assistant.skills.review.changes import FileChange
    from assistant.skills.review.findings import Finding

COLOURS = {"error": "$text-error", "warning": "$text-warning", "note": "$text-muted"}


class FindingList(OptionList):
    def __init__(self) -> None:
        super().__init__(id="findings")

    def fill(
        self, changes: "Iterable[FileChange]", findings: "Sequence[Finding]", states: Mapping[str, str], afresh: bool
    ) -> None:
        """`afresh` puts the cursor on the first finding; else it stays where it was."""
        before = None if afresh else self.highlighted
        self.clear_options()
        for change in changes:
            self.add_option(Option(_head(change), id=f"file:{change.path}"))
            for finding in findings:
                if finding.path == change.path:
                    entry = _entry(finding, bool(states.get(finding.id)))
                    self.add_option(Option(entry, id=f"finding:{finding.id}"))
        if self.option_count:
            first = next(iter(self._places()), 0)
            self.highlighted = first if before is None else min(before, self.option_count - 1)

    @property
    def chosen(self) -> tuple[str, str]:
        """`file` with its path, or `finding` with its id; twice the empty string for nothing."""
        option = self.highlighted_option
        kind, _, name = str(option.id if option else "").partition(":")
        return kind, name

    def step(self, step: int) -> None:
        """Goes to the next finding, or the one before, round the ends."""
        places = self._places()
        if places:
            at = self.highlighted or 0
            further = [place for place in places if (place > at if step > 0 else place < at)]
            self.highlighted = (further or places)[0 if step > 0 else -1]

    def _places(self) -> list[int]:
        return [index for index, option in enumerate(self.options) if str(option.id).startswith("finding:")]


def _head(change: "FileChange") -> Content:
    removed = sum(map(len, change.removed.values()))
    counts = (f"  +{len(change.added)}", "$text-success"), (f" −{removed}", "$text-error")
    return Content.assemble((inert(change.path), "bold"), *counts)


def _entry(finding: "Finding", is_settled: bool) -> Content:
    message = inert(finding.message).split("\n", 1)[0]
    if is_settled:
        return Content(f"  ✓ {finding.line}  {message}").stylize("$text-disabled")
    return Content.assemble((f"  {SIGNS[finding.severity]} ", COLOURS[finding.severity]), f"{finding.line}  {message}")
