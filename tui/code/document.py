"""The editor's document: lines split so that joining them gives the file back, sizes and syntax tree kept up as it
changes, so that a keystroke costs the same in a long file as in a short one.

Textual's own documents split at every character that Python calls a line break (a form feed too), and measure and query
the whole text after every edit.
"""

import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from textual._cells import cell_len
from textual.document._document import Document, EditResult, Location, Newline
from textual.expand_tabs import expand_tabs_inline
from textual.geometry import Size

from tui.code.grammars import Grammar
from tui.inert import inert_in_place

if TYPE_CHECKING:
    from tree_sitter import Node

_BREAKS = re.compile(r"\r\n|\r|\n")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LONG_PARSE = 0.015
"""Seconds of one parse, from which on the next ones wait."""
_PIECE_LINES = 256
Span = tuple[int, int, str]
"""First column, column after the last, and the capture's name."""


def newline_of(text: str) -> Newline:
    """The line end that splits `text` so that no other `\\n` is left in a line."""
    if "\n" not in text:
        return "\r" if "\r" in text else "\n"
    return "\r\n" if text.count("\r\n") == text.count("\n") else "\n"


class SourceDocument(Document):
    """With a grammar it knows its syntax tree; columns are counted in characters everywhere.

    Text is split at the document's own line end only, so what is put in goes through `fitting` unless it came out of
    such a document: other line ends in a mixed file are characters of its lines.
    """

    def __init__(self, text: str, grammar: Grammar | None = None, tab_width: int = 4) -> None:
        # The base class's own would split at form feeds.
        self._newline: Newline = newline_of(text)
        self._lines: list[str] = text.split(self._newline)
        self._tab_width = tab_width
        self._widths = [self._width(line) for line in self._lines]
        self.grammar = grammar
        self._sizes: list[int] = []
        self.is_stale = False
        """The syntax tree is of an older text, though its places were moved; see `parse`."""
        if grammar is not None:
            from tree_sitter import Parser

            self._sizes = [len(line) if line.isascii() else len(line.encode()) for line in self._lines]
            self._parse_seconds = 0.0
            self._parser = Parser(grammar.language)
            self._tree = self._parser.parse(text.encode())

    def get_size(self, tab_width: int) -> Size:
        return Size(max(self.widths(tab_width)), len(self._lines))

    def widths(self, tab_width: int) -> Sequence[int]:
        """Cells of each line."""
        if tab_width != self._tab_width:
            self._tab_width = tab_width
            self._widths = [self._width(line) for line in self._lines]
        return self._widths

    def replace_range(self, start: Location, end: Location, text: str) -> EditResult:
        top_left, bottom_right = (min(location, self.end) for location in sorted((start, end)))
        (top, left), (bottom, right) = top_left, bottom_right
        replaced = self.get_text_range(top_left, bottom_right)
        lines = self._lines
        fresh = text.split(self._newline)
        column = len(fresh[-1]) + (left if len(fresh) == 1 else 0)
        fresh[-1] += lines[bottom][right:]
        fresh[0] = lines[top][:left] + fresh[0]
        before = self._points(top_left, bottom_right) if self.grammar is not None else ()
        last = top + len(fresh) - 1
        lines[top : bottom + 1] = fresh
        self._widths[top : bottom + 1] = [self._width(line) for line in fresh]
        if self.grammar is not None:
            self._sizes[top : bottom + 1] = [len(line.encode()) for line in fresh]
            (after,) = self._points((last, column))
            self._reparse(before[0], before[1], after)
        return EditResult((last, column), replaced)

    def fitting(self, text: str) -> str:
        """Text from elsewhere with this document's line ends, and without what no file can hold."""
        return _BREAKS.sub(self._newline, _SURROGATES.sub("\ufffd", text))

    def adopt(self, newline: Newline) -> None:
        """Ends all lines by another line end from now on."""
        self._newline = newline
        if self.grammar is not None:
            self._tree = self._parser.parse(self.text.encode())

    def offset_of(self, location: Location) -> int:
        """Characters of the text before a location."""
        row, column = location
        return sum(map(len, self._lines[:row])) + row * len(self._newline) + column

    def location_of(self, offset: int) -> Location:
        """The inverse of `offset_of`; between the two characters of a line end it is the next line's beginning."""
        step = len(self._newline)
        for row, line in enumerate(self._lines):
            if offset <= len(line):
                return row, max(offset, 0)
            offset -= len(line) + step
        return len(self._lines) - 1, len(self._lines[-1])

    def spans(self, first: int, last: int) -> dict[int, list[Span]]:
        """What the highlight query finds on the rows `first` to `last`, outer things before what is in them."""
        rows: dict[int, list[Span]] = {row: [] for row in range(first, min(last, len(self._lines) - 1) + 1)}
        if self.grammar is None or not rows:
            return rows
        last = max(rows)
        for name, node in self._captures(first, last):
            (top, left), (bottom, right) = node.start_point, node.end_point
            for row in range(max(top, first), min(bottom, last) + 1):
                start = self._column(row, left) if row == top else 0
                end = self._column(row, right) if row == bottom else len(self._lines[row])
                if start < end:
                    rows[row].append((start, end, name))
        return rows

    def _captures(self, first: int, last: int) -> "Iterator[tuple[str, Node]]":
        from tree_sitter import QueryCursor

        assert self.grammar is not None
        cursor = QueryCursor(self.grammar.query)
        cursor.set_point_range((first, 0), (last + 1, 0))
        found = [
            (node.start_byte, -node.end_byte, name.count("."), pattern, name, node)
            for pattern, captures in cursor.matches(self._tree.root_node)
            for name, nodes in captures.items()
            for node in nodes
        ]
        # Of two names for one thing the more particular counts, then the later pattern.
        found.sort(key=lambda one: one[:4])
        for *_, name, node in found:
            yield name, node

    def _width(self, line: str) -> int:
        return len(line) if plain(line) else cell_len(expand_tabs_inline(inert_in_place(line), self._tab_width))

    def _column(self, row: int, byte: int) -> int:
        line = self._lines[row]
        if self._sizes[row] == len(line):
            return byte
        return len(line.encode()[:byte].decode("utf-8", "ignore"))

    def _points(self, *locations: Location) -> tuple[tuple[int, tuple[int, int]], ...]:
        """Tree-sitter's byte offset and point of each location."""
        step = len(self._newline)
        found = []
        for row, column in locations:
            before = len(self._lines[row][:column].encode())
            found.append((sum(self._sizes[:row]) + row * step + before, (row, before)))
        return tuple(found)

    def _reparse(
        self,
        start: tuple[int, tuple[int, int]],
        old_end: tuple[int, tuple[int, int]],
        new_end: tuple[int, tuple[int, int]],
    ) -> None:
        self._tree.edit(start[0], old_end[0], new_end[0], start[1], old_end[1], new_end[1])
        self.is_stale = self._parse_seconds > _LONG_PARSE
        if not self.is_stale:
            self.parse()

    def parse(self) -> None:
        """Brings the syntax tree up to date, which an edit that broke a long file leaves to a moment without keys."""
        began = time.monotonic()
        self._tree = self._parser.parse(self._piece, self._tree)
        self._parse_seconds = time.monotonic() - began
        self.is_stale = False

    def _piece(self, byte: int, point: tuple[int, int]) -> bytes:
        """What the parser reads next: the rest of a line and some more."""
        row, column = point
        end = row + _PIECE_LINES
        piece = self._newline.join(self._lines[row:end]) + (self._newline if end < len(self._lines) else "")
        return piece.encode()[column:]


def plain(line: str) -> bool:
    """Every character takes one cell."""
    return line.isascii() and "\t" not in line
