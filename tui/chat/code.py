"""A fenced code block that grows at a flat cost: finished pieces are highlighted and drawn once."""

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.chat.ground import Ground
from tui.chat.growing import Growing
from tui.chat.highlighting import highlighted, piece_end


class CodeBlock(Vertical, Ground):
    """Highlighted code in a frame titled with its language."""

    def __init__(self, language: str) -> None:
        super().__init__(classes="code")
        self.language = language
        self.border_title = language or "text"
        self.text = Growing("text")
        self._tail = ""

    def compose(self) -> ComposeResult:
        yield self.text

    def extend(self, text: str) -> None:
        """Adds text, which must have been made inert."""
        self._tail += text
        finished = []
        while end := piece_end(self._tail, self.language):
            piece, self._tail = self._tail[:end], self._tail[end:]
            finished.append(highlighted(piece, self.language))
        self.text.grow(finished, highlighted(self._tail, self.language))
