"""What the user set in the editor and finds again."""

import json
from dataclasses import dataclass
from pathlib import Path

from assistant import atomic, paths
from assistant.errors import HoneError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Preferences:
    quiet_languages: frozenset[str] = frozenset()
    """Languages in which nothing is suggested unasked."""
    soft_wrap: bool = False
    """Lines that are longer than the view is wide go on in its next row."""


def read() -> Preferences:
    try:
        content = json.loads(_file().read_text("utf-8"))
        quiet = frozenset(str(name) for name in content["quiet_languages"])
        return Preferences(quiet, content.get("soft_wrap") is True)
    except (OSError, ValueError, KeyError, TypeError):
        return Preferences()


def keep(preferences: Preferences) -> None:
    """Raises HoneError when the disk refuses."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "quiet_languages": sorted(preferences.quiet_languages),
        "soft_wrap": preferences.soft_wrap,
    }
    try:
        atomic.write_json(_file(), content, mode=0o600)
    except OSError as error:
        raise HoneError(f"cannot write {_file()}: {error.strerror}") from error


def _file() -> Path:
    return paths.home() / "editor.json"
