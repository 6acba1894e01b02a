"""When events are removed because their time is over: once a day, and not at once when the clock may be wrong.

Beside the events lie two empty files whose times count: that of the last removal, and that of the first moment at which
the clock had gone ahead so far that everything would go. A clock that is still there after some days is believed.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

_EVERY = timedelta(days=1)
_PLAUSIBLE = timedelta(days=30)
"""Without use; however short events are kept."""
_BELIEVED_AFTER = timedelta(days=7)


def is_due(file: Path, now: datetime) -> bool:
    """Whether to look for what is to go."""
    last = _time_of(_stamp(file))
    return last is None or not timedelta() <= now - last < _EVERY


def is_doubtful(file: Path, days: int, now: datetime, newest: Callable[[], datetime | None]) -> bool:
    """Whether the clock is so far past the last removal and the newest event that it may have jumped; noted then.

    Args:
        days: how long events are kept.
        newest: the time of the newest event; asked for when it is needed.

    Raises:
        OSError: the note cannot be written.
    """
    since = _time_of(_doubt(file))
    if since is not None and since <= now:
        return now - since < _BELIEVED_AFTER
    # It has been set back.
    _doubt(file).unlink(missing_ok=True)
    gap = max(timedelta(days=days), _PLAUSIBLE)
    last = _time_of(_stamp(file))
    if last is not None and now - last <= gap:
        return False
    known = [time for time in (last, newest()) if time is not None]
    if not known or now - max(known) <= gap:
        return False
    _touch(_doubt(file), now)
    return True


def done(file: Path, now: datetime) -> None:
    """
    Raises:
        OSError: the folder cannot be written.
    """
    _touch(_stamp(file), now)
    _doubt(file).unlink(missing_ok=True)


def put_off_until(file: Path) -> datetime | None:
    """When the clock will be believed; None where it is not in doubt."""
    since = _time_of(_doubt(file))
    return None if since is None else since + _BELIEVED_AFTER


def _stamp(file: Path) -> Path:
    return file.with_name(file.name + ".expired")


def _doubt(file: Path) -> Path:
    return file.with_name(file.name + ".doubt")


def _time_of(file: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def _touch(file: Path, time: datetime) -> None:
    file.touch(0o600)
    os.utime(file, (time.timestamp(), time.timestamp()))
