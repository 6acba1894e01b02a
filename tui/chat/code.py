"""A fenced code block that grows at a flat cost: finished pieces are drawn once, only the last one is redrawn."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from tui.chat.highlighting import highlighted, piece_end


class CodeBlock(Vertical):
    """Highlighted code in a frame titled with its language."""

    def __init__(self, language: str) -> None:
        super().__init__(classes="code")
        self.language = language
        self.border_title = language or "text"
        self._live = Static("", markup=False, classes="piece")
        self._tail = ""

    def compose(self) -> ComposeResult:
        yield self._live

    async def extend(self, text: str) -> None:
        """Adds text, which must have been made inert."""
        self._tail += text
        while end := piece_end(self._tail, self.language):
            piece, self._tail = self._tail[:end], self._tail[end:]
            frozen = Static(highlighted(piece, self.language), markup=False, classes="piece")
            await self.mount(frozen, before=self._live)
        self._live.update(highlighted(self._tail, self.language))
