"""Answers that end with their block. llama.cpp's own `n_indent` streams the line that it then takes back."""


class IndentStop:
    """Passes text on until a line is indented by too few spaces and tabs; blank lines do not count, nor does the first.

    Args:
        least: characters of indentation.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._held = ""
        self._at_line_start = False
        self.stopped = False

    def add(self, piece: str) -> str:
        """What of the text so far can be passed on now; blanks at the start of a line wait for what follows them."""
        passed: list[str] = []
        for character in "" if self.stopped else piece:
            if character == "\n":
                passed += (self._held, character)
                self._held, self._at_line_start = "", True
            elif self._at_line_start and character in " \t":
                self._held += character
            elif self._at_line_start and len(self._held) < self._least:
                self._held, self.stopped = "", True
                break
            else:
                passed += (self._held, character)
                self._held, self._at_line_start = "", False
        return "".join(passed)

    def rest(self) -> str:
        """What was held back, once no more text comes."""
        return self._held
