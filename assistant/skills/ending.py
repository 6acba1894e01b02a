"""What a model writes at a cursor, ended by the filters while it still comes."""

from assistant.skills import filters


class Ending:
    """Takes an answer piece by piece, until a filter says that the completion has ended.

    Args:
        around: what stands around the cursor.
        held_back: what the prompt left to the model, which the answer is expected to begin with.
        newline: the file's line end.
    """

    def __init__(self, around: filters.Surroundings, held_back: str = "", newline: str = "\n") -> None:
        self.cut: filters.Cut | None = None
        """Where a filter ended it, None while none has."""
        self._around = around
        self._held_back = held_back
        self._newline = newline
        self._raw = ""

    def add(self, piece: str, final: bool = False) -> bool:
        """Whether the completion has ended.

        Args:
            final: the model ended it, so that the last line is complete.
        """
        self._raw += piece
        if self.cut is None and (piece or final):
            self.cut = filters.stop(self._received(), self._around, final)
        return self.cut is not None

    @property
    def raw(self) -> str:
        """What the model wrote so far."""
        return self._raw

    @property
    def text(self) -> str:
        """To insert at the cursor; its line ends are the file's."""
        kept = self.cut.text if self.cut else self._received()
        return filters.trim(kept, self._around).replace("\n", self._newline)

    def _received(self) -> str:
        """The answer without what was held back, `\\n` line ends."""
        text = self._raw.replace("\r\n", "\n")
        if text.endswith("\r"):
            text = text[:-1]
        return text.removeprefix(self._held_back) if self._held_back else text
