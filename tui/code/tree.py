"""The tree of files; folders are filled when they are opened."""

from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from tui.code.files import Files
from tui.inert import inert


class FileTree(Tree[str]):
    """The data of a node is its path below the root; a folder's ends with `/`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"tree--new", "tree--changed", "tree--gone", "tree--quiet"}

    @dataclass
    class Chosen(Message):
        path: str

    def __init__(self) -> None:
        self._files: Files | None = None
        super().__init__("", data="", id="tree")
        self.show_root = False
        self.guide_depth = 2
        self.auto_expand = True

    def show(self, files: Files) -> None:
        """Draws what is there now; open folders stay open and the cursor where it was."""
        if files == self._files:
            return
        opened = {node.data for node in self._below(self.root) if node.is_expanded}
        line = self.cursor_line
        self._files = files
        self.clear()
        self._fill(self.root, "")
        for node in self._below(self.root):
            if node.data in opened:
                node.expand()
                self._fill_once(node)
        self.root.expand()
        self.cursor_line = max(line, 0)

    def reveal(self, path: str) -> None:
        """Opens the folders above a file and puts the cursor on it."""
        node = self.root
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            name = "/".join(parts[:depth]) + ("/" if depth < len(parts) else "")
            child = next((child for child in node.children if child.data == name), None)
            if child is None:
                return
            if child.allow_expand:
                self._fill_once(child)
                child.expand()
            node = child
        self.call_after_refresh(self.move_cursor, node)

    def on_tree_node_expanded(self, event: "Tree.NodeExpanded[str]") -> None:
        self._fill_once(event.node)

    def on_tree_node_selected(self, event: "Tree.NodeSelected[str]") -> None:
        if event.node.data and not event.node.allow_expand:
            self.post_message(self.Chosen(event.node.data))

    def render_label(self, node: TreeNode[str], base_style: Style, style: Style) -> Text:
        path = node.data or ""
        folder = node.allow_expand
        name = inert(path.rstrip("/").rpartition("/")[2])
        label = Text("▾ " if folder and node.is_expanded else "▸ " if folder else "  ", style=base_style)
        letter = self._files.status.get(path, "") if self._files else ""
        if folder and self._files and path.rstrip("/") in self._files.changed_folders:
            letter = "•"
        kind = {"U": "new", "A": "new", "D": "gone", "!": "gone", "": ""}.get(letter, "changed")
        colour = self.get_component_rich_style(f"tree--{kind}", partial=True) if kind else Style()
        label.append(name, style=style + colour)
        if letter:
            label.append(f" {letter}", style=colour)
        return label

    def _fill_once(self, node: TreeNode[str]) -> None:
        if not node.children:
            self._fill(node, (node.data or "").rstrip("/"))

    def _fill(self, node: TreeNode[str], folder: str) -> None:
        inside = self._files.folders.get(folder) if self._files else None
        if inside is None:
            return
        above = f"{folder}/" if folder else ""
        for name in inside.folders:
            node.add(name, data=f"{above}{name}/")
        for name in inside.files:
            node.add_leaf(name, data=above + name)

    def _below(self, node: TreeNode[str]) -> "list[TreeNode[str]]":
        """All nodes in it; the list grows while folders are filled, so it is walked as it grows."""
        found = list(node.children)
        for child in found:
            found.extend(child.children)
        return found
