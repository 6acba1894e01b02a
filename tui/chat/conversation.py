"""The scrolling conversation. Only its newest part is mounted, so a long one costs no more than a short one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message as Posted
from textual.widget import Widget
from textual.widgets import Static

from assistant.conversations import Message
from assistant.skills.material import Material
from tui.chat.answer import Answer
from tui.chat.code import CodeBlock
from tui.chat.ground import Ground
from tui.inert import inert

SUGGESTIONS = (
    "Write a Python function that sums a CSV column",
    "Explain git rebase in three sentences",
    "What causes an IndexError, and how do I avoid it?",
)
_WELCOME = (
    "[b $primary]Hone[/] is a coding assistant that runs on this machine. Nothing you type leaves it.\n\n"
    "It explains code and errors, and drafts small functions and tests. A small model is quick but often wrong in "
    "details: check what it writes. [$secondary]hone tune[/] sharpens it on your own code.\n\n"
    "[b]Three things to try[/] [dim](Tab puts one into the box)[/]\n"
    + "\n".join(f" [$primary]{number}[/] $try{number}" for number in (1, 2, 3))
    + "\n\n[dim]/help shows keys and commands · /model shows the models[/]"
)
_MOST_MOUNTED = 40
_MOST_WIDGETS = 500
_KEPT_ON_PRUNE = 24
_EARLIER_STEP = 16
_SHOWN_LINES = 200
LIVE = "live"
"""The class of what stays mounted however long the conversation grows: something in it is under way."""


class UserMessage(Vertical):
    """What the user asked, with a note under it while it waits, and what it showed to the model."""

    def __init__(self, text: str, note: str = "", materials: Sequence[Material] = ()) -> None:
        super().__init__(classes="user")
        lines = inert(text).rstrip("\n").split("\n")
        more = len(lines) - _SHOWN_LINES
        self._shown = "\n".join(lines[:_SHOWN_LINES] + ([f"… {more} more lines"] if more > 0 else []))
        self._note = Static(note, markup=False, classes="note")
        self._note.display = bool(note)
        self._materials = Static("", markup=False, classes="materials")
        self.show_materials(materials)

    def compose(self) -> ComposeResult:
        yield Static(self._shown, markup=False)
        yield self._materials
        yield self._note

    def show_materials(self, materials: Sequence[Material]) -> None:
        titles = [f"{one.title or 'Standard input'}{f' ({one.note})' if one.note else ''}" for one in materials]
        self._materials.update(inert("shown: " + "; ".join(titles)))
        self._materials.display = bool(titles)

    def note(self, text: str) -> None:
        self._note.update(text)
        self._note.display = bool(text)


class Notice(Static):
    """A line of Hone's own: help, lists, errors."""

    def __init__(self, text: str, kind: str = "info") -> None:
        super().__init__(inert(text), markup=False, classes=f"notice {kind}")


