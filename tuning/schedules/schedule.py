"""A command that comes again, and when."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from assistant.errors import HoneError

Every = Literal["hour", "day", "week", "month"]
EVERY: tuple[str, ...] = get_args(Every)
By = Literal["cron", "systemd"]
BY: tuple[str, ...] = get_args(By)


@dataclass(frozen=True)
class Schedule:
    name: str
    """The adapter's; there is one schedule for each."""
    every: Every
    folder: str
    """Where the command runs."""
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the command needs that a scheduler does not give it; never secrets, since it is written down."""

    def __post_init__(self) -> None:
        """
        Raises:
            HoneError: neither a crontab nor a unit can hold it.
        """
        for text in (self.folder, *self.argv, *self.environment.values()):
            if not text.isprintable():
                raise HoneError(f"{text!r} has a line break or another control character, which no schedule can hold")


@dataclass(frozen=True)
class Installed:
    """A schedule as it stands in a crontab or in systemd's units."""

    name: str
    by: By
    every: str
    """As the scheduler writes it, where it is none of `EVERY`."""
    command: str
    where: str
    """The file, or the command that shows it."""
