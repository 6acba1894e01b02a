"""What the model is told before a conversation: the system prompt, and the repository's AGENTS.md."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from assistant import config
from assistant.errors import HoneError
from assistant.skills import confine
from assistant.skills.mentions import Place, read_text, shown_path

SYSTEM_PROMPT = (
    "You are Hone, a coding assistant in the user's terminal. Answer briefly and correctly. "
    "Put code in fenced Markdown blocks that name the language."
)
FILE_NAMES = ("AGENTS.md", "CLAUDE.md", "GEMINI.md")
"""The first one that a folder has counts; the nearest folder counts."""
_KEYS = ("system", "agents")


@dataclass(frozen=True)
class Instructions:
    system: str = SYSTEM_PROMPT
    file: str = ""
    """The instruction file, from the repository's root; empty when there is none."""
    text: str = ""
    """Of that file."""


def load(place: Place) -> Instructions:
    """What `[chat]` of the configuration files and the instruction file say: `system` replaces the system prompt,
    `agents = false` leaves the file out.

    Raises:
        HoneError: an unknown key, a value of another type, or an instruction file that cannot be shown.
    """
    system, agents = SYSTEM_PROMPT, True
    for file, table in config.tables("chat"):
        for key, value in table.items():
            if key not in _KEYS:
                near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0)[0]
                raise HoneError(f"{file}: unknown key {key!r} in [chat]; the nearest known one is {near!r}")
            wanted = str if key == "system" else bool
            if not isinstance(value, wanted) or value == "":
                kind = "a text that is not empty" if key == "system" else "true or false"
                raise HoneError(f"{file}: {key} in [chat] must be {kind}")
        system, agents = str(table.get("system", system)), bool(table.get("agents", agents))
    found = _file(place) if agents else None
    if found is None:
        return Instructions(system)
    name = shown_path(found, place)
    return Instructions(system, name, read_text(found, name).strip())


def _file(place: Place) -> Path | None:
    """Upwards from the current folder to the repository's root and no further."""
    folder, root = place.folder.resolve(), place.root.resolve()
    for one in (folder, *folder.parents):
        if not one.is_relative_to(root):
            break
        for name in FILE_NAMES:
            if (one / name).is_file():
                return confine.inside(name, one, root)
    return None
