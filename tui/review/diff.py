"""The diff of one file in the colours of its language; only the rows in view are drawn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual._cells import cell_len
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.code import drawing
from tui.code.document import SourceDocument
from tui.code.grammars import grammar, grammar_name
from tui.inert import inert
from tui.review import rows
from tui.review.rows import Row, Side

if TYPE_CHECKING:
    from assistant.skills.review.changes import FileChange
    from assistant.skills.review.findings import Finding

SIGNS = {"error": "✕", "warning": "▲", "note": "●"}
_TAB = 4


class DiffView(ScrollView, can_focus=True):
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"syntax--{name}" for name in drawing.CLASSES),
        *(f"diff--{name}" for name in ("added", "removed", "gutter", "gap", "error", "warning", "note")),
    }

    def __init__(self) -> None:
        super().__init__(id="diff")
        self._change: FileChange | None = None
        self._findings: Sequence[Finding] = ()
        self._rows: list[Row] = []
        self._split = False
        self._current = -1
        self._documents: tuple[SourceDocument, SourceDocument] | None = None
        self._digits = 1
        self._palette: dict[str, Style] = {}

    def show(self, change: "FileChange | None", findings: Sequence["Finding"], split: bool) -> None:
        """Shows a file; `findings` are all of the review, of which those of the file are drawn."""
        same = change is self._change
        self._change, self._findings, self._split = change, findings, split
        if change is None:
            self._rows, self._documents = [], None
        else:
            below: dict[int, list[int]] = {}
            for number, finding in enumerate(findings):
                if finding.path == change.path:
                    below.setdefault(finding.last, []).append(number)
            self._rows = rows.side_by_side(change, below) if split else rows.unified(change, below)
            if not same or self._documents is None:
                name = grammar_name(change.path)
                found = grammar(name) if name else None
                self._documents = (SourceDocument(change.old_text, found), SourceDocument(change.text, found))
        self._digits = len(str(max((s.number for row in self._rows for s in (row.old, row.new) if s), default=1)))
        widest = max((cell_len(s.text) for row in self._rows for s in (row.old, row.new) if s), default=0)
        self.virtual_size = Size(widest + self._digits + 6, len(self._rows))
        if not same:
            self.scroll_to(0, 0, animate=False)
        self.refresh()

    def go_to(self, number: int) -> None:
        """Brings a finding into view and marks it; -1 marks none."""
        self._current = number
        at = next((index for index, row in enumerate(self._rows) if row.finding == number >= 0), None)
        if at is not None:
            self.scroll_to(y=max(0, at - self.size.height // 2), animate=False)
        self.refresh()

    def notify_style_update(self) -> None:
        self._palette = {}
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        palette = self._styles()
        width = self.size.width
        at = y + self.scroll_offset.y
        if at >= len(self._rows):
            return Strip.blank(width, palette["base"])
        row = self._rows[at]
        if row.kind == "gap":
            lines = f"{row.hidden} line{'s' if row.hidden != 1 else ''}"
            return _line(f"{' ' * (self._digits + 1)}⋯ {lines}", palette["gap"], width)
        if row.kind == "finding":
            return self._finding(row.finding, width)
        if not self._split:
            side = row.new or row.old
            assert side is not None
            return self._side(side, old=row.new is None, width=width)
        half = width // 2
        left = self._side(row.old, old=True, width=half - 1)
        bar = Strip([Segment("│", palette["gap"])], 1)
        return Strip.join([left, bar, self._side(row.new, old=False, width=width - half)])

    def _finding(self, number: int, width: int) -> Strip:
        finding = self._findings[number]
        palette = self._styles()
        current = number == self._current
        style = palette[finding.severity] + Style(bold=current)
        first = inert(finding.message).split("\n", 1)[0]
        text = f"{SIGNS[finding.severity]} {finding.confidence:.0%} {inert(finding.rule)}  {first}"
        return _line(f"{'▶' if current else ' ':>{self._digits}} {text}", style, width)

    def _side(self, side: Side | None, old: bool, width: int) -> Strip:
        palette = self._styles()
        if side is None:
            return _line("", palette["gap"], width)
        sign = ("−" if old else "+") if side.changed else " "
        base = palette["removed" if old else "added"] if side.changed else palette["base"]
        number = drawing.strip(
            [(f"{side.number:>{self._digits}} ", palette["gutter"]), (f"{sign} ", base)], 0, self._digits + 3, 1, base
        )
        assert self._documents is not None
        spans = self._documents[0 if old else 1].spans(side.number - 1, side.number - 1).get(side.number - 1, ())
        under = [
            (start, end, base if name == "plain" else base + palette[name])
            for start, end, capture in spans
            if (name := drawing.class_of(capture)) is not None
        ]
        pieces = drawing.pieces(side.text, base, under, ())
        left = self.scroll_offset.x
        return Strip.join([number, drawing.strip(pieces, left, max(0, width - self._digits - 3), _TAB, base)])

    def _styles(self) -> Mapping[str, Style]:
        if not self._palette:
            get = self.get_component_rich_style
            base = self.rich_style
            self._palette = {"base": base, **drawing.palette(get)}
            for name in ("added", "removed"):
                self._palette[name] = base + Style(bgcolor=get(f"diff--{name}").bgcolor)
            for name in ("gutter", "gap", "error", "warning", "note"):
                self._palette[name] = get(f"diff--{name}")
        return self._palette


def _line(text: str, style: Style, width: int) -> Strip:
    return drawing.strip([(text, style)], 0, width, 1, style)
