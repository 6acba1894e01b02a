"""The table [review] of the configuration: its keys, and from which confidence on a finding is told."""

import difflib
from pathlib import Path
from typing import Any

from assistant import config
from assistant.errors import HoneError

_KEYS = ("analyzers", "min_confidence")


def tables() -> list[tuple[Path, dict[str, Any]]]:
    """[review] of each configuration file that has it, weakest first.

    Raises:
        HoneError: a file is damaged, or a table has an unknown key.
    """
    found = config.tables("review")
    for file, table in found:
        for key in table:
            if key not in _KEYS:
                near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0)
                raise HoneError(f"{file}: unknown key {key!r} in [review]; the nearest known one is {near[0]!r}")
    return found


def minimum_confidence() -> float | None:
    """What the strongest file says, 0 to 1; None where none does.

    Raises:
        HoneError: as for `tables`, or it is no such number.
    """
    found = None
    for file, table in tables():
        value = table.get("min_confidence")
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise HoneError(f"{file}: review.min_confidence must be a number from 0 to 1, not {value!r}")
        found = float(value)
    return found
