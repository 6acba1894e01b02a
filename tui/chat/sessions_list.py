"""The earlier conversations: found by what was said in them, opened, renamed, exported."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from assistant import atomic, sessions, transcripts
from assistant.conversations import Conversation
from assistant.errors import HoneError
from tui.chat.picker import Picker
from tui.inert import inert

Rename = Callable[[str, str], None]
"""Takes the id of a conversation and its new name; raises HoneError."""


class SessionsPicker(Picker):
    """Gives back the id of the conversation to open."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+t", "rename", "Rename", priority=True, id="sessions.rename"),
        Binding("ctrl+e", "export('md')", "Export Markdown", priority=True, id="sessions.markdown"),
        Binding("ctrl+s", "export('json')", "Export JSON", priority=True, id="sessions.json"),
    ]

    def __init__(self, found: Sequence[Conversation], current: str, rename: Rename, query: str = "") -> None:
        super().__init__("Conversations, newest first", query)
        self._conversations = {one.id: one for one in found}
        self._current = current
        self._rename = rename

    def compose(self) -> ComposeResult:
        yield from super().compose()
        name = Input(placeholder="new name; Enter keeps it, Esc leaves it", id="new-name", compact=True)
        name.display = False
        yield name

    def rows(self, query: str) -> Sequence[tuple[str, Content]]:
        hits = transcripts.search(query, list(self._conversations.values()))
        return [(hit.conversation.id, self._line(hit)) for hit in hits]

    def _line(self, hit: transcripts.Hit) -> Content:
        one = hit.conversation
        mark = "● " if one.id == self._current else "  "
        parts: list[str | Content | tuple[str, str]] = [
            (mark, "$text-success"),
            (f"{one.created[:16].replace('T', ' ')}  ", "$text-muted"),
            inert(one.title)[:70] or "(a draft)",
        ]
        if hit.excerpt and hit.excerpt not in one.title:
            parts.append((f"   … {inert(hit.excerpt)}", "$text-muted"))
        return Content.assemble(*parts)

    def action_rename(self) -> None:
        if self.chosen is None:
            return
        name = self.query_one("#new-name", Input)
        name.value = self._conversations[self.chosen].title
        name.display = True
        name.focus()

    @on(Input.Submitted, "#new-name")
    def _named(self, event: Input.Submitted) -> None:
        event.stop()
        if self.chosen is not None:
            try:
                self._rename(self.chosen, event.value)
                self._conversations[self.chosen] = sessions.load(self.chosen)
            except HoneError as error:
                self.notify(str(error), severity="error", markup=False)
        self._end_naming()

    def action_leave(self) -> None:
        if self.query_one("#new-name", Input).display:
            self._end_naming()
        else:
            super().action_leave()

    def _end_naming(self) -> None:
        self.query_one("#new-name", Input).display = False
        self.query_one("#picker-query", Input).focus()
        self.refresh_rows()

    def action_export(self, ending: str) -> None:
        if self.chosen is None:
            return
        try:
            path = export(self._conversations[self.chosen], ending)
        except HoneError as error:
            self.query_one("#picker-empty", Static).update(str(error))
            return
        self.query_one("#picker-empty", Static).update(f"written: {path}")


def export(conversation: Conversation, ending: str, folder: Path | None = None) -> Path:
    """Writes a conversation as Markdown (`md`) or JSON (`json`) into a folder, the current one by default.

    Raises:
        HoneError: another format, or the folder cannot be written.
    """
    if ending not in ("md", "json"):
        raise HoneError(f"conversations are exported as md or json, not {ending!r}")
    text = transcripts.markdown(conversation) if ending == "md" else transcripts.as_json(conversation)
    path = (folder or Path.cwd()) / transcripts.file_name(conversation, ending)
    try:
        atomic.write_text(path, text, 0o600)
    except OSError as error:
        raise HoneError(f"cannot write {path}: {error.strerror}") from error
    return path
