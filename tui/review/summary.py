"""The status line of a finished review."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from tui.fields import Field
from tui.inert import inert

if TYPE_CHECKING:
    from assistant.skills.review.findings import Finding, Review


def summary(review: "Review", findings: "Sequence[Finding]", states: Mapping[str, str]) -> list[Field]:
    """What is left to do first, then what was looked at."""
    left = [one for one in findings if not states.get(one.id)]
    counts = [(name, sum(one.severity == name for one in left)) for name in ("error", "warning", "note")]
    found = ", ".join(counted(count, name) for name, count in counts if count)
    nothing = "✓ nothing left" if findings else "✓ nothing found"
    fields: list[Field] = [(0, Content(found) if found else Content(nothing).stylize("$text-success"))]
    fields.append((2, Content(f"{counted(len(review.files), 'file')}, {counted(review.lines, 'line')}")))
    fields.append((4, Content(inert(", ".join([*review.tools, *filter(None, [review.model])])))))
    for count, where in (
        (review.accepted, "in the baseline"),
        (review.suppressed, "silenced by a comment"),
        (review.unsure, "below the minimum confidence"),
    ):
        if count:
            fields.append((5, Content(f"{count} {where}")))
    if review.skipped:
        fields.append((3, Content(f"{counted(len(review.skipped), 'file')} skipped").stylize("$text-warning")))
    fields += [(6, Content(inert(note)).stylize("$text-muted")) for note in review.notes]
    return fields


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
