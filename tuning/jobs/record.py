"""How an attempt at a job ended, and why: its death certificate."""

import json
import re
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

Ending = Literal["done", "failed", "stopped", "died"]
"""Failed: a step said no. Died: it was killed, or its supervisor or the machine was."""

RESERVED = 1 << 16
"""Bytes kept for a record from the start."""
LAST_LINES = 50
_LINE = 400
_TAIL = 1 << 16
_LONG_TAIL = 1 << 20
_DISK_FULL = re.compile(r"no space left on device|disk quota exceeded|ENOSPC|cannot write .*: file too large", re.I)
_NO_MEMORY = re.compile(
    r"MemoryError|cannot allocate memory|can't allocate memory|not enough memory|std::bad_alloc"
    r"|(CUDA|MPS|HIP)\b.{0,20}out of memory|OutOfMemoryError",
    re.I,
)


@dataclass(frozen=True)
class Checkpointed:
    """The last good checkpoint."""

    step: int
    share: float


@dataclass(frozen=True)
class Record:
    ending: Ending
    reason: str
    """One line."""
    advice: str
    """What to do next, one line; empty when all is well."""
    ended: str
    """UTC, ISO 8601."""
    step: str = ""
    """The one it ended in; empty before the first."""
    exit_code: int | None = None
    signal: str | None = None
    """Such as SIGKILL."""
    memory_evidence: tuple[str, ...] = ()
    """Where the system says that it ran out of memory."""
    peak_memory: int = 0
    """Bytes."""
    seconds: float = 0.0
    """Since the attempt's first step began."""
    checkpoint: Checkpointed | None = None
    last_lines: tuple[str, ...] = ()
    """Of the log."""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def to_json(record: Record) -> dict[str, Any]:
    """Small enough for what was reserved: the earliest of the last lines go first."""
    content = {"schema_version": 1, **asdict(record)}
    lines = list(record.last_lines)
    while lines and len(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")) > RESERVED - 1:
        lines = lines[(len(lines) + 1) // 2 :]
        content["last_lines"] = lines
    return content


def from_json(content: dict[str, Any]) -> Record | None:
    """None for what is no record."""
    try:
        rest = {key: value for key, value in content.items() if key != "schema_version"}
        checkpoint = rest.pop("checkpoint")
        for key in ("memory_evidence", "last_lines"):
            rest[key] = tuple(map(str, rest[key]))
        record = Record(**rest, checkpoint=Checkpointed(**checkpoint) if checkpoint else None)
    except (KeyError, TypeError):
        return None
    return record if record.ending in get_args(Ending) else None


def last_lines(log: Path, most: int = LAST_LINES, tail: int = _TAIL) -> tuple[str, ...]:
    """The end of a log; of a line that is written over again and again, what stood there last."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - tail))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    lines = [line.rstrip("\r").rpartition("\r")[2][:_LINE] for line in text.split("\n")]
    return tuple(line for line in lines if line.strip())[-most:]


def disk_was_full(lines: Sequence[str]) -> bool:
    return any(_DISK_FULL.search(line) for line in lines)


def memory_was_refused(lines: Sequence[str]) -> bool:
    """The program itself says that it got no memory."""
    return any(_NO_MEMORY.search(line) for line in lines)


def said(lines: Sequence[str]) -> str | None:
    """The last line that a command of Hone ended with, or the last one of a traceback."""
    for line in reversed(lines):
        if line.startswith("hone: "):
            return line.removeprefix("hone: ")
    return lines[-1].strip() if lines else None


def complaint(log: Path) -> str | None:
    """The line that the last step's command of Hone ended with. Where several processes train one run, what the others
    and their launchers say of that end stands below it, at length."""
    for line in reversed(last_lines(log, _LONG_TAIL, _LONG_TAIL)):
        if line.startswith("hone: "):
            return line.removeprefix("hone: ")
        if line.startswith("$ "):
            break
    return None


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def reason_of(step: str, code: int, lines: Sequence[str], evidence: Sequence[str], explained: str | None) -> str:
    """Why a step ended, in one line.

    Args:
        code: its exit code; negative: the signal that killed it.
        explained: what the step itself said of it, where that is known; else the last lines tell.
    """
    if code < 0 and evidence:
        return f"{step} was killed because memory ran out ({evidence[0]})"
    if code < 0:
        name = signal_name(-code)
        known = "; the system's records show no lack of memory" if name == "SIGKILL" else ""
        return f"{step} was killed by {name}{known}"
    if memory_was_refused(lines):
        return f"{step} got no more memory and ended with exit code {code}"
    if disk_was_full(lines):
        return f"{step} found the disk full and ended with exit code {code}"
    words = explained or said(lines)
    return f"{step} ended with exit code {code}" + (f": {words}" if words else "")


def advice_of(
    identifier: str, code: int, lines: Sequence[str], evidence: Sequence[str], explained: str | None, kept: bool
) -> str:
    """What to do after a step that did not end well, in one line.

    Args:
        explained: what its report explains; a decision is no mistake in the command line.
        kept: there is a checkpoint to go on from.
    """
    again = f"`hone jobs resume {identifier}` " + ("goes on from the checkpoint" if kept else "does the step again")
    if evidence or memory_was_refused(lines):
        return (
            f"free memory, then {again}; or run it again with less: a smaller --row-length or "
            "--activation-checkpointing"
        )
    if disk_was_full(lines):
        return f"free disk space, then {again}"
    if code < 0:
        return again
    if code == 2 and not explained:
        return "run it again with another command line, or " + again
    return f"see `hone jobs logs {identifier}`; {again}"
