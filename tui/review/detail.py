"""What is said about one finding: its evidence with how sure each source is, and the fix that is offered."""

from typing import TYPE_CHECKING

from textual.content import Content

from tui.inert import inert
from tui.review.diff import SIGNS
from tui.review.listing import COLOURS

if TYPE_CHECKING:
    from assistant.skills.review.changes import FileChange
    from assistant.skills.review.findings import Edit, Finding

_BAR = 10
_MOST_FIX_LINES = 12


def detail(finding: "Finding", change: "FileChange | None", state: str) -> Content:
    """`state` says what became of it: empty, `fixed` or `dismissed`."""
    head = Content.assemble(
        (f"{SIGNS[finding.severity]} {finding.severity}", COLOURS[finding.severity]),
        f"  {inert(finding.path)}:{finding.line}  ",
        (inert(finding.rule), "$text-muted"),
        (f"  {state}" if state else "", "$text-success"),
    )
    lines = [head, Content(inert(finding.message)), Content("")]
    widest = max(len(_source(one.source, one.rule)) for one in finding.evidence)
    for one in finding.evidence:
        filled = round(one.confidence * _BAR)
        bar = Content.assemble(("━" * filled, "$text-primary"), ("─" * (_BAR - filled), "$text-disabled"))
        words = inert(one.message).replace("\n", " ") if one.message != finding.message else ""
        name = _source(one.source, one.rule).ljust(widest)
        lines.append(Content.assemble(f"{name}  ", bar, f" {one.confidence:4.0%}  ", (words, "$text-muted")))
    if finding.fix is not None:
        words = f"({inert(finding.fix.source)}) {inert(finding.fix.description)}"
        lines += [Content(""), Content.assemble(("Fix ", "bold"), words)]
        for edit in finding.fix.edits:
            lines += edit_lines(edit, change)
    return Content("\n").join(lines)


def edit_lines(edit: "Edit", change: "FileChange | None") -> list[Content]:
    """The lines that go and those that come."""
    old = change.lines[edit.first - 1 : edit.last] if change is not None else ()
    shown = [Content(f"− {inert(line)}").stylize("$text-error") for line in old[:_MOST_FIX_LINES]]
    shown += [Content(f"+ {inert(line)}").stylize("$text-success") for line in edit.lines[:_MOST_FIX_LINES]]
    if len(old) > _MOST_FIX_LINES or len(edit.lines) > _MOST_FIX_LINES:
        shown.append(Content("  …"))
    return shown


def _source(source: str, rule: str) -> str:
    return inert(f"{source}/{rule}")
