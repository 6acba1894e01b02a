"""How the editor looks: lines in the colours of their syntax, ghost text between them, drawn in view only."""

import itertools
import re
from collections.abc import Iterable
from typing import ClassVar

from rich.style import Style
from textual import events
from textual._cells import cell_width_to_column_index
from textual.document._document import Location
from textual.document._document_navigator import DocumentNavigator
from textual.geometry import Offset, Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.timer import Timer
from textual.widgets import TextArea

from tui.code import drawing
from tui.code.document import SourceDocument
from tui.code.ghost import GhostText
from tui.code.grammars import Grammar, grammar, grammar_name
from tui.code.layout import SourceLayout, breaks
from tui.inert import inert_in_place

MOST_COLOURED = 3_000_000
"""Characters; parsing more takes too long."""
_BEYOND_END = 10
"""Rows that the view scrolls past the last line: room for ghost text."""
_LONG_LINE = 2_000
_MOST_SEARCHED = 2_000
"""Lines that are looked through for the other bracket."""
_PARSE_SECONDS = 0.2
"""From the last key until a long text that takes long to parse is parsed."""
_PAIRS = {"(": ")", "[": "]", "{": "}", ")": "(", "]": "[", "}": "{"}


class Canvas(TextArea):
    """A TextArea whose cost for a key does not grow with the text."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*(f"syntax--{name}" for name in drawing.CLASSES), "editor--match"}

    def __init__(self, text: str, path: str, soft_wrap: bool = False) -> None:
        name = grammar_name(path)
        self.grammar: Grammar | None = grammar(name) if name and len(text) <= MOST_COLOURED else None
        self.uncoloured = bool(name) and len(text) > MOST_COLOURED
        self._pattern: re.Pattern[str] | None = None
        self._ghost: GhostText | None = None
        self._ghost_laid: tuple[GhostText, int, list[tuple[int, int, int]]] | None = None
        self._parse_timer: Timer | None = None
        self._palette: dict[str, Style] = {}
        self._spans: dict[int, list[tuple[int, int, str]]] = {}
        super().__init__(text, show_line_numbers=True, soft_wrap=soft_wrap, tab_behavior="focus", compact=True)
        self.cursor_blink = False

    @property
    def source(self) -> SourceDocument:
        assert isinstance(self.document, SourceDocument)
        return self.document

    @property
    def rows(self) -> SourceLayout:
        assert isinstance(self.wrapped_document, SourceLayout)
        return self.wrapped_document

    def wrap_lines(self, wrapped: bool) -> None:
        """Whether lines go on in the next row of the view, or beyond its edge."""
        self.scroll_to(x=0, animate=False)
        self.soft_wrap = wrapped

    def center_cursor(self) -> None:
        """Scrolls so that the cursor's row is in the middle, and sideways only as far as it must."""
        self.scroll_to(x=0, animate=False)
        self.scroll_cursor_visible()
        row = self.rows.location_to_offset(self.cursor_location).y
        self.scroll_to(y=max(0, row - self.size.height // 2), animate=False)

    def mark(self, pattern: re.Pattern[str] | None) -> None:
        """Marks all matches, or none."""
        self._pattern = pattern
        self.refresh()

    # What the base class does with the whole text

    def _set_document(self, text: str, language: str | None) -> None:
        self.document = SourceDocument(text, self.grammar, self.indent_width)
        self.wrapped_document = SourceLayout(self.document, self.indent_width)
        self.navigator = DocumentNavigator(self.wrapped_document)
        self._build_highlight_map()
        self.move_cursor((0, 0))
        self._rewrap_and_refresh_virtual_size()

    def _build_highlight_map(self) -> None:
        self._spans.clear()
        if self._parse_timer is not None:
            self._parse_timer.stop()
        self._parse_timer = self.set_timer(_PARSE_SECONDS, self._parse) if self.source.is_stale else None

    def _parse(self) -> None:
        self._parse_timer = None
        self.source.parse()
        self._spans.clear()
        self.refresh()

    def find_matching_bracket(self, bracket: str, search_from: Location) -> Location | None:
        """The other bracket of a pair, counting only brackets of its kind; None when it is too far away."""
        if bracket not in _PAIRS:
            return None
        forwards = bracket in "([{"
        row, column = search_from
        either = re.compile(f"[{re.escape(bracket + _PAIRS[bracket])}]")
        end = min(self.document.line_count, row + _MOST_SEARCHED) if forwards else max(-1, row - _MOST_SEARCHED)
        depth = 0
        for at in range(row, end, 1 if forwards else -1):
            line = self.source.get_line(at)
            places = [found.start() for found in either.finditer(line)]
            for place in places if forwards else reversed(places):
                if at == row and (place < column if forwards else place > column):
                    continue
                depth += 1 if line[place] == bracket else -1
                if depth == 0:
                    return at, place
        return None

    def _refresh_size(self) -> None:
        if self.soft_wrap:
            self.virtual_size = Size(0, self.rows.height + _BEYOND_END)
            self._refresh_scrollbars()
            return
        width, height = self.document.get_size(self.indent_width)
        width += self.gutter_width + 1
        if width > self.size.width:
            width = -(-width // 32) * 32  # a new width lays the screen out again: not at every key
        self.virtual_size = Size(width, height + _BEYOND_END)
        self._refresh_scrollbars()

    # Drawing

    def render_lines(self, crop: Region) -> list[Strip]:
        if not self._palette:
            self._palette = self._styles_of_theme()
        top = self.scroll_offset.y
        first, _ = self.rows.line_at(max(0, top - _BEYOND_END))
        last, _ = self.rows.line_at(top + self.size.height)
        wanted = range(first, min(last + 1, self.document.line_count))
        if any(row not in self._spans for row in wanted):
            self._spans = self.source.spans(wanted.start, wanted.stop)
        return ScrollView.render_lines(self, crop)

    def notify_style_update(self) -> None:
        self._palette = {}
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        palette = self._palette
        left, top = self.scroll_offset
        row, part = self._row_at(top + y)
        width = self.size.width
        base = palette["base"]
        if row >= self.document.line_count:
            return Strip.blank(width, base)
        gutter_width = self.gutter_width
        current = row == self.cursor_location[0] and self._has_cursor
        under = palette["cursor-line"] if current else base
        number = f"{row + 1 if part == 0 else '':>{gutter_width - 2}}  "
        gutter = drawing.strip(
            [(number, palette["cursor-gutter" if current and part == 0 else "gutter"])], 0, gutter_width, 1, base
        )
        pieces, offset = self._pieces(row, part, under, left, width)
        text = drawing.strip(pieces, left - offset, width - gutter_width, self.indent_width, under)
        return Strip.join([gutter, text])

    def _row_at(self, y: int) -> tuple[int, int]:
        """The document's line at a row of the view, and which of the line's rows it is."""
        at = self._without_ghost(y)
        if at is not None:
            return self.rows.line_at(at)
        assert self._ghost is not None
        return self._ghost.row, y - self.rows.top(self._ghost.row)

    def _without_ghost(self, y: int) -> int | None:
        """Where a row of the view would be without ghost text; None for the rows of the line that has it."""
        ghost = self._ghost
        if ghost is None or y < self.rows.top(ghost.row):
            return y
        below = y - self.rows.top(ghost.row) - len(self._ghost_rows(ghost))
        return None if below < 0 else self.rows.top(ghost.row + 1) + below

    def _ghost_rows(self, ghost: GhostText) -> list[tuple[int, int, int]]:
        """The rows of the line with ghost text: which of the drawn lines, and its columns at their begin and end."""
        width = self.rows.width
        if self._ghost_laid is None or self._ghost_laid[0] is not ghost or self._ghost_laid[1] != width:
            found: list[tuple[int, int, int]] = []
            for number, text in enumerate(ghost.drawn_in(self.source.get_line(ghost.row))):
                edges = [0, *(breaks(text, width, self.indent_width) if width else ()), len(text)]
                found += [(number, start, end) for start, end in itertools.pairwise(edges)]
            self._ghost_laid = ghost, width, found
        return self._ghost_laid[2]

    def _pieces(self, row: int, part: int, base: Style, left: int, width: int) -> tuple[list[drawing.Piece], int]:
        """A row of the view, and how many of its cells were left out at the left."""
        line = self.source.get_line(row)
        ghost = self._ghost
        if ghost is not None and ghost.row == row:
            return self._ghost_pieces(ghost, line, part, base), 0
        if self.rows.width:
            start, end = self.rows.section(row, part)
            # The blank behind a row is the cursor's only where the line ends.
            return self._cut(self._styled(row, start, end, base), 0, end - start + (end == len(line))), 0
        if len(line) > _LONG_LINE and line.isascii() and "\t" not in line:
            return self._styled(row, left, left + width, base), left
        return self._styled(row, 0, len(line), base), 0

    def _ghost_pieces(self, ghost: GhostText, line: str, part: int, base: Style) -> list[drawing.Piece]:
        rows = self._ghost_rows(ghost)
        number, start, end = rows[part]
        found = self._cut(self._styled(ghost.row, 0, len(line), base), 0, ghost.column) if number == 0 else []
        style = base + self._palette["suggestion"]
        written = drawing.pieces(ghost.lines[number], style, (), ())
        written = self._cut(written, 0, len(ghost.lines[number]))
        if number == 0 and self.has_focus and written:
            first, rest = written[0][0][:1], written[0][0][1:]
            written = [(first, style + self._palette["cursor"]), (rest, style), *written[1:]]
        found += written
        if number == len(ghost.lines) - 1:
            found += self._cut(self._styled(ghost.row, 0, len(line), base, cursor=False), ghost.column, len(line) + 1)
        goes_on = part + 1 < len(rows) and rows[part + 1][0] == number
        return self._cut(found, start, end if goes_on else end + 1)

    @staticmethod
    def _cut(pieces: list[drawing.Piece], start: int, end: int) -> list[drawing.Piece]:
        """The characters `start` to `end` of a row."""
        found: list[drawing.Piece] = []
        position = 0
        for text, style in pieces:
            part = text[max(0, start - position) : max(0, end - position)]
            if part:
                found.append((part, style))
            position += len(text)
        return found

    def _styled(self, row: int, start: int, end: int, base: Style, cursor: bool = True) -> list[drawing.Piece]:
        palette = self._palette
        line = self.source.get_line(row)[start:end]
        under: list[drawing.Styled] = []
        for first, last, capture in self._spans.get(row, ()):
            if last > start and first < end and (name := drawing.class_of(capture)) is not None:
                style = base if name == "plain" else base + palette[name]
                under.append((max(0, first - start), last - start, style))
        over: list[drawing.Styled] = []
        if self._pattern is not None:
            places = [match.span() for match in self._pattern.finditer(self.source.get_line(row)) if match[0]]
            over += [
                (max(0, first - start), last - start, palette["match"])
                for first, last in places
                if last > start and first < end
            ]
        over += [
            (max(0, first - start), last - start, style)
            for first, last, style in self._marks(row, cursor)
            if last > start
        ]
        return drawing.pieces(line, base, under, over)

    def _marks(self, row: int, cursor: bool) -> Iterable[drawing.Styled]:
        """Selection, the pair of brackets and the cursor, as far as they are on a row."""
        palette = self._palette
        top, bottom = sorted(self.selection)
        if top != bottom and top[0] <= row <= bottom[0]:
            last = bottom[1] if row == bottom[0] else len(self.source.get_line(row)) + 1
            yield (top[1] if row == top[0] else 0, last, palette["selection"])
        at_row, column = self.cursor_location
        partner = self._matching_bracket_location
        if partner is not None and top == bottom and self._has_cursor:
            for bracket_row, bracket in ((at_row, column), partner):
                if bracket_row == row:
                    yield (bracket, bracket + 1, palette["matching-bracket"])
        if cursor and row == at_row and self._draw_cursor:
            yield (column, column + 1, palette["cursor"])

    def _styles_of_theme(self) -> dict[str, Style]:
        palette = {"base": self.rich_style, **drawing.palette(self.get_component_rich_style)}
        for name in ("cursor", "selection", "matching-bracket", "cursor-line", "gutter", "cursor-gutter"):
            palette[name] = self.get_component_rich_style(f"text-area--{name}")
        palette["cursor-line"] = palette["base"] + Style(bgcolor=palette["cursor-line"].bgcolor)
        palette["selection"] = Style(bgcolor=palette["selection"].bgcolor)
        palette["matching-bracket"] = Style(bgcolor=palette["matching-bracket"].bgcolor)
        suggestion = self.get_component_rich_style("text-area--suggestion")
        palette["suggestion"] = Style(color=suggestion.color, italic=True)
        palette["match"] = Style(bgcolor=self.get_component_rich_style("editor--match").bgcolor)
        return palette

    # The mouse

    def get_target_document_location(self, event: events.MouseEvent) -> Location:
        x = event.x - self.gutter_width + self.scroll_offset.x - self.gutter.left
        y = event.y + self.scroll_offset.y - self.gutter.top
        at = self._without_ghost(y)
        if at is not None:
            return self.rows.offset_to_location(Offset(x, at))
        ghost = self._ghost
        assert ghost is not None
        number, start, end = self._ghost_rows(ghost)[y - self.rows.top(ghost.row)]
        text = inert_in_place(ghost.drawn_in(self.source.get_line(ghost.row))[number][start:end])
        index = start + cell_width_to_column_index(text, x, self.indent_width)
        return ghost.row, ghost.column_at(number, index)
