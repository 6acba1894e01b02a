"""What the user set in the editor and finds again: languages without suggestions."""

import json
from pathlib import Path

from assistant import atomic, paths
from assistant.errors import HoneError

SCHEMA_VERSION = 1


def quiet_languages() -> frozenset[str]:
    """Languages in which nothing is suggested unasked."""
    try:
        content = json.loads(_file().read_text("utf-8"))
        return frozenset(str(name) for name in content["quiet_languages"])
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def keep_quiet_languages(names: frozenset[str]) -> None:
    """Raises HoneError when the disk refuses."""
    try:
        atomic.write_json(_file(), {"schema_version": SCHEMA_VERSION, "quiet_languages": sorted(names)}, mode=0o600)
    except OSError as error:
        raise HoneError(f"cannot write {_file()}: {error.strerror}") from error


def _file() -> Path:
    return paths.home() / "editor.json"
