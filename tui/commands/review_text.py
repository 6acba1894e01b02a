"""A review as text for people: each finding with the code it is about."""

import sys
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from assistant.skills.review.findings import Finding, Fix, Review
from tui.inert import inert

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_SHOWN_SKIPS = 5
_EXPECTED = ("deleted", "not source code")
"""Reasons to skip a file that surprise nobody; --json lists those files too."""


def write(review: Review) -> None:
    """Findings and the summary on standard output, notes on standard error."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for finding in review.findings:
        for line in _lines(finding):
            console.print(line)
        console.print()
    console.print(Text(summary(review)))
    write_notes(review)


def write_notes(review: Review) -> None:
    for note in [*review.notes, *_skips(review)]:
        sys.stderr.write(f"note: {inert(note)}\n")


def summary(review: Review) -> str:
    """One line."""
    left_out = [
        f"{count} {what}"
        for count, what in (
            (review.accepted, "accepted by the baseline"),
            (review.suppressed, "silenced by a comment"),
            (review.unsure, "below the minimum confidence"),
        )
        if count
    ]
    rest = f" ({', '.join(left_out)})" if left_out else ""
    if not review.files:
        return "There is nothing to review: no source file has changed." + rest
    where = f"{_counted(review.lines, 'changed line')} of {_counted(len(review.files), 'file')}"
    if not review.findings:
        return f"Nothing found in {where}{rest}."
    kinds = [(kind, sum(one.severity == kind for one in review.findings)) for kind in _STYLES]
    counts = ", ".join(_counted(count, kind) for kind, count in kinds if count)
    fixes = sum(one.fix is not None for one in review.findings)
    fixed = f"; {_counted(fixes, 'fix', 'fixes')} suggested" if fixes else ""
    return f"{_counted(len(review.findings), 'finding')} ({counts}) in {where}{rest}{fixed}."


def _lines(finding: Finding) -> Iterator[Text]:
    where = f"{finding.path}:{finding.line}" + (f"-{finding.last}" if finding.last > finding.line else "")
    head = Text.assemble((inert(where), "bold"), " ", (finding.severity, _STYLES[finding.severity]), " ")
    head.append(f"{inert(finding.rule)} ({finding.confidence:.0%})", "dim")
    yield head
    for line in inert(finding.message).split("\n"):
        yield Text("  " + line)
    width = len(str(finding.last))
    for number, line in enumerate(finding.code, finding.line):
        yield Text.assemble((f"  {number:>{width}} | ", "dim"), _one_line(line))
    if finding.last - finding.line >= len(finding.code):
        yield Text(f"  {'':>{width}} | ...", "dim")
    for other in finding.evidence[1:]:
        said = f"  also {other.source}/{other.rule} ({other.confidence:.0%}): {other.message}"
        yield Text(_one_line(said), "dim")
    if finding.fix is not None:
        yield from _fix(finding.fix)


def _fix(fix: Fix) -> Iterator[Text]:
    yield Text(f"  fix by {inert(fix.source)}: {_one_line(fix.description)}", "dim")
    in_hunk = False
    for line in fix.patch.split("\n"):
        in_hunk = in_hunk or line.startswith("@@")
        if in_hunk and line[:1] in ("+", "-"):
            yield Text("    " + _one_line(line), "green" if line[0] == "+" else "red")


def _skips(review: Review) -> list[str]:
    told = [f"{one.path} was not reviewed: {one.reason}" for one in review.skipped if one.reason not in _EXPECTED]
    if len(told) <= _SHOWN_SKIPS:
        return told
    return [*told[:_SHOWN_SKIPS], f"{len(told) - _SHOWN_SKIPS} more files were not reviewed; --json lists them"]


def _one_line(text: str) -> str:
    return inert(text).replace("\n", " ")


def _counted(number: int, what: str, several: str | None = None) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {several or what + 's'}"
