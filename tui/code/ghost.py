"""Ghost text: what the model would write at the cursor, drawn but not in the document."""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from assistant.skills.ghost import Shown

How = Literal["whole", "line", "word"]
_PARTS: dict[How, re.Pattern[str]] = {
    "whole": re.compile(r"(?s).+"),
    "line": re.compile(r"\n?[^\n]*"),
    "word": re.compile(r"\s*(\w+|[^\w\s]+)|\s+"),
}


@dataclass(frozen=True)
class GhostText:
    shown: "Shown"
    text: str
    """What is left of the suggestion; never empty."""
    row: int
    column: int

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    def drawn_in(self, line: str) -> list[str]:
        """The lines that are drawn for the one in the document."""
        first, *more = self.lines
        drawn = [line[: self.column] + first, *more]
        drawn[-1] += line[self.column :]
        return drawn

    def column_at(self, line: int, index: int) -> int:
        """The document's column at a character of one of the lines `drawn_in` it."""
        start = self.column if line == 0 else 0
        if index <= start:
            return index if line == 0 else self.column
        behind = index - start - len(self.lines[line])
        return self.column + (max(0, behind) if line == len(self.lines) - 1 else 0)

    def part(self, how: How) -> str:
        """What accepting the whole, the next line or the next word would insert."""
        found = _PARTS[how].match(self.text)
        return found[0] if found and found[0] else self.text

    def behind(self, typed: str, row: int, column: int) -> "GhostText | None":
        """The rest after `typed` was typed, with the cursor now there; None when it was something else or all."""
        if not self.text.startswith(typed) or len(typed) == len(self.text):
            return None
        return replace(self, text=self.text[len(typed) :], row=row, column=column)
