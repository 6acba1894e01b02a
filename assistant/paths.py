"""Where Hone keeps its state: one folder, `HONE_HOME` or the platform's user data folder."""

import os
from pathlib import Path

from assistant.errors import HoneError

REGISTRY = "registry.sqlite"


def home() -> Path:
    """The state folder, created with mode 0700.

    Raises:
        HoneError: the folder cannot be created or written.
    """
    override = os.environ.get("HONE_HOME")
    if override:
        folder = Path(override).expanduser().absolute()
    else:
        import platformdirs

        folder = Path(platformdirs.user_data_dir("hone", appauthor=False))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HoneError(f"cannot use {folder} for Hone's state: {error.strerror}; set HONE_HOME") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HoneError(f"cannot write to {folder}, Hone's state folder; set HONE_HOME to one you own")
    return folder


def models_dir() -> Path:
    return _ensured("models")


def adapters_dir() -> Path:
    return _ensured("adapters")


def unfinished_dir() -> Path:
    """Holds a folder for each tuning run that has not ended, with its checkpoints."""
    return _ensured("unfinished")


def tracked_dir() -> Path:
    """Holds what trackers that write files (TensorBoard) are told, a folder for each run's name."""
    return _ensured("tracked")


def schedules_dir() -> Path:
    """Holds what scheduled commands print, a file for each."""
    return _ensured("schedules")


def cache_dir() -> Path:
    """What can be made again; it may be removed while nothing runs."""
    return _ensured("cache")


def sessions_dir() -> Path:
    return _ensured("sessions")


def pastes_dir() -> Path:
    """Holds long texts that were pasted into the chat; conversations keep what the model was shown of them."""
    return _ensured("pastes")


def run_dir() -> Path:
    """Holds what a running gateway leaves: its address, process id and key."""
    return _ensured("run")


def registry_file() -> Path:
    return home() / REGISTRY


def _ensured(name: str) -> Path:
    folder = home() / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
