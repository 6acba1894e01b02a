"""The open files: a tab for each, what becomes of their unsaved changes, and the search bar below them."""

import os
from dataclasses import dataclass
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static, TabbedContent, TextArea

from assistant.errors import HoneError
from tui.ask import Question
from tui.code import recovery, source
from tui.code.find import FindBar
from tui.code.pane import FilePane
from tui.code.recovery import Recovery, Unsaved
from tui.inert import inert
from tui.soon import Soon

_LOOK_SECONDS = 2.0
"""Between looks at whether open files changed on disk."""
_KEEP_SECONDS = 1.0
_KEEP_LATEST = 5.0
"""From the last key until unsaved text is on disk, and from the first however fast one types on."""
_EMPTY = "Open a file: Enter in the tree, or Ctrl+O and a part of its name."


class FileTabs(Vertical):
    @dataclass
    class Turned(Message):
        """Another file is in front, or none."""

        pane: FilePane | None

    @dataclass
    class Written(Message):
        """Files on disk are not what they were."""

    def __init__(self, root: Path, soft_wrap: bool) -> None:
        super().__init__(id="files")
        self.root = root
        self.soft_wrap = soft_wrap
        self._recovery = Recovery()
        self._keep_soon = Soon(self, self._keep, _KEEP_SECONDS, _KEEP_LATEST)
        self._opened = 0
        self._panes: list[FilePane] = []

    def compose(self) -> ComposeResult:
        yield Static(_EMPTY, id="empty", markup=False)
        yield TabbedContent(id="tabs")
        yield FindBar()

    def on_mount(self) -> None:
        self.set_interval(_LOOK_SECONDS, self.look)

    @property
    def panes(self) -> list[FilePane]:
        return list(self._panes)

    @property
    def pane(self) -> FilePane | None:
        """The one in front."""
        active = self._tabs.active_pane
        return active if isinstance(active, FilePane) else None

    async def open(self, path: Path) -> FilePane | None:
        """Brings a file to the front, read if it was not open; None when it cannot be edited, which is said."""
        path = Path(os.path.abspath(path))
        pane = next((pane for pane in self.panes if pane.opened.path == path), None)
        if pane is None:
            try:
                opened = source.read(path)
            except HoneError as error:
                self._say(str(error))
                return None
            shown = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
            pane = FilePane(opened, shown, f"file-{self._opened}", self.soft_wrap)
            self._opened += 1
            self._panes.append(pane)
            await self._tabs.add_pane(pane)
            self._show_tabs(True)
            if opened.digest is None:
                self.notify(f"{inert(shown)} is new; saving makes it", markup=False)
        self._tabs.active = pane.id or ""
        self._search_in_front()
        pane.editor.focus()
        self.post_message(self.Turned(pane))
        return pane

    def turn(self, step: int) -> None:
        """Goes to the next tab, or the one before."""
        panes = self.panes
        if self.pane is not None:
            pane = panes[(panes.index(self.pane) + step) % len(panes)]
            self._tabs.active = pane.id or ""
            self._search_in_front()
            pane.editor.focus()

    @on(TabbedContent.TabActivated)
    def _search_in_front(self) -> None:
        if self.pane is not None:
            self.query_one(FindBar).turn(self.pane.editor)

    def wrap(self, soft_wrap: bool) -> None:
        """Wraps the lines of all files, and of those opened later, or stops wrapping them."""
        self.soft_wrap = soft_wrap
        for pane in self.panes:
            pane.editor.wrap_lines(soft_wrap)

    def find(self, with_replace: bool) -> None:
        if self.pane is not None:
            self.query_one(FindBar).open(self.pane.editor, with_replace)

    @work
    async def close_front(self) -> None:
        """Closes the tab in front, after asking what becomes of unsaved changes."""
        pane = self.pane
        if pane is None:
            return
        pane.settle()
        if pane.modified:
            question = Question(f"{inert(pane.path)} has unsaved changes.", ("Save", "Discard"))
            answer = await self.app.push_screen_wait(question)
            if not answer or (answer == "Save" and not await self.save(pane)):
                return
        self._recovery.forget(str(pane.opened.path))
        self.query_one(FindBar).action_leave()
        self._panes.remove(pane)
        await self._tabs.remove_pane(pane.id or "")
        if self.pane is not None:
            self.pane.editor.focus()
        else:
            self._show_tabs(False)
        self.post_message(self.Turned(self.pane))

    @work
    async def save_front(self) -> None:
        if self.pane is not None:
            await self.save(self.pane)

    async def save(self, pane: FilePane) -> bool:
        """Whether what is in the editor is what is on disk now. Needs a worker: it may have to ask."""
        if pane.differs_on_disk():
            text = f"{inert(pane.path)} changed on disk since it was read."
            answer = await self.app.push_screen_wait(Question(text, ("Overwrite it", "Take what is on disk")))
            if answer == "Take what is on disk":
                self.reload(pane)
            if answer != "Overwrite it":
                return answer != ""
        try:
            pane.save()
        except HoneError as error:
            self._say(str(error))
            return False
        self._settled(pane)
        self.post_message(self.Written())
        return True

    def reload(self, pane: FilePane) -> None:
        """Takes what is on disk; undo brings back what was in the editor."""
        try:
            pane.reload()
        except HoneError as error:
            self._say(str(error))
        else:
            self._settled(pane)

    def look(self) -> None:
        """Looks whether open files changed on disk."""
        for pane in self.panes:
            try:
                if pane.look():
                    self.notify(f"{inert(pane.path)} changed on disk and was read again", markup=False)
            except HoneError as error:
                self._say(str(error))
            self._label(pane)

    # Nothing is lost

    async def bring_back(self) -> None:
        """Opens what an app that died left unsaved."""
        try:
            left = self._recovery.take_over(self.root)
        except HoneError as error:
            self._say(str(error))
            return
        if older := {Path(path).name for path in recovery.left_behind(self.root)}:
            names = ", ".join(inert(name) for name in sorted(older))
            self.notify(f"Older unsaved changes in {names} are kept too and come back at the next start", markup=False)
        for unsaved in left:
            pane = await self.open(Path(unsaved.path))
            if pane is not None:
                pane.editor.replace_all(unsaved.text)
                pane.settle()
                self._label(pane)
                self.notify(f"{inert(pane.path)}: unsaved changes of an earlier run are back", markup=False)

    @on(TextArea.Changed)
    def _changed(self, event: TextArea.Changed) -> None:
        pane = next((pane for pane in self.panes if pane.editor is event.text_area), None)
        if pane is None:
            return
        if not pane.modified:
            pane.settle()
            self._label(pane)
        self._keep_soon.changed()

    def _keep(self) -> None:
        for pane in self.panes:
            if pane.modified:
                pane.settle()
                self._label(pane)
                if not pane.modified:
                    self._recovery.forget(str(pane.opened.path))
        self._write([self._unsaved(pane) for pane in self.panes if pane.modified])

    @work(thread=True, exclusive=True, group="keep")
    def _write(self, unsaved: list[Unsaved]) -> None:
        try:
            for one in unsaved:
                self._recovery.keep(one)
        except HoneError as error:
            self.app.call_from_thread(self._say, str(error))

    async def may_leave(self) -> bool:
        """Asks what becomes of unsaved changes; False when the user goes back."""
        for pane in self.panes:
            pane.settle()
        changed = [pane for pane in self.panes if pane.modified]
        if not changed:
            return True
        names = ", ".join(inert(pane.path) for pane in changed)
        answer = await self.app.push_screen_wait(Question(f"Unsaved changes in {names}.", ("Save", "Discard")))
        if answer == "Save":
            return all([await self.save(pane) for pane in changed])
        for pane in changed if answer else ():
            self._recovery.forget(str(pane.opened.path))
            pane.editor.load_text(pane.opened.text)
            pane.modified = pane.gone = False
        return answer != ""

    def close(self) -> None:
        """After the app: unsaved text is on disk then. Raises HoneError when the disk refuses."""
        for pane in self._panes:
            if pane.modified:
                self._recovery.keep(self._unsaved(pane))
        self._recovery.close()

    # Helpers

    @property
    def _tabs(self) -> TabbedContent:
        return self.query_one("#tabs", TabbedContent)

    def _unsaved(self, pane: FilePane) -> Unsaved:
        return Unsaved(str(pane.opened.path), pane.editor.text, pane.opened.digest, str(self.root))

    def _show_tabs(self, shown: bool) -> None:
        self._tabs.display = shown
        self.query_one("#empty").display = not shown

    def _settled(self, pane: FilePane) -> None:
        self._recovery.forget(str(pane.opened.path))
        self._label(pane)

    def _label(self, pane: FilePane) -> None:
        tab = self._tabs.get_tab(pane)
        if tab.label != pane.title:
            tab.label = pane.title

    def _say(self, line: str) -> None:
        # Files are named as the tree names them.
        self.notify(inert(line.replace(f"{self.root}{os.sep}", "")), severity="error", markup=False)
