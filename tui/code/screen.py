"""The Code screen: the tree of files, a tab for each open one, and the model writing ahead at the cursor."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static, TabbedContent, TextArea

from assistant.errors import HoneError
from assistant.languages import language_of
from tui.ask import Prompt
from tui.code import external, files, preferences
from tui.code.editor import SCREEN_KEYS, Editor
from tui.code.new_file import name_for
from tui.code.open_file import FileProvider
from tui.code.pane import FilePane
from tui.code.preferences import Preferences
from tui.code.suggestions import Arrived, Suggestions
from tui.code.tabs import FileTabs
from tui.code.tree import FileTree
from tui.fields import Field, fitted
from tui.inert import inert
from tui.keybar import KeyBar
from tui.shortened import from_home

if TYPE_CHECKING:
    from assistant.client import Client
    from assistant.skills.ghost import Ghost
    from tui.app import HoneApp


class CodeScreen(Screen[None]):
    CSS_PATH = "code.tcss"
    AUTO_FOCUS = "#tree"
    BINDINGS: ClassVar[list[BindingType]] = [
        *SCREEN_KEYS,
        Binding("escape", "focus_editor", "To the editor", id="code.focus", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
        self.root = Path.cwd()
        self.files = files.Files(self.root)
        self._in_repository = False
        self._preferences = preferences.read()
        self._file_tabs = FileTabs(self.root, self._preferences.soft_wrap)
        self._suggestions = Suggestions(self, self._ghost_now, self._no_ghost, self._tell_ghost)
        self._ghost: Ghost | None = None
        self._ghost_for: tuple[Client, str] | None = None
        self._ghost_trouble = ""
        """Why none could be made for the model in use."""
        self._ghost_line: tuple[str, bool] = ("", False)
        self._listing = "reading …"
        """In place of the number of files; empty once they are listed."""

    def compose(self) -> ComposeResult:
        with Static(id="title"):
            yield Static("", id="where")
        with Horizontal(id="code"):
            yield FileTree()
            yield self._file_tabs
        yield Static("", id="status")
        yield KeyBar()

    async def on_mount(self) -> None:
        from assistant.skills import repository

        try:
            found = repository.root_of(self.root)
        except HoneError as error:
            found = None
            self.notify(str(error), severity="error", markup=False)
        self._in_repository = found is not None
        self.root = self._file_tabs.root = found or self.root
        heading = Content.from_markup("[b]Code[/b]  [dim]$folder[/dim]", folder=from_home(self.root))
        self.query_one("#where", Static).update(heading)
        self._list()
        self._show_status()
        await self._file_tabs.bring_back()

    async def visit(self, argument: str) -> None:
        """Opens `FILE[:LINE]`, FILE being a path from here or from the repository's root."""
        name, _, line = argument.rpartition(":")
        if not (name and line.isdigit()):
            name, line = argument, ""
        path = Path(name).expanduser()
        if not path.is_absolute():
            here, there = Path.cwd() / path, self.root / path
            path = there if not here.exists() and there.exists() else here
        pane = await self._file_tabs.open(path)
        if pane is not None and line:
            pane.editor.move_cursor((int(line) - 1, 0))
            pane.editor.call_after_refresh(pane.editor.center_cursor)

    async def take(self, text: str, language: str) -> None:
        """Puts text in place of the selection of the file in front, or into a new file."""
        pane = self._file_tabs.pane
        if pane is None:
            pane = await self._file_tabs.open(self.root / name_for(language, lambda name: (self.root / name).exists()))
        if pane is not None:
            placed = pane.editor.replace(text, *sorted(pane.editor.selection))
            pane.editor.move_cursor(placed.end_location)
            pane.editor.focus()

    async def open_path(self, path: str) -> None:
        """Opens a file by its path below the root."""
        await self._file_tabs.open(self.root / path)

    async def may_leave(self) -> bool:
        return await self._file_tabs.may_leave()

    def close(self) -> None:
        self._suggestions.stop()
        self._file_tabs.close()
        if self._ghost is not None:
            self._ghost.close()

    # Files

    @on(FileTree.Chosen)
    async def _chosen(self, event: FileTree.Chosen) -> None:
        await self.open_path(event.path)

    @on(FileTabs.Turned)
    def _turned(self, event: FileTabs.Turned) -> None:
        self.set_class(event.pane is not None, "-editing")
        if event.pane is not None:
            self.query_one(FileTree).reveal(event.pane.path)
        else:
            self.query_one(FileTree).focus()
        self._show_status()

    @on(TabbedContent.TabActivated)
    def _tab(self) -> None:
        self._suggestions.stop()
        self._show_status()

    @on(FileTabs.Written)
    @work(thread=True, exclusive=True, group="files")
    def _list(self) -> None:
        try:
            found = files.listed(self.root, self._in_repository)
        except (HoneError, OSError) as error:
            self.app.call_from_thread(self._not_listed, str(error))
        else:
            self.app.call_from_thread(self._listed, found)

    def _not_listed(self, error: str) -> None:
        # Read at every visit: told once, and as long as it is so.
        if error != self._listing:
            self._listing = error
            self.notify(inert(error), severity="error", markup=False)
        self._show_status()

    def _listed(self, found: files.Files) -> None:
        self.files, self._listing = found, ""
        self.query_one(FileTree).show(found)
        self._show_status()

    def on_screen_resume(self) -> None:
        self._list()
        self._file_tabs.look()

    def action_open(self) -> None:
        self.app.push_screen(CommandPalette(providers=[FileProvider], placeholder="Open a file…"))

    def action_save(self) -> None:
        self._file_tabs.save_front()

    def action_close(self) -> None:
        self._file_tabs.close_front()

    def action_reload(self) -> None:
        if (pane := self._file_tabs.pane) is not None:
            self._file_tabs.reload(pane)

    def action_turn(self, step: int) -> None:
        self._file_tabs.turn(step)

    def action_find(self, with_replace: bool) -> None:
        self._file_tabs.find(with_replace)

    def action_tree(self) -> None:
        """Goes to the tree, or hides it when it is there already."""
        tree = self.query_one(FileTree)
        if tree.has_focus and self._file_tabs.pane is not None:
            self.add_class("-no-tree")
            self.action_focus_editor()
        else:
            self.remove_class("-no-tree", "-editing")
            tree.focus()

    def action_focus_editor(self) -> None:
        if (pane := self._file_tabs.pane) is not None:
            self.add_class("-editing")
            pane.editor.focus()

    @work
    async def action_line(self) -> None:
        pane = self._file_tabs.pane
        if pane is None:
            return
        answer = await self.app.push_screen_wait(Prompt(f"Line, 1 to {pane.editor.document.line_count}"))
        if answer.isdigit():
            pane.editor.move_cursor((int(answer) - 1, 0))
            pane.editor.center_cursor()

    def action_external(self) -> None:
        """The file in the user's own editor, at the same line; Hone waits."""
        pane = self._file_tabs.pane
        if pane is None:
            return
        pane.settle()
        if pane.modified or pane.opened.digest is None:
            self.notify("Save first (Ctrl+S): the other editor reads the file from disk")
            return
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        line = pane.editor.cursor_location[0] + 1
        try:
            with self.app.suspend():
                subprocess.run(external.command(editor, pane.opened.path, line), check=False)
        except SuspendNotSupported:
            self.notify("This terminal cannot be handed to another editor", severity="error")
        except (OSError, ValueError) as error:
            self.notify(f"$EDITOR ({editor}) cannot be run: {error}", severity="error", markup=False)
        self.app.refresh()
        self._file_tabs.look()

    # Ghost text

    def _ghost_now(self) -> "Ghost | None":
        """What writes ahead with the model that the chat has in use; None until it is ready."""
        serving = cast("HoneApp", self.app).chat.serving
        if serving != self._ghost_for:
            before, self._ghost, self._ghost_for = self._ghost, None, serving
            self._ghost_trouble = ""
            self._prepare(before, serving)
        return self._ghost

    def _no_ghost(self) -> str:
        if self._ghost_trouble:
            return self._ghost_trouble
        why = cast("HoneApp", self.app).chat.unavailable
        return f"no model: {why}; /model NAME in the chat loads another" if why else ""

    @work(thread=True, group="prepare")
    def _prepare(self, before: "Ghost | None", serving: "tuple[Client, str] | None") -> None:
        """Its imports and its index would take their time from the keyboard."""
        if before is not None:
            before.close()
        if serving is not None:
            try:
                ghost = cast("HoneApp", self.app).services.ghost(*serving, self.root if self._in_repository else None)
            except HoneError as error:
                self.app.call_from_thread(self._not_prepared, str(error), serving)
            else:
                self.app.call_from_thread(self._prepared, ghost, serving)

    def _not_prepared(self, line: str, serving: "tuple[Client, str]") -> None:
        if serving == self._ghost_for:
            self._ghost_trouble = line
            self._tell_ghost(line, True)

    def _prepared(self, ghost: "Ghost", serving: "tuple[Client, str]") -> None:
        if serving == self._ghost_for:
            self._ghost = ghost
            self._show_status()

    def _path_of(self, editor: Editor) -> str:
        return next((pane.path for pane in self._file_tabs.panes if pane.editor is editor), "")

    @on(Editor.Typed)
    def _typed(self, event: Editor.Typed) -> None:
        path = self._path_of(event.editor)
        if event.edited and _language(path) not in self._preferences.quiet_languages:
            self._suggestions.typed(event.editor, path, event.text)
        else:
            self._suggestions.stop()
        self._show_status()

    @on(Editor.Asked)
    def _asked(self, event: Editor.Asked) -> None:
        if self._ghost_trouble:
            # What was in the way may be gone.
            self._ghost_for, self._ghost_trouble = None, ""
        self._suggestions.ask(event.editor, self._path_of(event.editor), manual=True)

    @on(Editor.TypedOn)
    def _typed_on(self, event: Editor.TypedOn) -> None:
        self._suggestions.typed_on(event)
        self._show_status()

    @on(Editor.Decided)
    def _decided(self, event: Editor.Decided) -> None:
        self._suggestions.decided(event)
        self._show_status()

    @on(Arrived)
    def _arrived(self, event: Arrived) -> None:
        self._suggestions.arrived(event)
        if event.line:
            cast("HoneApp", self.app).chat.look_after_engine()

    def action_quiet(self) -> None:
        """Suggestions as one types: on or off for the language of the file in front."""
        pane = self._file_tabs.pane
        if pane is None:
            return
        self._suggestions.stop()
        quiet = self._preferences.quiet_languages ^ {_language(pane.path)}
        self._prefer(replace(self._preferences, quiet_languages=quiet))

    def action_wrap(self) -> None:
        """Lines longer than the view is wide: on in the next row, or beyond its edge."""
        wrapped = not self._preferences.soft_wrap
        self._file_tabs.wrap(wrapped)
        self._prefer(replace(self._preferences, soft_wrap=wrapped))

    def _prefer(self, wanted: Preferences) -> None:
        self._preferences = wanted
        try:
            preferences.keep(wanted)
        except HoneError as error:
            self.notify(str(error), severity="error", markup=False)
        self._show_status()

    def _tell_ghost(self, line: str, wrong: bool) -> None:
        self._ghost_line = (line, wrong)
        self._show_status()

    # The status line

    @on(TextArea.SelectionChanged)
    def _moved(self) -> None:
        self._show_status()

    def on_resize(self) -> None:
        self._show_status()

    def _show_status(self) -> None:
        if not self.is_attached:
            return
        status = self.query_one("#status", Static)
        status.update(fitted(self._fields(), max(1, self.size.width - 4)))

    def _fields(self) -> list[Field]:
        pane = self._file_tabs.pane
        if pane is None:
            count = self._listing or f"{len(self.files.paths)} files{' and more' if self.files.cut else ''}"
            return [
                (0, Content(inert(count))),
                (1, Content("Enter opens, Ctrl+O finds by name").stylize("$text-muted")),
            ]
        editor = pane.editor
        row, column = editor.cursor_location
        fields: list[Field] = [(1, Content(inert(pane.path)))]
        fields.append((0, Content(f"Ln {row + 1}, Col {column + 1}")))
        fields.append((4, Content(_language(pane.path))))
        if editor.uncoloured:
            fields.append((3, Content("too long for colours").stylize("$text-warning")))
        fields.append((6, Content("tabs" if editor.indent_type == "tabs" else f"{editor.indent_width} spaces")))
        fields.append((6, Content("wrapped" if editor.soft_wrap else "")))
        ends = {"\n": "", "\r\n": "CRLF", "\r": "CR"}[editor.source.newline]
        encoding = "" if pane.opened.encoding == "utf-8" and not pane.opened.mark else pane.opened.encoding
        fields.append((5, Content(" ".join(filter(None, [encoding, ends])))))
        fields.append((2, self._ghost_field(pane)))
        if editor.ghost is not None:
            fields.append((3, Content("Tab all · ⇧Tab line · ^→ word · Esc none").stylize("$text-muted")))
        return fields

    def _ghost_field(self, pane: FilePane) -> Content:
        line, wrong = self._ghost_line
        if wrong:
            return Content(f"✕ {inert(line)}").stylize("$text-error")
        if pane.editor.ghost is not None:
            return Content(f"✎ {line}").stylize("$text-primary")
        if line == "…":
            return Content("✎ …").stylize("$text-primary")
        if _language(pane.path) in self._preferences.quiet_languages:
            return Content(f"✎ off for {_language(pane.path)}").stylize("$text-muted")
        idle = "ready" if self._ghost_now() else "no model yet"
        return Content(f"✎ {line or idle}").stylize("$text-muted")


def _language(path: str) -> str:
    language = language_of(path)
    return language.name if language else Path(path).suffix.lstrip(".") or "text"
