"""How this machine runs jobs: the table `[jobs]` of the user's configuration file."""

from dataclasses import dataclass

from tuning.jobs import own_table


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
        HoneError: as `own_table.load`.
    """
    return own_table.load("jobs", JobSettings, _LEAST, _MOST)
