"""A tab with an open file: the editor, what is on disk, and whether the two differ."""

from pathlib import Path

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static, TabPane

from tui.code import source
from tui.code.editor import Editor
from tui.code.source import Source
from tui.inert import inert


class FilePane(TabPane):
    def __init__(self, opened: Source, path: str, identifier: str, soft_wrap: bool) -> None:
        super().__init__(Content(inert(path.rpartition("/")[2])), id=identifier)
        self.opened = opened
        self.path = path
        """As shown and as the model is told: below the root, `/` separated, or absolute outside it."""
        self.editor = Editor(opened.text, path, soft_wrap)
        self.modified = False
        self.gone = False
        """What is here is nowhere else: the file was deleted from the disk."""
        self.conflict = ""
        """How the file differs on disk from what was read, while there are unsaved changes; else empty."""
        self._seen = _signature(opened.path)

    def compose(self) -> ComposeResult:
        yield Static("", classes="banner", markup=False)
        yield self.editor

    @property
    def title(self) -> Content:
        name = Content(inert(self.path.rpartition("/")[2]))
        return Content.assemble(("● ", "$text-warning"), name) if self.modified else name

    def settle(self) -> None:
        """Compares with what was read: undo may have brought that back."""
        self.modified = self.gone or self.editor.text != self.opened.text

    def save(self) -> None:
        """Raises HoneError when the file cannot be written; nothing is lost then."""
        self.opened = source.write(self.opened, self.editor.text)
        self._seen = _signature(self.opened.path)
        self.modified = self.gone = False
        self._tell("")

    def differs_on_disk(self) -> bool:
        """Whether saving would write over what somebody else wrote."""
        on_disk = source.digest(self.opened.path)
        return on_disk is not None and on_disk != self.opened.digest

    def look(self) -> bool:
        """Looks whether the file changed on disk; takes it over where nothing is unsaved. True when it did.

        Raises:
            HoneError: it changed to something that cannot be read.
        """
        seen = _signature(self.opened.path)
        if seen == self._seen:
            return False
        self._seen = seen
        on_disk = source.digest(self.opened.path)
        if self.gone and on_disk is not None:
            self.gone = False
            self.settle()
        if on_disk == self.opened.digest:
            self._tell("")
            return False
        if on_disk is None:
            self.modified = self.gone = True
            self._tell("this file is gone from the disk; saving writes it again")
            return False
        if self.modified:
            self._tell("this file changed on disk while you edited it; saving asks which to keep")
            return False
        self.reload()
        return True

    def reload(self) -> None:
        """Takes what is on disk; undo brings back what was in the editor.

        Raises:
            HoneError: it cannot be read.
        """
        self.opened = source.read(self.opened.path)
        self._seen = _signature(self.opened.path)
        if self.opened.text != self.editor.text:
            self.editor.replace_all(self.opened.text)
        self.modified = self.gone = False
        self._tell("")

    def _tell(self, line: str) -> None:
        self.conflict = line
        banner = self.query_one(".banner", Static)
        banner.update(line)
        banner.display = bool(line)


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