class Conversation(VerticalScroll, Ground, can_focus=False):
    """Takes the focus only while a cursor walks over its blocks."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1)", "Previous", show=False, id="walk.previous"),
        Binding("down,j", "step(1)", "Walk", key_display="↑↓", id="walk.next"),
        Binding("escape,i,enter,q", "leave", "Back", key_display="Esc", id="walk.leave"),
        Binding("c,y", "chosen('copy')", "Copy", id="walk.copy"),
        Binding("a", "chosen('apply')", "Apply", id="walk.apply"),
        Binding("o", "chosen('editor')", "Editor", tooltip="Put the code into the editor", id="walk.editor"),
        Binding("e", "chosen('edit')", "Edit", id="walk.edit"),
        Binding("r", "chosen('retry')", "Retry", id="walk.retry"),
        Binding("plus", "chosen('up')", "Good", key_display="+", id="walk.good"),
        Binding("minus", "chosen('down')", "Bad", key_display="-", id="walk.bad"),
    ]

    @dataclass
    class Chosen(Posted):
        """A key was pressed on the block in the cursor: a question, an answer, or code in an answer."""

        action: str
        entry: Widget
        code: CodeBlock | None

    @dataclass
    class Left(Posted):
        """The walk is over: the input box gets the focus back."""

    def __init__(self) -> None:
        super().__init__(id="conversation")
        self._earlier: list[Message] = []
        self._earlier_line = Static("", markup=False, id="earlier")
        self._sources: dict[Widget, Message] = {}
        self._cursor: Widget | None = None

    def compose(self) -> ComposeResult:
        self._earlier_line.display = False
        yield self._earlier_line

    def walk(self) -> bool:
        """Begins a walk at the last block; False when there is none."""
        places = self._places()
        if not places:
            return False
        self.can_focus = True
        # At once: the next key may be on its way already.
        self.screen.set_focus(self, scroll_visible=False)
        self._go(places[-1])
        return True

    def action_step(self, step: int) -> None:
        places = self._places()
        at = places.index(self._cursor) if self._cursor in places else len(places)
        if places and at + step >= len(places):
            self.action_leave()
        elif places:
            self._go(places[max(at + step, 0)])

    def action_chosen(self, action: str) -> None:
        if self._cursor is None:
            return
        code = self._cursor if isinstance(self._cursor, CodeBlock) else None
        entry = next((one for one in self._cursor.ancestors_with_self if one in self.entries), None)
        if isinstance(entry, Widget):
            self.post_message(self.Chosen(action, entry, code))

    def action_leave(self) -> None:
        self.post_message(self.Left())

    def on_click(self, event: events.Click) -> None:
        """While walking a click goes to a block. Else it does not: what is typed next belongs into the input box."""
        if self._cursor is not None and event.widget is not None:
            places = self._places()
            clicked = next((one for one in event.widget.ancestors_with_self if one in places), None)
            if isinstance(clicked, Widget):
                self._go(clicked)

    def on_blur(self) -> None:
        self.can_focus = False
        self._go(None)

    def _go(self, widget: Widget | None) -> None:
        if self._cursor is not None:
            self._cursor.remove_class("cursor")
        self._cursor = widget
        if widget is not None:
            widget.add_class("cursor")
            self.anchor(False)
            self.scroll_to_widget(widget, animate=False)

    def _places(self) -> list[Widget]:
        """What the cursor stops at, in order: questions, answers, and after each answer its code blocks."""
        places: list[Widget] = []
        for entry in self.entries:
            if isinstance(entry, UserMessage | Answer):
                places += [entry, *entry.query(CodeBlock)]
        return places

    def message_of(self, widget: Widget) -> Message | None:
        """What `widget` shows, None while it is under way."""
        return self._sources.get(widget)

    @property
    def entries(self) -> list[Widget]:
        return [child for child in self.children if child is not self._earlier_line]

    async def welcome(self) -> None:
        from textual.content import Content

        tries = {f"try{number}": text for number, text in enumerate(SUGGESTIONS, start=1)}
        await self.mount(Static(Content.from_markup(_WELCOME, **tries), id="welcome"))

    async def reset(self, messages: Iterable[Message] = ()) -> None:
        """Shows another conversation: its newest messages, the rest on demand."""
        self._sources.clear()
        with self.app.batch_update():
            await self.remove_children(self.entries)
            self._earlier = list(messages)
            if not self._earlier:
                await self.welcome()
            await self.show_earlier()
        self.anchor(bool(self._sources))

    async def show_earlier(self) -> bool:
        """Mounts some of the messages before the first one shown; False when there are none."""
        shown = self._earlier[-_EARLIER_STEP:]
        del self._earlier[len(self._earlier) - len(shown) :]
        place: Widget = self._earlier_line
        with self.app.batch_update():
            for message in shown:
                asked = message.role == "user"
                widget = UserMessage(message.text, materials=message.materials) if asked else Answer()
                await self.mount(widget, after=place)
                self._sources[widget] = message
                if isinstance(widget, Answer):
                    await widget.write(message.text)
                    await widget.close(message.finish)
                place = widget
        self._count_earlier()
        return bool(shown)

    async def add(self, widget: Widget) -> None:
        """Appends a widget and scrolls to it when the end was in view."""
        for welcome in self.query("#welcome"):
            await welcome.remove()
            self.anchor()
        await self.mount(widget)
        await self._prune()

    def remember(self, widget: Widget, message: Message) -> None:
        """What `widget` shows, so that it can be taken off the screen and brought back."""
        self._sources[widget] = message

    async def _prune(self) -> None:
        entries = self.entries
        if self.is_vertical_scrollbar_grabbed or self.scroll_y < self.max_scroll_y - 2 * self.size.height:
            return
        if len(entries) <= _MOST_MOUNTED and len(self.query("*")) <= _MOST_WIDGETS:
            return
        keep = _KEPT_ON_PRUNE if len(entries) > _MOST_MOUNTED else max(2, len(entries) // 2)
        doomed = [one for one in entries[:-keep] if not one.has_class(LIVE)]
        self._earlier += [self._sources.pop(widget) for widget in doomed if widget in self._sources]
        with self.app.batch_update():
            await self.remove_children(doomed)
        self._count_earlier()

    def _count_earlier(self) -> None:
        count = len(self._earlier)
        self._earlier_line.display = bool(count)
        self._earlier_line.update(f"▲ {count} earlier message{'s' if count > 1 else ''}; Page Up at the top shows more")
