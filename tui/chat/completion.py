"""What the input box offers while a mention or a slash command is typed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from assistant.errors import HoneError
from assistant.skills import definitions, mentions, repository
from assistant.skills.mentions import Place
from tui.chat import fuzzy
from tui.chat.commands import matching

MOST_ROWS = 8
"""Of mentions; commands are few."""
MOST_PARSED = 2_000
"""Files whose definitions are offered; parsing more takes too long to be of use."""
_MENTION = re.compile(r'(?:^|[\s(])@(?P<quote>"?)(?P<typed>[^\s"@]*)$')
_DIFFS = {"diff": "changes that are not staged", "diff:staged": "staged changes"}


@dataclass(frozen=True)
class Row:
    """`insert` replaces what was typed."""

    insert: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Offer:
    """The rows for what stands before the cursor; they replace its last `typed` characters."""

    typed: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Names:
    """What can be mentioned in this folder."""

    paths: tuple[str, ...] = ()
    symbols: dict[str, str] = field(default_factory=dict)
    """Name of a definition -> its place."""


def read_paths(place: Place) -> Names:
    """The files and folders; fast."""
    return Names(tuple(mentions.candidates(place)))


def read_symbols(place: Place, names: Names) -> Names:
    """With the definitions of the tracked sources; takes a second in a large repository."""
    if not place.in_git:
        return names
    symbols: dict[str, str] = {}
    try:
        sources = repository.tracked_sources(place.root)[:MOST_PARSED]
        for one in definitions.everywhere(place.root, sources):
            symbols.setdefault(one.name, f"{one.path}:{one.first}")
    except (HoneError, OSError):
        return names
    return Names(names.paths, symbols)


def typing_mention(before: str) -> bool:
    return _MENTION.search(before) is not None


def offer(before: str, text: str, names: Names) -> Offer | None:
    """What to offer when `before` stands in front of the cursor, on its line, and `text` is all of the input."""
    commands = matching(text)
    if commands and before == text:
        rows = tuple(
            Row(f"/{one.name}{' ' if one.argument else ''}", f"/{one.name} {one.argument}".rstrip(), one.help)
            for one in commands
        )
        return Offer(len(text), rows)
    found = _MENTION.search(before)
    if found is None:
        return None
    typed = found["typed"]
    rows = tuple(_mention_rows(typed, names))[:MOST_ROWS]
    # Nothing to offer for what is complete already.
    if not rows or (len(rows) == 1 and rows[0].insert.rstrip() == f"@{typed}"):
        return None
    return Offer(1 + len(found["quote"]) + len(typed), rows)


def _mention_rows(typed: str, names: Names) -> list[Row]:
    rows = [Row(f"@{name} ", f"@{name}", note) for name, note in _DIFFS.items() if name.startswith(typed)]
    for path in fuzzy.ranked(typed, names.paths, MOST_ROWS):
        quoted = f'@"{path}"' if re.search(r"\s", path) else f"@{path}"
        # A folder can be typed on.
        rows.append(Row(quoted if path.endswith("/") else quoted + " ", f"@{path}"))
    if typed:
        symbols = fuzzy.ranked(typed, names.symbols, MOST_ROWS)
        near = [Row(f"@{name} ", f"@{name}", names.symbols[name]) for name in symbols]
        exact = [row for row in near if row.label[1:].rpartition(".")[2].lower().startswith(typed.lower())]
        rest = [row for row in near if row not in exact]
        # Room for both kinds: a definition that begins so stands before paths that only hold the letters.
        paths = rows
        rows = paths[: MOST_ROWS - min(len(exact), MOST_ROWS // 2)] + exact + rest
    return rows


def shorten(names: Sequence[str]) -> str:
    """A few names as one phrase."""
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
