"""What is to be reviewed, and how."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assistant.errors import HoneError

Source = Literal["working tree", "staged", "base", "commit", "diff", "whole"]
"""`working tree`: everything that differs from HEAD, new untracked source files too. `staged`: the index against HEAD.
`base`: the working tree against the commit where HEAD's history left `revision`. `commit`: what one commit did; a
merge, only what it wrote itself. `diff`: a unified diff. `whole`: every line of `paths` as it is."""

Progress = Callable[[str, int, int], None]
"""Called with what is done now, how many of it are done and how many there are."""


class CancelledError(HoneError):
    """The caller cancelled the review."""

    exit_code = 130


@dataclass(frozen=True)
class Request:
    """One review.

    Raises:
        HoneError: what is asked contradicts itself.
    """

    root: Path
    """Any folder of the repository; with `diff` it may be outside of one."""
    source: Source = "working tree"
    revision: str | None = None
    """For `base` and `commit`."""
    diff: bytes | None = None
    """For `diff`."""
    paths: tuple[str, ...] = ()
    """Files or folders, relative to `root`; only they are reviewed. Empty means all."""
    explain: bool = True
    """Have the model write a message and a fix for the lines that it finds wrong."""
    samples: int = 1
    """Explanations asked for each of those lines; of several, the majority decides, also that nothing is wrong."""
    minimum_confidence: float | None = None
    """Findings below it are left out, and the model calls a line wrong from this probability on, be it below the one
    stored with the reviewer. None: what the configuration says; else the stored one, and all that the analyzers
    find."""
    baseline: Path | None = None
    """Findings in it are left out; see `baseline`."""
    run_repository_analyzers: bool = False
    """Run the commands that the repository's own hone.toml names. Without it only those of the user's configuration
    run: a cloned repository must not start programs."""

    def __post_init__(self) -> None:
        if (self.revision is None) == (self.source in ("base", "commit")):
            raise HoneError(f"a review of {self.source} {'needs' if self.revision is None else 'takes no'} revision")
        if (self.diff is None) == (self.source == "diff"):
            raise HoneError(f"a review of {self.source} {'needs' if self.diff is None else 'takes no'} diff text")
        if self.source == "whole" and not self.paths:
            raise HoneError("name the files or folders whose every line is to be reviewed")
        if not 1 <= self.samples <= 32:
            raise HoneError(f"samples must be 1 to 32, not {self.samples}")
        if self.samples > 1 and not self.explain:
            raise HoneError("several samples are several explanations: ask for explanations, or for one sample")
        if self.minimum_confidence is not None and not 0 <= self.minimum_confidence <= 1:
            raise HoneError(f"the minimum confidence must be 0 to 1, not {self.minimum_confidence:g}")
