"""The user's own editor as a command line that opens a file, at a line where the editor is known to take one."""

import re
import shlex
from pathlib import Path

_PLUS = frozenset(
    ("vi", "vim", "nvim", "gvim", "view", "ex", "nvi", "nano", "emacs", "emacsclient", "micro", "hx", "kak", "joe")
)
"""Take `+LINE FILE`; others would open a file of that name."""
_GOTO = frozenset(("code", "codium", "vscodium"))
"""Take `-g FILE:LINE`."""


def command(editor: str, path: Path, line: int) -> list[str]:
    """
    Args:
        editor: as in `$EDITOR`, with its arguments.

    Raises:
        ValueError: a quotation is not closed, or there is nothing in it.
    """
    words = shlex.split(editor)
    if not words:
        raise ValueError("it is empty")
    # As in vim.basic, emacs-nox and code-insiders.
    name = re.split(r"[.\-\d]", Path(words[0]).name)[0]
    if name in _PLUS:
        return [*words, f"+{line}", str(path)]
    return [*words, "-g", f"{path}:{line}"] if name in _GOTO else [*words, str(path)]
