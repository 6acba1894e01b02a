"""An answer in the conversation: Markdown and code that may still be streaming in."""

from markdown_it import MarkdownIt
from textual.containers import Vertical
from textual.widgets import Markdown, Static

from assistant.skills.blocks import Code, Prose, Splitter, split
from tui.chat.code import CodeBlock
from tui.chat.endings import ENDINGS
from tui.chat.ground import Ground
from tui.inert import inert


def parser() -> MarkdownIt:
    """For Markdown that somebody else wrote."""
    # HTML stays visible as text, and `setup.py` is no web address.
    return MarkdownIt("gfm-like", {"html": False, "linkify": False})


class Answer(Vertical, Ground):
    """Feed it with `write`, then `close` it. The text may be anything: it is made inert here."""

    def __init__(self) -> None:
        super().__init__(classes="answer")
        self._splitter = Splitter()
        self._pieces: list[str] = []
        self._drawn: list[tuple[Markdown | CodeBlock, int]] = []

    @property
    def source(self) -> str:
        """The text as the model wrote it."""
        return "".join(self._pieces)

    def code_source(self, block: CodeBlock) -> Code | None:
        """What the model wrote between the fences of a block."""
        drawn = [widget for widget, _ in self._drawn if isinstance(widget, CodeBlock)]
        written = [one for one in split(self.source) if isinstance(one, Code)]
        at = drawn.index(block)
        return written[at] if at < len(written) else None

    async def write(self, text: str) -> None:
        self._pieces.append(text)
        self._splitter.feed(inert(text))
        await self._draw()

    async def close(self, finish: str | None, note: str = "") -> None:
        """Shows the rest of the text and how it ended; `note` is a line of figures."""
        self._splitter.finish()
        await self._draw()
        ending = ENDINGS.get(finish or "")
        line = " · ".join(part for part in (f"■ {ending}" if ending else "", note) if part)
        if line:
            await self.mount(Static(line, markup=False, classes="ending"))

    async def _draw(self) -> None:
        blocks = self._splitter.blocks
        for index in range(max(0, len(self._drawn) - 1), len(blocks)):
            block = blocks[index]
            if index == len(self._drawn):
                await self._begin(block)
            widget, length = self._drawn[index]
            fresh = block.text[length:]
            if fresh and isinstance(widget, CodeBlock):
                widget.extend(fresh)
            elif fresh and isinstance(widget, Markdown):
                await widget.append(fresh)
            self._drawn[index] = (widget, len(block.text))

    async def _begin(self, block: Prose | Code) -> None:
        widget: Markdown | CodeBlock
        if isinstance(block, Code):
            widget = CodeBlock(block.language)
        else:
            widget = Markdown(parser_factory=parser, open_links=False)
        await self.mount(widget)
        self._drawn.append((widget, 0))
