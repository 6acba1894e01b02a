"""Splits Markdown that is still being written into prose and fenced code, so that each is drawn by what suits it.

Lines only ever go to the last block, so everything before it is final. Long prose is split at places where that does
not show (between paragraphs or list items): what is redrawn while text streams in stays small.
"""

import re
from dataclasses import dataclass, field

_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)$")
_MAYBE_FENCE = re.compile(r"^[ \t]*(`{0,2}|~{0,2}|`{3}.*|~{3}.*)$")
_LIST_ITEM = re.compile(r"^(?:[-*+]|\d{1,9}[.)])[ \t]")
_PROSE_LINES = 24


@dataclass
class Prose:
    text: str = ""
    lines: int = 0


@dataclass
class Code:
    language: str
    text: str = ""
    closed: bool = False


@dataclass
class Splitter:
    """Feed it text as it comes; `blocks` grows, and only its last block changes."""

    blocks: list[Prose | Code] = field(default_factory=list)
    _held: str = ""
    """The beginning of a line that may still turn out to be a fence."""
    _line: str = ""
    """The line under way, as far as it is already in the last block."""
    _mark: str = ""
    """The fence that is open, as it was written."""
    _indent: str = ""
    _blank: bool = False
    """The line before was empty."""

    def feed(self, text: str) -> None:
        start = 0
        while (end := text.find("\n", start)) >= 0:
            self._piece(text[start : end + 1])
            start = end + 1
        if start < len(text):
            self._piece(text[start:])

    def finish(self) -> None:
        """The text has ended: what was held back is shown as it is, and an open fence is closed."""
        if self._held:
            self._settle(self._held)
        if self.blocks and isinstance(last := self.blocks[-1], Code):
            last.closed = True

    def _piece(self, piece: str) -> None:
        """A part of one line, with its newline when the line is complete."""
        held = self._held + piece
        if self._line:
            self._emit(piece)
        elif held.endswith("\n"):
            self._settle(held)
        elif self._mark or _MAYBE_FENCE.match(held):
            # A partial line of code can be the closing fence or still lack its indentation: code comes by whole lines.
            self._held = held
        else:
            self._settle(held)

    def _settle(self, text: str) -> None:
        self._held = ""
        fence = _FENCE.match(text.rstrip("\n"))
        if self._mark:
            if fence and fence["mark"].startswith(self._mark) and not fence["info"].strip():
                self._close_fence()
                return
            text = text.removeprefix(self._indent) if text.strip() else text.lstrip(" \t")
        elif fence:
            self._mark, self._indent = fence["mark"], fence["indent"]
            info = fence["info"].split()
            self.blocks.append(Code(info[0].strip("{}.").lower() if info else ""))
            return
        self._emit(text)

    def _close_fence(self) -> None:
        self._mark = self._indent = ""
        if isinstance(last := self.blocks[-1], Code):
            last.closed = True

    def _emit(self, text: str) -> None:
        last = self.blocks[-1] if self.blocks else None
        if self._mark and isinstance(last, Code):
            last.text += text
            return
        if not isinstance(last, Prose) or (not self._line and self._may_split(last, text)):
            if not text.strip():
                self._blank = True
                return
            last = Prose()
            self.blocks.append(last)
        last.text += text
        if text.endswith("\n"):
            self._blank = not (self._line + text).strip()
            self._line = ""
            last.lines += 1
        else:
            self._line += text

    def _may_split(self, prose: Prose, text: str) -> bool:
        if prose.lines < _PROSE_LINES:
            return False
        return bool(_LIST_ITEM.match(text)) or (self._blank and not text[:1].isspace())


def split(text: str) -> list[Prose | Code]:
    """The blocks of a finished text."""
    splitter = Splitter()
    splitter.feed(text)
    splitter.finish()
    return splitter.blocks


def code_of(text: str) -> list[str]:
    """The contents of the fenced blocks of an answer, in order, without the fences."""
    return [block.text for block in split(text) if isinstance(block, Code) and block.text.strip()]
