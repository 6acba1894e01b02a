"""The scrolling conversation. Only its newest part is mounted, so a long one costs no more than a short one."""

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from assistant.sessions import Message
from tui.chat.answer import Answer
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


class UserMessage(Vertical):
    """What the user asked, with a note under it while it waits."""

    def __init__(self, text: str, note: str = "") -> None:
        super().__init__(classes="user")
        lines = inert(text).rstrip("\n").split("\n")
        more = len(lines) - _SHOWN_LINES
        self._shown = "\n".join(lines[:_SHOWN_LINES] + ([f"… {more} more lines"] if more > 0 else []))
        self._note = Static(note, markup=False, classes="note")
        self._note.display = bool(note)

    def compose(self) -> ComposeResult:
        yield Static(self._shown, markup=False)
        yield self._note

    def note(self, text: str) -> None:
        self._note.update(text)
        self._note.display = bool(text)


class Notice(Static):
    """A line of Hone's own: help, lists, errors."""

    def __init__(self, text: str, kind: str = "info") -> None:
        super().__init__(inert(text), markup=False, classes=f"notice {kind}")


class Conversation(VerticalScroll, can_focus=False):
    def __init__(self) -> None:
        super().__init__(id="conversation")
        self._earlier: list[Message] = []
        self._earlier_line = Static("", markup=False, id="earlier")
        self._sources: dict[Widget, Message] = {}

    def compose(self) -> ComposeResult:
        self._earlier_line.display = False
        yield self._earlier_line

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
                widget = UserMessage(message.text) if message.role == "user" else Answer()
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
        doomed = entries[:-keep]
        self._earlier += [self._sources.pop(widget) for widget in doomed if widget in self._sources]
        with self.app.batch_update():
            await self.remove_children(doomed)
        self._count_earlier()

    def _count_earlier(self) -> None:
        count = len(self._earlier)
        self._earlier_line.display = bool(count)
        self._earlier_line.update(f"▲ {count} earlier message{'s' if count > 1 else ''}; Page Up at the top shows more")
