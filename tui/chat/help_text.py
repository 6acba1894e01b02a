"""What /help says."""

import textwrap
from collections.abc import Iterable, Iterator

from tui.chat.commands import ALL

_COLUMN = 24
"""Of names; a longer one has its words below it."""

_KEYS = (
    ("Enter", "send"),
    ("Alt+Enter, Ctrl+J", "new line"),
    ("Up, Down", "earlier inputs; Ctrl+R searches them"),
    ("@", "shows a file, folder, definition or @diff to the model; @FILE:10-40 some lines of it"),
    ("Tab", "complete what is offered; in an empty box, something to try"),
    (
        "Ctrl+Up",
        "walk questions, answers and code: copy, apply to a file, open in the editor, edit and ask again, retry",
    ),
    ("Esc", "stop the answer; what came is kept"),
    ("Ctrl+Y", "copy the code of the last answer"),
    ("Ctrl+C", "copy the selection, else stop, else clear the box"),
    ("Page Up, Page Down", "scroll; Ctrl+Home and Ctrl+End go all the way"),
    ("Ctrl+P", "palette: themes, screenshot, all keys"),
    ("Ctrl+Q", "leave"),
)


def help_text(width: int) -> str:
    """Lines of at most `width` cells, but not less than a column of words needs."""
    room = max(width - _COLUMN - 4, 20)
    named = [(f"/{command.name} {command.argument}".rstrip(), command.help) for command in ALL]
    return "\n".join(["Commands", *_listed(named, room), "Keys", *_listed(_KEYS, room)])


def _listed(rows: Iterable[tuple[str, str]], room: int) -> Iterator[str]:
    for name, words in rows:
        below = textwrap.wrap(words, room)
        beside = below.pop(0) if len(name) <= _COLUMN else ""
        yield f"  {name:<{_COLUMN}}  {beside}".rstrip()
        yield from (f"  {'':<{_COLUMN}}  {line}" for line in below)
