"""When the model is asked for ghost text, and what the status line says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget

from assistant.errors import HoneError
from tui import faults
from tui.code.editor import Editor
from tui.inert import inert

if TYPE_CHECKING:
    from assistant.skills.ghost import Ghost, Shown

_WAIT_SECONDS = 0.3


@dataclass
class Arrived(Message):
    """From the thread that waited for the model; `line` is the error."""

    number: int
    editor: Editor
    shown: "Shown | None"
    manual: bool
    line: str = ""


class Suggestions:
    """One for all editors of a screen, whose `Arrived` messages it is handed."""

    def __init__(
        self,
        host: Widget,
        ghost_of: Callable[[], "Ghost | None"],
        trouble: Callable[[], str],
        tell: Callable[[str, bool], None],
    ) -> None:
        """
        Args:
            trouble: why no ghost will come, and what helps; empty while one may.
            tell: shows a line about suggestions; its flag says that something is wrong.
        """
        self._host = host
        self._ghost_of = ghost_of
        self._trouble = trouble
        self._tell = tell
        self._timer: Timer | None = None
        self._number = 0
        self._asking: Ghost | None = None

    def typed(self, editor: Editor, path: str, text: str) -> None:
        """The text changed and nothing is shown: what is known already comes at once, the rest after a pause."""
        self.stop()
        ghost = self._ghost_of()
        if ghost is None:
            return
        ghost.typed_on(None, text)
        if not editor.selection.is_empty:
            return
        found = ghost.ready(path, editor.text, editor.source.offset_of(editor.cursor_location))
        if found is not None:
            self._show(editor, found)
        else:
            self._timer = self._host.set_timer(ghost.debounce_seconds(), lambda: self.ask(editor, path))

    def ask(self, editor: Editor, path: str, manual: bool = False) -> None:
        """Asks the model now; `manual` is the user's own wish."""
        self.stop()
        ghost = self._ghost_of()
        if ghost is None:
            if manual and (line := self._trouble()):
                self._tell(line, True)
                # The status line may be too short for it.
                self._host.notify(inert(line), severity="error", markup=False)
            elif manual:
                # Asked for once is enough, however long the model takes; typing on takes the wish back.
                self._tell("waiting for the model", False)
                self._timer = self._host.set_timer(
                    _WAIT_SECONDS, lambda: self.ask(editor, path, manual=editor.is_attached)
                )
            return
        self._number += 1
        number, text = self._number, editor.text
        offset = editor.source.offset_of(editor.cursor_location)
        self._tell("…", False)

        def wait() -> None:
            shown, line = None, ""
            try:
                shown = ghost.suggest(path, text, offset, manual=manual)
            except HoneError as error:
                line = str(error)
            except Exception as error:
                faults.record("the suggestion", error)
                line = f"unexpected {faults.line(error)}"
            self._host.post_message(Arrived(number, editor, shown, manual, line))

        self._asking = ghost
        self._host.run_worker(wait, thread=True, group="ghost", exit_on_error=False)

    def arrived(self, event: Arrived) -> None:
        if event.number != self._number:
            return
        self._asking = None
        if event.line:
            self._tell(event.line, True)
        elif event.shown is None:
            self._tell("nothing to suggest" if event.manual else "", False)
        else:
            self._show(event.editor, event.shown)

    def stop(self) -> None:
        """What is under way is no longer wanted."""
        self._number += 1
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        self._tell("", False)

    def typed_on(self, event: Editor.TypedOn) -> None:
        if (ghost := self._ghost_of()) is not None:
            ghost.typed_on(event.shown.id, event.text)

    def decided(self, event: Editor.Decided) -> None:
        ghost = self._ghost_of()
        if ghost is None:
            return
        if event.how is None:
            ghost.rejected(event.shown.id)
            self._tell("", False)
        else:
            ghost.accepted(event.shown.id, event.how, event.text)

    def _show(self, editor: Editor, shown: "Shown") -> None:
        editor.show_ghost(shown)
        made = "from memory" if shown.from_cache else f"{shown.latency_seconds * 1000:.0f} ms"
        self._tell(f"{made}, {shown.adapter or shown.model}", False)
