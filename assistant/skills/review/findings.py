"""What a review found, each problem once, with everything that speaks for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
"""From the least to the gravest."""

Category = Literal["syntax", "correctness", "security", "review"]
"""`review` is about the review itself: a suppression without a reason."""

MODEL = "model"
"""The source of the model's evidence."""
MODEL_RULE = "wrong-line"


@dataclass(frozen=True)
class Evidence:
    """One reason to believe in a finding."""

    source: str
    """The tool's name; `model` for the model."""
    rule: str
    """As the tool names it."""
    message: str
    """One line or several, as the source wrote it: untrusted text."""
    confidence: float
    """Between 0 and 1. Of the model: its calibrated probability. Of an analyzer: set by the severity of its rule (or by
    the precision that the tool states); a convention, no measurement."""
    url: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON-ready: `probability`, `logit`, `votes`, `bug_class` of the model; `column` and `last_column` (from 1, in
    characters) of an analyzer."""


@dataclass(frozen=True)
class Mark:
    """What a finding is known by, wherever its line moves; see `baseline`."""

    rule: str
    path: str
    line: str
    """Digest of the line without its blanks."""
    around: str
    """Digest of the line with those beside it; tells equal lines apart."""


@dataclass(frozen=True)
class Edit:
    """Lines `first` to `last` of the reviewed file (from 1, inclusive) become `lines` (without line ends).

    `last` = `first` - 1 inserts before line `first`.
    """

    first: int
    last: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Fix:
    """A change that was checked: the file still parses with it, and `git apply` takes the patch."""

    source: str
    """Whose suggestion it is."""
    description: str
    patch: str
    """A unified diff in git's form for the file as it was reviewed. Bytes that are not UTF-8 never reach a review, so
    it is encoded as UTF-8."""
    edits: tuple[Edit, ...]
    """The same change by lines, in the order of the file, without overlaps."""


@dataclass(frozen=True)
class Finding:
    """One problem at one place of the new content of a file."""

    id: str
    """Unique in a review, and the same in the next one while the line and what surrounds it stay, wherever they move in
    the file."""
    mark: Mark
    path: str
    """From the repository's root, with `/`."""
    line: int
    last: int
    """Both from 1, inclusive."""
    severity: Severity
    category: Category
    rule: str
    """`SOURCE/RULE` of the strongest evidence."""
    message: str
    """Untrusted text: it may hold markup and control characters."""
    confidence: float
    """The highest of the evidence's."""
    evidence: tuple[Evidence, ...]
    """The strongest first; each source once."""
    code: tuple[str, ...]
    """The lines `line` to `last`, at most ten of them. Untrusted text."""
    fix: Fix | None = None


@dataclass(frozen=True)
class Skipped:
    """A changed file that was not reviewed."""

    path: str
    reason: str


@dataclass(frozen=True)
class Review:
    """The outcome. Findings are ordered by path and line."""

    findings: tuple[Finding, ...]
    files: tuple[str, ...]
    """Paths that were reviewed."""
    lines: int
    """Changed lines that were reviewed."""
    hunks: int
    """Parts that the model was asked about; 0 without a reviewer."""
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    """What the user should know: no reviewer, an analyzer that is not installed ..."""
    model: str | None
    """Immutable name of the model whose evidence was used."""
    tools: tuple[str, ...]
    """Analyzers that ran."""
    accepted: int
    """Findings that the baseline knows."""
    suppressed: int
    """Findings that a `hone: ignore` comment with a reason silenced."""
    unsure: int
    """Findings below the minimum confidence."""
    seconds: float

    @property
    def worst(self) -> Severity | None:
        return max((one.severity for one in self.findings), key=SEVERITIES.index, default=None)
