"""Slurm by its commands: submit, ask, tell, cancel. The commands are Slurm's interface that stays."""

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from assistant import atomic
from assistant.errors import HoneError
from tuning.jobs import files
from tuning.jobs.job import Job

_SECONDS = 60.0
"""What an answer may take."""
_FRESH_SECONDS = 5.0
"""Slurm's controller serves everybody: it is asked once in so long for all jobs together."""
_FIELDS = ("%i", "%j", "%T", "%S", "%N", "%r")
"""Of squeue(1): number, name, state, expected or real start, nodes, reason."""


class NoAnswer(HoneError):
    """Slurm could not be asked; nothing follows for its jobs."""


@dataclass(frozen=True)
class Seen:
    """A job as Slurm has it."""

    number: int
    state: str
    """Such as PENDING, see JOB STATE CODES of squeue(1)."""
    reason: str = ""
    """The code why it waits, or None."""
    start: str = ""
    """When it began, or is expected to as far as Slurm knows; local time, ISO 8601, or N/A."""
    nodes: str = ""


@dataclass
class _Answer:
    """What Slurm said last."""

    at: float = float("-inf")
    """Of the monotonic clock, in seconds."""
    jobs: dict[str, Seen] = field(default_factory=dict)
    """By name."""


_last = _Answer()


def number(job: Job) -> int | None:
    """Its number in Slurm; None when it has not been taken."""
    content = files.read_filled(job.folder / "slurm.json")
    found = content and content.get("number")
    return found if isinstance(found, int) else None


def keep_number(job: Job, taken: int) -> None:
    atomic.write_json(job.folder / "slurm.json", {"number": taken}, mode=0o600)


def forget_number(job: Job) -> None:
    (job.folder / "slurm.json").unlink(missing_ok=True)


def submit(script: Path) -> int:
    """
    Returns:
        The number of the job in Slurm.

    Raises:
        HoneError: Slurm refuses, does not answer or is not there.
    """
    # Inside a job of Slurm its variables would make the new one a part of it; those of sbatch go before the script.
    told = ("SLURM_", "SBATCH_")
    environment = {key: value for key, value in os.environ.items() if key == "SLURM_CONF" or not key.startswith(told)}
    answer = _asked(["sbatch", "--parsable", str(script)], environment)
    try:
        return int(answer.strip().splitlines()[-1].split(";")[0])
    except (IndexError, ValueError):
        raise HoneError(f"sbatch answered {answer.strip()!r}, which is no number of a job") from None


def seen(name: str, taken: int | None, *, at_once: bool = False) -> Seen | None:
    """How Slurm has a job of this user now; None when it knows of none.

    Args:
        name: of the job in Slurm.
        taken: its number when that is known; an earlier job of the same name is another one then.
        at_once: with no answer from a moment ago.

    Raises:
        NoAnswer: Slurm does not answer.
    """
    found = _fitting(name, taken)
    if at_once or found is None or time.monotonic() - _last.at > _FRESH_SECONDS:
        _last.jobs, _last.at = _queue(), time.monotonic()
        found = _fitting(name, taken)
    return found if found is not None or taken is None else _accounted(taken)


def tell(taken: int, signal: str) -> None:
    """Sends a signal, such as USR1, to the job's supervisor alone.

    Raises:
        HoneError: Slurm does not do it.
    """
    _done(["scancel", "--batch", f"--signal={signal}", str(taken)])


def cancel(taken: int) -> None:
    """
    Raises:
        HoneError: Slurm does not do it.
    """
    _done(["scancel", str(taken)])


def requeue(taken: int) -> None:
    """Ends the job now and puts it into Slurm's queue again.

    Raises:
        HoneError: Slurm does not do it.
    """
    _done(["scontrol", "requeue", str(taken)])


def _done(command: list[str]) -> None:
    """Runs a command after which what was seen before is no longer true."""
    _asked(command)
    _last.at = float("-inf")


def _fitting(name: str, taken: int | None) -> Seen | None:
    found = _last.jobs.get(name)
    return found if found is not None and taken in (None, found.number) else None


def _queue() -> dict[str, Seen]:
    """All of this user's jobs that Slurm has in memory, those that ended lately too; the last of each name."""
    answer = _asked(["squeue", "--me", "--noheader", "--states=all", f"--format={'|'.join(_FIELDS)}"])
    found: dict[str, Seen] = {}
    for line in answer.splitlines():
        parts = line.split("|", len(_FIELDS) - 1)
        if len(parts) == len(_FIELDS) and parts[0].isdigit():
            taken, name, state, start, nodes, reason = parts
            if name not in found or found[name].number < int(taken):
                found[name] = Seen(int(taken), state, reason.strip(), start, nodes)
    return found


def _accounted(taken: int) -> Seen | None:
    """A job that ended longer ago, where the cluster keeps accounts."""
    try:
        answer = _asked(["sacct", "-X", "--noheader", "--parsable2", f"--jobs={taken}", "--format=State,NodeList"])
    except NoAnswer:
        return None
    lines = answer.strip().splitlines()
    if not lines:
        return None
    state, _, nodes = lines[-1].partition("|")
    # `CANCELLED by 1000`
    return Seen(taken, state.split()[0], nodes=nodes) if state else None


def _asked(command: list[str], environment: "dict[str, str] | None" = None) -> str:
    """What a command of Slurm prints."""
    base = dict(os.environ) if environment is None else environment
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            env={**base, "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"},
            check=False,
        )
    except FileNotFoundError:
        raise NoAnswer(f"there is no {command[0]} here; Slurm's commands must be installed on this machine") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"Slurm does not answer: {command[0]} took more than {_SECONDS:.0f} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        raise NoAnswer(f"Slurm says: {lines[-1] if lines else f'{command[0]} ended with {done.returncode}'}")
    return done.stdout.decode("utf-8", "replace")
