"""What the Models screen shows: base models and adapters as a tree, and what is known of the chosen one.

Everything is read from the registry and the disk, so it makes no difference who tuned, fetched or promoted.
"""

import re
from typing import ClassVar, Literal

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Markdown, OptionList, Static
from textual.widgets.option_list import Option

from assistant.errors import HoneError
from tui.chat.answer import parser
from tui.fields import fitted
from tui.inert import inert
from tui.jobs.described import size
from tui.jobs.rows import bar
from tui.keybar import KeyBar
from tui.models import facts, rows
from tui.models.gathered import AdapterDetails, Details, Gathered, Gatherer
from tui.models.pull import Progress, Pull
from tui.models.rows import Node

_SECONDS = 2.0
_WIDE = 130
"""Columns from which on the tree and the details stand beside each other."""
_TREE = 38
"""Per cent of the rows that the tree may take where it stands above the details."""
CHAMPION = "champion"
"""The alias that a promotion is for when none is named."""
View = Literal["facts", "card", "history"]


class _Read(Message):
    """A thread has read what may have changed, or could not."""

    def __init__(self, gathered: Gathered | None, key: str, details: Details | None, error: str) -> None:
        super().__init__()
        self.gathered, self.key, self.details, self.error = gathered, key, details, error


class ModelTree(OptionList):
    """The arrows to the sides fold and unfold, as in any tree."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "left", "screen.fold(True)", "Fold", tooltip="Hide what is below, or go up", id="models.fold", show=False
        ),
        Binding("right", "screen.fold(False)", "Unfold", tooltip="Show what is below", id="models.unfold", show=False),
    ]

    class Sized(Message):
        """It has another width than before, or is laid out for the first time."""

    def __init__(self) -> None:
        super().__init__(id="models-list", markup=False, compact=True)
        self._width = 0

    def on_resize(self) -> None:
        if self.size.width != self._width:
            self._width = self.size.width
            self.post_message(self.Sized())


class ModelsShown(Screen[None]):
    """The tree and the details; read in a thread, again when something changes."""

    TITLE = "Models"
    CSS_PATH: ClassVar = ["models.tcss"]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self._gatherer = Gatherer()
        self._gathered: Gathered | None = None
        self._details: Details | None = None
        self._trouble = ""
        """Why there are no details."""
        self._lines: list[Node] = []
        self._wanted = ""
        """The key of the chosen line."""
        self._sought = ""
        """The name of a model that is to be chosen once it is there."""
        self._marked = ""
        self._folded: set[str] = set()
        self._view: View = "facts"
        self._carded = ""
        self._pull: Pull | None = None
        self._progress: Progress | None = None
        self._reading = self._look_again = False

    def compose(self) -> ComposeResult:
        yield Static("Models", id="models-title", markup=False)
        with Horizontal(id="models"):
            with Vertical(id="models-tree"):
                yield Static(id="models-header", markup=False)
                yield ModelTree()
            with Vertical(id="model"):
                yield Static(id="model-head", markup=False)
                with VerticalScroll(id="model-about"):
                    yield Static("reading …", id="model-facts", markup=False)
                    yield Markdown(id="model-card", parser_factory=parser, open_links=False)
        yield Static(id="models-line", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(ModelTree).focus()
        self.set_interval(_SECONDS, self._look)
        self._look()

    def on_screen_resume(self) -> None:
        self._look()

    @on(ModelTree.Sized)
    def on_resize(self) -> None:
        # The widths of the parts are known once they are laid out.
        self.call_after_refresh(self._show)

    # What is read

    def _look(self) -> None:
        # One at a time: digests of large files take a while the first time.
        if self._reading:
            self._look_again = True
        elif self.is_current or self._gathered is None:
            self._reading = True
            self._read(self._chosen, self._details is None)

    @work(thread=True, group="read")
    def _read(self, node: Node | None, afresh: bool) -> None:
        gathered = details = None
        key = error = ""
        try:
            gathered = self._gatherer.models()
            if gathered is None and node is not None and node.kind != "adapter":
                key = node.key
                details = self._gatherer.details(node.version or node.base, afresh)
        except (HoneError, OSError) as refused:
            error = str(refused)
        self.post_message(_Read(gathered, key, details, error))

    @on(_Read)
    def _was_read(self, event: _Read) -> None:
        self._reading = False
        again, self._look_again = self._look_again, False
        if event.gathered is not None:
            self._gathered = event.gathered
            self._show()
        if self._sought and not again:
            self._seek(self._sought)
        if event.details is not None and event.key == self._wanted:
            self._details, self._trouble = event.details, ""
            self._show_chosen()
        if event.error and self._gathered is None:
            # There is nothing to look at behind a notification that goes.
            self.query_one("#model-facts", Static).update(Content(inert(event.error)).stylize("$text-error"))
        elif event.error and event.error != self._trouble:
            self._refuse(event.error)
        if event.error:
            self._trouble = event.error
            self._show_chosen()
        if again or event.gathered is not None:
            self._look()

    def _seek(self, name: str) -> None:
        """Chooses a model by the name that it has on the command line."""
        if self._gathered is None:
            return
        self._sought = ""
        self._folded.clear()
        self._lines = rows.tree(self._gathered, ())
        found = self._meant(name)
        if found is None:
            self._refuse(f"no model here is called {name}")
        else:
            self._choose(found.key)
        self._show()

    def _choose(self, key: str) -> None:
        self._wanted, self._details, self._trouble = key, None, ""
        self.query_one("#model-about").scroll_home(animate=False)

    @property
    def _chosen(self) -> Node | None:
        return next((node for node in self._lines if node.key == self._wanted), None)

    def _meant(self, name: str) -> Node | None:
        """The line of a model as the command line names it."""
        assert self._gathered is not None
        live = self._gathered.aliases.get(name)
        wanted = live.id if live else name
        exact = next((node for node in self._lines if node.name == wanted), None)
        digest = re.fullmatch(r"[^@]+@[0-9a-f]{6,64}", wanted)
        if exact is not None or digest is None:
            return exact
        versions = [node for node in self._lines if node.version is not None]
        full = {node.key: f"{node.versions[0].adapter.name}@{node.versions[0].adapter.digest}" for node in versions}
        return next((node for node in versions if full[node.key].startswith(wanted)), None)

    # What is shown

    def _show(self) -> None:
        if self._gathered is None or not self.is_attached:
            return
        at = next((number for number, node in enumerate(self._lines) if node.key == self._wanted), None)
        self._lines = rows.tree(self._gathered, self._folded)
        if self._chosen is None and self._lines:
            # What has gone leaves its place to what came after it.
            beside = self._first() if at is None else self._lines[min(at, len(self._lines) - 1)]
            self._choose(beside.key)
        aliases = sorted(self._gathered.aliases.items(), key=lambda pair: (pair[0] != CHAMPION, pair[0]))
        live = [Content(f"{inert(alias)} is {version.id}") for alias, version in aliases]
        told = [Content("Models").stylize("bold"), *map(Content, rows.summary(self._gathered)), *live]
        title = fitted(list(enumerate(told)), max(1, self.size.width - 4))
        self.query_one("#models-title", Static).update(title)
        self._show_tree()
        self._show_chosen()
        self._show_line()
        self._look()

    def _first(self) -> Node:
        """The champion, else what is live, else the first line."""
        live = [node for node in self._lines if node.version is not None and node.version.aliases]
        live.sort(key=lambda node: node.version is None or CHAMPION not in node.version.aliases)
        return (live or self._lines)[0]

    def _show_tree(self) -> None:
        listed = self.query_one(ModelTree)
        if self.has_class("-wide"):
            listed.styles.height = "1fr"
        else:
            # An automatic height would leave room for lines that have to be scrolled to.
            listed.styles.height = max(1, min(len(self._lines), self.size.height * _TREE // 100))
        width = max(listed.size.width - 1, 1)
        self.query_one("#models-header", Static).update(rows.header(width))
        lines = [rows.line(node, width, node.name == self._marked, self._pulled(node)) for node in self._lines]
        keys = [node.key for node in self._lines]
        if keys != [option.id for option in listed.options]:
            with self.prevent(OptionList.OptionHighlighted):
                listed.set_options(Option(line, id=key) for key, line in zip(keys, lines, strict=True))
        else:
            for number, line in enumerate(lines):
                if listed.get_option_at_index(number).prompt != line:
                    listed.replace_option_prompt_at_index(number, line)
        if self._wanted in keys and listed.highlighted != keys.index(self._wanted):
            with self.prevent(OptionList.OptionHighlighted):
                listed.highlighted = keys.index(self._wanted)

    def _pulled(self, node: Node) -> float | None:
        is_pulled = self._pull is not None and node.kind == "base" and node.name == self._pull.name
        return (self._progress.share if self._progress else 0.0) if is_pulled else None

    def _show_chosen(self) -> None:
        node, gathered = self._chosen, self._gathered
        if node is None or gathered is None:
            return
        about = self.query_one("#model-about")
        width = max(about.size.width - 1, 20)
        self.query_one("#model-head", Static).update(facts.heading(node, width))
        text, card = self.query_one("#model-facts", Static), self.query_one("#model-card", Markdown)
        details = self._details
        with_card = self._view == "card" and isinstance(details, AdapterDetails) and bool(details.card)
        card.display, text.display = with_card, not with_card
        if with_card and isinstance(details, AdapterDetails):
            if self._carded != node.key:
                self._carded = node.key
                card.update(inert(details.card))
        elif self._view == "card" and (node.version is None or details is not None):
            text.update(Content("Only adapter versions have a card; v goes back.").stylize("$foreground 60%"))
        elif self._view == "history":
            text.update(facts.history(facts.events_of(node, gathered.events), width))
        else:
            text.update(facts.of(node, details, self._trouble, width))

    def _show_line(self) -> None:
        line, progress = self.query_one("#models-line", Static), self._progress
        line.display = self._pull is not None
        if self._pull is None:
            return
        fields = [(0, Content(f"▼ {inert(self._pull.name)}").stylize("$text-primary"))]
        if progress is not None:
            if progress.total:
                amounts = f"{size(progress.done) or '0 MB'} of {size(progress.total)}"
                fields += [(1, bar(progress.share)), (2, Content(amounts))]
            if progress.speed:
                fields.append((4, Content(f"{progress.speed / 1e6:.1f} MB/s")))
            fields.append((5, Content(inert(progress.what))))
        fields.append((3, Content("Esc stops").stylize("$foreground 60%")))
        line.update(fitted(fields, max(1, self.size.width - 4)))

    @on(OptionList.OptionHighlighted, "#models-list")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_id and event.option_id != self._wanted:
            self._choose(event.option_id)
            self._show_chosen()
            self._look()

    @on(OptionList.OptionSelected, "#models-list")
    def _selected(self) -> None:
        node = self._chosen
        if node is not None and node.version is None:
            self.action_fold(not node.folded)
        else:
            self.action_view("card")

    def action_fold(self, fold: bool) -> None:
        node = self._chosen
        if node is None:
            return
        if node.versions and node.version is None and fold != node.folded:
            (self._folded.add if fold else self._folded.discard)(node.key)
            self._show()
        elif fold:
            parent = {"version": "adapter", "adapter": "base"}.get(node.kind)
            at = self._lines.index(node)
            above = [number for number in range(at) if self._lines[number].kind == parent]
            if above:
                self.query_one(ModelTree).highlighted = above[-1]

    def action_view(self, view: View) -> None:
        self._turn("facts" if self._view == view else view)

    def _turn(self, view: View) -> None:
        self._view = view
        self.query_one("#model-about").scroll_home(animate=False)
        self._show_chosen()

    def _refuse(self, line: str) -> None:
        self.notify(inert(line), severity="error", markup=False)
