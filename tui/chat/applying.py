"""Code from an answer on its way into a file: the changes as hunks, each taken or left."""

import asyncio
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from assistant.errors import HoneError
from assistant.skills import edits
from assistant.skills.edits import Hunk, Written
from assistant.skills.material import Material
from assistant.skills.mentions import Place
from tui.chat.proposed import Proposed, proposed, rows
from tui.inert import inert
from tui.keybar import KeyBar

_SHOWN_LINES = 400
"""Of one hunk; more is counted."""
_STYLES = {" ": "$text-muted", "-": "$text-error", "+": "$text-success"}


class HunkView(Static):
    """One hunk with the lines around it."""

    def __init__(self, number: int, hunk: Hunk, before: str) -> None:
        super().__init__(_drawn(hunk, before), classes="hunk")
        self.border_title = f"line {hunk.start + 1}"
        self.number = number
        self.accepted = True
        self.mark(True)

    def mark(self, accepted: bool) -> None:
        self.accepted = accepted
        self.set_class(not accepted, "rejected")
        self.border_subtitle = "✓ taken" if accepted else "✗ left"


class ApplyScreen(ModalScreen[Written | None]):
    """Gives back what was written, None when nothing was.

    Args:
        code: from the answer.
        path: where it is thought to go, from the repository's root; empty asks.
        shown: what the model saw of the file; the code replaces these lines.
    """

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1)", "Previous", show=False, id="apply.previous"),
        Binding("down,j", "step(1)", "Walk", key_display="↑↓", id="apply.next"),
        Binding("space", "take", "Take or leave", id="apply.take"),
        Binding("a", "all(True)", "All", id="apply.all"),
        Binding("n", "all(False)", "None", id="apply.none"),
        Binding("enter", "write", "Write", id="apply.write"),
        Binding("escape", "leave", "Cancel", id="apply.leave"),
    ]

    def __init__(self, code: str, path: str, place: Place, shown: Material | None = None) -> None:
        super().__init__()
        self._code = code
        self._written_path = path
        self._place = place
        self._shown = shown
        self._change: Proposed | None = None
        self._at = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="apply"):
            yield Input(
                self._written_path, placeholder="file, from the repository's root", id="apply-path", compact=True
            )
            yield Static("", markup=False, id="apply-line")
            yield VerticalScroll(id="apply-hunks", can_focus=False)
        yield KeyBar()

    async def on_mount(self) -> None:
        if self._written_path:
            await self._load()
        else:
            self.query_one(Input).focus()

    @on(Input.Submitted, "#apply-path")
    async def _named(self, event: Input.Submitted) -> None:
        event.stop()
        self._written_path = event.value.strip()
        await self._load()

    async def _load(self) -> None:
        """Reads the file and shows what would change."""
        view = self.query_one("#apply-hunks", VerticalScroll)
        await view.remove_children()
        self._change, self._at = None, 0
        try:
            # Comparing a long file takes longer than a key may wait.
            change = await asyncio.to_thread(proposed, self._code, self._written_path, self._place, self._shown)
        except HoneError as error:
            self._say(str(error), failed=True)
            self.query_one(Input).focus()
            return
        self._change = change
        self._say(change.title)
        await view.mount(*(HunkView(number, hunk, change.before or "") for number, hunk in enumerate(change.hunks)))
        # The keys are the screen's: a focused view would take the arrows to scroll.
        self.set_focus(None)
        self._go(0)

    def _say(self, line: str, failed: bool = False) -> None:
        shown = self.query_one("#apply-line", Static)
        shown.update(inert(line))
        shown.set_class(failed, "error")

    @property
    def _views(self) -> list[HunkView]:
        return list(self.query(HunkView))

    def _go(self, at: int) -> None:
        views = self._views
        if not views:
            return
        self._at = min(max(at, 0), len(views) - 1)
        for view in views:
            view.set_class(view.number == self._at, "cursor")
        self.query_one("#apply-hunks", VerticalScroll).scroll_to_widget(views[self._at], animate=False)

    def action_step(self, step: int) -> None:
        self._go(self._at + step)

    def action_take(self) -> None:
        if self._views:
            view = self._views[self._at]
            view.mark(not view.accepted)

    def on_click(self, event: events.Click) -> None:
        if isinstance(event.widget, HunkView):
            self._go(event.widget.number)
            self.action_take()

    def action_all(self, accepted: bool) -> None:
        for view in self._views:
            view.mark(accepted)

    def action_write(self) -> None:
        taken = [view.number for view in self._views if view.accepted]
        change = self._change
        if change is None:
            return
        if not taken:
            self.dismiss(None)
            return
        try:
            after = edits.chosen(change.before or "", change.hunks, taken)
            self.dismiss(edits.write(change.path, change.before, after))
        except HoneError as error:
            self._say(str(error), failed=True)

    def action_leave(self) -> None:
        self.dismiss(None)


def _drawn(hunk: Hunk, before: str) -> Content:
    drawn = rows(hunk, before)
    parts = [Content.styled(f"{sign} {inert(line).rstrip()}", _STYLES[sign]) for sign, line in drawn[:_SHOWN_LINES]]
    if len(drawn) > _SHOWN_LINES:
        parts.append(Content.styled(f"… {len(drawn) - _SHOWN_LINES} more lines", "$text-warning"))
    return Content("\n").join(parts)
