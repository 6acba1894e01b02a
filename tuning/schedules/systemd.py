"""Schedules as units of the user's own systemd: a timer, and the service that it starts."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from assistant import atomic
from assistant.errors import HoneError
from tuning.schedules.schedule import Installed, Schedule

_TIMES = {
    "hour": "*-*-* *:00:00",
    "day": "*-*-* 03:00:00",
    "week": "Mon *-*-* 03:00:00",
    "month": "*-*-01 03:00:00",
}
_STEM = "hone-tune-"


def units(schedule: Schedule) -> dict[str, str]:
    """The texts of the service and the timer, by file name."""
    settings = "".join(f"Environment={_quoted(f'{key}={value}')}\n" for key, value in schedule.environment.items())
    # KillMode: the job that the command submits goes on when the command has ended.
    service = (
        f"[Unit]\nDescription=Hone: tune {schedule.name}\n\n[Service]\nType=oneshot\n"
        f"WorkingDirectory={schedule.folder.replace('%', '%%')}\n{settings}"
        f"ExecStart={' '.join(_quoted(word, in_command=True) for word in schedule.argv)}\nKillMode=process\n"
    )
    timer = (
        f"[Unit]\nDescription=Hone: tune {schedule.name} every {schedule.every}\n\n"
        f"[Timer]\nOnCalendar={_TIMES[schedule.every]}\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n"
    )
    return {f"{_STEM}{schedule.name}.service": service, f"{_STEM}{schedule.name}.timer": timer}


def folder() -> Path:
    """Where a user's own units lie, see systemd.unit(5)."""
    configuration = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(configuration) / "systemd" / "user"


def is_there() -> bool:
    """Whether a systemd of this user answers."""
    return shutil.which("systemctl") is not None and _systemctl("show-environment").returncode == 0


def installed() -> list[Installed]:
    found = []
    for timer in sorted(folder().glob(f"{_STEM}*.timer")):
        name = timer.stem.removeprefix(_STEM)
        times = _value(timer, "OnCalendar")
        every = next((word for word, each in _TIMES.items() if each == times), times)
        found.append(Installed(name, "systemd", every, _value(timer.with_suffix(".service"), "ExecStart"), str(timer)))
    return found


def install(name: str, texts: Mapping[str, str]) -> None:
    """Writes the units in place of those that the schedule `name` has, and starts the timer.

    Raises:
        HoneError: no systemd of this user answers, or it refuses; then no unit is left.
    """
    if not is_there():
        raise HoneError("no systemd of this user answers (systemctl --user); use --install cron")
    try:
        for file, text in texts.items():
            atomic.write_text(folder() / file, text)
    except OSError as error:
        raise HoneError(f"cannot write units in {folder()}: {error.strerror or error}") from error
    for arguments in (("daemon-reload",), ("enable", "--now", f"{_STEM}{name}.timer")):
        done = _systemctl(*arguments)
        if done.returncode:
            remove(name)
            raise HoneError(f"systemctl --user {arguments[0]} failed, so nothing is installed: {_complaint(done)}")


def remove(name: str) -> None:
    """
    Raises:
        HoneError: the disk refuses.
    """
    if shutil.which("systemctl"):
        _systemctl("disable", "--now", f"{_STEM}{name}.timer")
    try:
        for ending in ("timer", "service"):
            (folder() / f"{_STEM}{name}.{ending}").unlink(missing_ok=True)
    except OSError as error:
        raise HoneError(f"cannot remove units from {folder()}: {error.strerror or error}") from error
    if shutil.which("systemctl"):
        _systemctl("daemon-reload")


def _quoted(word: str, in_command: bool = False) -> str:
    """A word of a unit file, see systemd.syntax(7); `%` and, in commands, `$` stand for themselves when doubled."""
    word = word.replace("%", "%%")
    if in_command:
        word = word.replace("$", "$$")
    if re.fullmatch(r"[\w@%$+=:,./-]+", word, re.ASCII):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _value(unit: Path, key: str) -> str:
    """What a unit says; empty when it does not."""
    try:
        lines = unit.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((each.partition("=")[2] for each in lines if each.startswith(f"{key}=")), "")


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemctl", "--user", "--no-ask-password", *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, errors="replace"
    )


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stderr.split())[:300] or f"exit code {done.returncode}"
