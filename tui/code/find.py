"""Search in an open file: what a search finds, and the bar in which it is typed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.document._document import Selection
from textual.widgets import Input, Static

from assistant.errors import HoneError

if TYPE_CHECKING:
    from tui.code.editor import Editor

Place = tuple[int, int, int]
"""Row, first column, column after the last."""
MOST = 10_000
"""Matches that are counted."""


@dataclass(frozen=True)
class Search:
    text: str = ""
    regex: bool = False
    case: bool = False
    word: bool = False

    def switched(self, name: str) -> "Search":
        """With one of `regex`, `case` and `word` the other way."""
        return Search(
            self.text, self.regex ^ (name == "regex"), self.case ^ (name == "case"), self.word ^ (name == "word")
        )

    def pattern(self) -> re.Pattern[str] | None:
        """What to look for in each line; None for nothing.

        Raises:
            HoneError: no regular expression.
        """
        if not self.text:
            return None
        body = self.text if self.regex else re.escape(self.text)
        if self.word:
            body = rf"\b(?:{body})\b"
        try:
            return re.compile(body, 0 if self.case else re.IGNORECASE)
        except re.error as error:
            raise HoneError(f"no regular expression: {error}") from error


def matches(lines: Sequence[str], pattern: re.Pattern[str]) -> Iterator[Place]:
    for row, line in enumerate(lines):
        for found in pattern.finditer(line):
            if found[0]:
                yield row, found.start(), found.end()


def following(places: Sequence[Place], row: int, column: int, backwards: bool = False) -> int | None:
    """The index of the match after (or before) a place, going round at the end."""
    if not places:
        return None
    if backwards:
        before = [index for index, (at, start, _) in enumerate(places) if (at, start) < (row, column)]
        return before[-1] if before else len(places) - 1
    return next((index for index, (at, start, _) in enumerate(places) if (at, start) >= (row, column)), 0)


def replaced(lines: Sequence[str], pattern: re.Pattern[str], by: str, regex: bool) -> tuple[list[str], int]:
    """The lines with every match replaced, and how many there were; `\\1` in `by` counts for a regular expression.

    Raises:
        HoneError: `by` names a group that the expression lacks.
    """
    counts = 0
    changed: list[str] = []
    for line in lines:
        try:
            fresh, count = pattern.subn(by if regex else lambda _: by, line)
        except (re.error, IndexError) as error:
            raise HoneError(f"cannot replace by {by!r}: {error}") from error
        changed.append(fresh)
        counts += count
    return changed, counts


class FindBar(Horizontal):
    """Searches in the editor that is in front."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", id="find.close"),
        Binding("down", "step(False)", "Next", tooltip="Go to the next match", id="find.next"),
        Binding("up", "step(True)", "Previous", tooltip="Go to the match before", id="find.previous"),
        Binding("alt+c", "switch('case')", "Case", tooltip="Tell capital letters from small ones", id="find.case"),
        Binding("alt+w", "switch('word')", "Word", tooltip="Find whole words only", id="find.word"),
        Binding("alt+r", "switch('regex')", "Regex", tooltip="Search for a regular expression", id="find.regex"),
        Binding("alt+a", "all", "Replace all", tooltip="Replace every match", id="find.all"),
    ]

    def __init__(self) -> None:
        super().__init__(id="find")
        self._search = Search()
        self._editor: Editor | None = None

    def compose(self) -> ComposeResult:
        yield Static("Find", classes="label")
        yield Input(id="find-text", compact=True)
        yield Static("Replace by", classes="label replace")
        yield Input(id="find-by", compact=True, classes="replace")
        yield Static("", id="find-count", markup=False)

    def open(self, editor: "Editor", with_replace: bool) -> None:
        self._editor = editor
        self.display = True
        self.set_class(with_replace, "-replace")
        field = self.query_one("#find-text", Input)
        selected = editor.selected_text
        if selected and "\n" not in selected:
            field.value = selected
        field.focus()
        field.select_all()
        self._changed()

    def turn(self, editor: "Editor") -> None:
        """Another file is in front: an open bar searches there, without moving its cursor."""
        if self._editor is None or self._editor is editor:
            return
        self._editor.mark(None)
        self._editor = editor
        self._tell("")
        editor.mark(self._pattern())

    def action_leave(self) -> None:
        editor, self._editor = self._editor, None
        self.display = False
        if editor is not None:
            editor.mark(None)
            editor.focus()

    def action_step(self, backwards: bool) -> None:
        if self._editor is not None:
            start, end = sorted(self._editor.selection)
            self._go(start if backwards else end, backwards)

    def action_switch(self, name: str) -> None:
        self._search = self._search.switched(name)
        self._changed()

    def action_all(self) -> None:
        editor, pattern = self._editor, self._pattern()
        if editor is None or pattern is None:
            return
        try:
            lines, count = replaced(editor.source.lines, pattern, self._by, self._search.regex)
        except HoneError as error:
            self._tell(str(error))
            return
        if count:
            editor.replace_all(editor.source.newline.join(lines))
        self._tell(f"{count} replaced")

    @on(Input.Changed, "#find-text")
    def _changed(self) -> None:
        editor = self._editor
        if editor is None:
            return
        self._search = replace(self._search, text=self.query_one("#find-text", Input).value)
        pattern = self._pattern()
        editor.mark(pattern)
        if pattern is not None:
            self._go(min(editor.selection), backwards=False)

    @on(Input.Submitted, "#find-text")
    def _next(self) -> None:
        self.action_step(False)

    @on(Input.Submitted, "#find-by")
    def _replace_one(self) -> None:
        """Replaces the match that is selected, and goes on to the next."""
        editor, pattern = self._editor, self._pattern()
        if editor is None or pattern is None:
            return
        (row, column), end = sorted(editor.selection)
        # In its line: an expression may look at what stands around the match.
        found = pattern.match(editor.source.lines[row], column)
        if found is not None and found[0] and (row, found.end()) == end:
            try:
                by = found.expand(self._by) if self._search.regex else self._by
            except (re.error, IndexError) as error:
                self._tell(f"cannot replace by {self._by!r}: {error}")
                return
            editor.replace(by, *sorted(editor.selection))
        self.action_step(False)

    @property
    def _by(self) -> str:
        return self.query_one("#find-by", Input).value

    def _pattern(self) -> re.Pattern[str] | None:
        try:
            pattern = self._search.pattern()
        except HoneError as error:
            self._tell(str(error))
            return None
        if pattern is None:
            self._tell("")
        return pattern

    def _go(self, place: tuple[int, int], backwards: bool) -> None:
        editor, pattern = self._editor, self._pattern()
        if editor is None or pattern is None:
            return
        places = list(islice(matches(editor.source.lines, pattern), MOST))
        index = following(places, *place, backwards)
        if index is None:
            self._tell("no match")
            return
        row, start, end = places[index]
        editor.selection = Selection((row, start), (row, end))
        editor.center_cursor()
        more = "+" if len(places) == MOST else ""
        self._tell(f"{index + 1} of {len(places)}{more}")

    def _tell(self, text: str) -> None:
        flags = [name for name in ("case", "word", "regex") if getattr(self._search, name)]
        self.query_one("#find-count", Static).update(" · ".join([*filter(None, [text]), *flags]))
