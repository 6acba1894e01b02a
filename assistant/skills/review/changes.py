"""The changes under review: of each file its whole new content and which lines of it are new."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from assistant.skills.review.findings import Skipped


@dataclass(frozen=True)
class FileChange:
    """One changed file."""

    path: str
    """From the repository's root, with `/`; never absolute and never with `..`."""
    data: bytes
    """The new content as it is under review (the index's for staged changes, the commit's for a commit)."""
    added: frozenset[int]
    """Numbers of new lines, from 1."""
    removed: Mapping[int, tuple[str, ...]]
    """Old lines, by the number of the new line that follows them (one more than the file has, at its end)."""
    old_path: str | None = None
    """Where the file was renamed or copied."""
    is_new: bool = False
    is_whole: bool = True
    """False where only the lines that a diff shows are known and the others are blank: no analyzer can read that."""

    @cached_property
    def text(self) -> str:
        """The new content with `\\n` line ends, without a byte-order mark."""
        return self.data.decode("utf-8-sig").replace("\r\n", "\n")

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Without line ends. Only `\\n` and `\\r\\n` end a line, as in git."""
        lines = self.text.split("\n")
        return tuple(lines[:-1] if lines[-1] == "" else lines)

    @cached_property
    def old_text(self) -> str:
        """The content before, with `\\n` line ends."""
        lines: list[str] = []
        for number in range(1, len(self.lines) + 2):
            lines += self.removed.get(number, ())
            if number <= len(self.lines) and number not in self.added:
                lines.append(self.lines[number - 1])
        return "".join(line + "\n" for line in lines)


@dataclass(frozen=True)
class Changes:
    """Everything that was asked about."""

    files: tuple[FileChange, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()
