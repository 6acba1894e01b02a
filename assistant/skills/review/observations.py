"""What one source says of one place, before findings are made of it."""

from dataclasses import dataclass

from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import Category, Evidence, Severity

LONG_REGION = 10
"""Lines: an analyzer's region above it is a whole function or class, which only its first line stands for."""
CONFIDENCE: dict[Severity, float] = {"error": 0.95, "warning": 0.8, "note": 0.5}
"""Of an analyzer's rule by its severity, where the tool states none: a convention, no measurement."""


@dataclass(frozen=True)
class TextEdit:
    """Text from one position up to another one becomes `text`. Lines and columns from 1, columns in characters; the end
    is not part of it."""

    first: int
    first_column: int
    last: int
    last_column: int
    text: str


@dataclass(frozen=True)
class Suggestion:
    """A change that a source suggests, not checked yet."""

    description: str
    edits: tuple[TextEdit, ...]


@dataclass(frozen=True)
class Observation:
    """A claim about lines `first` to `last` (from 1, inclusive) of the new content."""

    path: str
    first: int
    last: int
    severity: Severity
    category: Category
    evidence: Evidence
    suggestion: Suggestion | None = None


def on_changed_lines(change: FileChange, observation: Observation) -> bool:
    """Whether a claim is about a line that the change added."""
    last = observation.last if observation.last - observation.first < LONG_REGION else observation.first
    return not change.added.isdisjoint(range(observation.first, last + 1))
