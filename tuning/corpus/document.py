"""What a corpus is made of: documents that were taken, and what was left out with the reason."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "taken",
    "not source",
    "vendored",
    "generated",
    "minified",
    "binary",
    "lfs",
    "too long",
    "too short",
    "empty",
    "not UTF-8",
    "unreadable",
    "wrong language",
    "unknown licence",
    "excluded licence",
    "duplicate",
    "near duplicate",
    "too surprising",
    "contaminated",
]


@dataclass(frozen=True)
class Turn:
    role: str
    """`system`, `user` or `assistant`; `prompt` or `completion` for records of that form."""
    content: str


@dataclass(frozen=True)
class Document:
    source: int
    """Index into the sources."""
    path: str
    """From the root of its repository, `/` separated; `FILE.jsonl:LINE` from 1, `DATASET:ROW` from 0."""
    text: str
    """UTF-8, line ends as `\\n`; for records with turns, their contents joined by `\\n`."""
    language: str
    """As in `assistant.languages`; `text` for records without one."""
    licence: str | None
    """An SPDX expression, None where unknown."""
    sha256: str
    """Of the raw bytes."""
    bytes: int
    committed: int | None = None
    """Unix time of the last commit that touched the file; None outside git or where it was not asked for."""
    turns: tuple[Turn, ...] = ()
    """Not empty for records of the forms prompt/completion and messages."""

    @property
    def key(self) -> str:
        """Identity across the corpus."""
        return f"{self.source}/{self.path}"


@dataclass(frozen=True)
class Dropped:
    source: int
    path: str
    verdict: Verdict
    reason: str
    """For people, such as `near duplicate of src/a.py (0.91)`."""
