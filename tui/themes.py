"""The app's own theme, and which of all themes the user chose."""

import json
from pathlib import Path

from textual.theme import Theme

from assistant import atomic, paths
from assistant.errors import HoneError

SCHEMA_VERSION = 1
THEME = Theme(
    name="hone",
    primary="#e0a458",
    secondary="#7fa7c9",
    accent="#c792b8",
    foreground="#dcdfe4",
    background="#15171c",
    surface="#1c1f26",
    panel="#262a33",
    success="#8fc18a",
    warning="#e3c26b",
    error="#e0707a",
    dark=True,
    variables={"footer-key-foreground": "#e0a458", "border-blurred": "#3a404c"},
)


def kept() -> str:
    """The name of the theme that was chosen; empty where none was."""
    try:
        name = json.loads(_file().read_text("utf-8"))["theme"]
    except (HoneError, OSError, ValueError, KeyError, TypeError):
        return ""
    return name if isinstance(name, str) else ""


def keep(name: str) -> None:
    """Raises HoneError when the disk refuses."""
    try:
        atomic.write_json(_file(), {"schema_version": SCHEMA_VERSION, "theme": name}, mode=0o600)
    except OSError as error:
        raise HoneError(f"cannot keep the theme in {_file()}: {error.strerror}") from error


def _file() -> Path:
    return paths.home() / "app.json"
