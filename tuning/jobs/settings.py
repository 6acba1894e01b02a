"""How this machine runs jobs: the table `[jobs]` of the user's configuration file."""

import difflib
from dataclasses import dataclass, fields
from typing import Any

from assistant import config
from assistant.errors import HoneError


@dataclass(frozen=True)
class JobSettings:
    limit: int = 1
    """Jobs that may run at once."""
    nice: int = 10
    """0 to 19; the higher, the more a job yields to what else the machine does."""
    threads: int | None = None
    """Of a job's arithmetic; None: all cores."""
    memory_gb: float = 2.0
    """What a job is expected to need when its submission does not say."""
    stop_seconds: float = 120.0
    """What a job may take for its checkpoint when it is stopped."""


_LEAST = {"limit": 1, "nice": 0, "threads": 1, "memory_gb": 0.0, "stop_seconds": 1.0}
_MOST = {"nice": 19}


def load() -> JobSettings:
    """
    Raises:
        HoneError: a key is unknown or has an impossible value, or a repository's file has such a table.
    """
    given: dict[str, Any] = {}
    for file, table in config.tables("jobs"):
        # A cloned repository must not decide how much of this machine is used.
        if file.name == config.REPOSITORY_FILE:
            raise HoneError(f"{file}: [jobs] cannot be set by a repository; set it in {config.user_file()}")
        known = [each.name for each in fields(JobSettings)]
        for key, value in table.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0)
                raise HoneError(f"{file}: unknown key jobs.{key}; the nearest known one is {near[0]!r}")
            whole = key in ("limit", "nice", "threads")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise HoneError(f"{file}: jobs.{key} = {value!r} must be a {'whole ' if whole else ''}number")
            if not _LEAST[key] <= value <= _MOST.get(key, float("inf")):
                bounds = f"{_LEAST[key]:g} to {_MOST[key]}" if key in _MOST else f"at least {_LEAST[key]:g}"
                raise HoneError(f"{file}: jobs.{key} = {value!r} is not possible; allowed: {bounds}")
            given[key] = value
    return JobSettings(**given)
