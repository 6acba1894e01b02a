"""Schedules as lines of the user's crontab, known by the comment at their end."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from assistant.errors import HoneError
from tuning.schedules.schedule import Installed, Schedule

_TIMES = {"hour": "0 * * * *", "day": "0 3 * * *", "week": "0 3 * * 1", "month": "0 3 1 * *"}
_MARK = "# hone schedule "
_MOST = 990
"""Characters of a line: Vixie's cron refuses commands of 1,000 and more."""
_DAEMONS = ("cron", "crond", "fcron", "busybox-crond", "dcron")


def line(schedule: Schedule, log: Path) -> str:
    """
    Args:
        log: what the command prints is added to this file.

    Raises:
        HoneError: it is longer than a crontab takes, or has what cron cannot hold.
    """
    settings = [f"{name}={shlex.quote(value)}" for name, value in schedule.environment.items()]
    words = " ".join([*settings, shlex.join(schedule.argv)])
    # Also what is wrong with the folder goes to the log.
    command = f"{{ cd {shlex.quote(schedule.folder)} && {words} ; }} >>{shlex.quote(str(log))} 2>&1"
    if "\\%" in command:
        raise HoneError("cron cannot hold a backslash before a %; rename it, or use --install systemd")
    # cron takes a bare % for the end of the line.
    escaped = command.replace("%", "\\%")
    whole = f"{_TIMES[schedule.every]} {escaped} {_MARK}{schedule.name}"
    if len(whole) > _MOST:
        raise HoneError(
            f"the crontab line would be {len(whole)} characters long, and cron takes {_MOST}; put the settings into a "
            "file and give it by --config, or use --install systemd"
        )
    return whole


def is_there() -> bool:
    return shutil.which("crontab") is not None


def is_running() -> bool:
    """Whether a cron daemon is seen; without one nothing starts what a crontab says."""
    return any(process.info["name"] in _DAEMONS for process in psutil.process_iter(["name"]))


def installed() -> list[Installed]:
    """
    Raises:
        HoneError: the crontab cannot be read.
    """
    if not is_there():
        return []
    return [found for each in _read() if (found := _parsed(each)) is not None]


def install(name: str, wanted: str) -> None:
    """Adds a line in place of the one that the schedule `name` has.

    Raises:
        HoneError: there is no crontab, or it refuses the line.
    """
    if not is_there():
        raise HoneError("there is no crontab on this machine; use --install systemd, or any scheduler that you have")
    _write([*_without(_read(), name), wanted])
    if wanted not in _read():
        raise HoneError("crontab took the line and does not show it; put it there yourself by `crontab -e`")


def remove(name: str) -> None:
    """
    Raises:
        HoneError: the crontab refuses.
    """
    _write(_without(_read(), name))


def _parsed(text: str) -> Installed | None:
    found = re.fullmatch(rf"((?:\S+ ){{5}})(.*) {_MARK}(\S+)", text)
    if found is None or text.startswith("#"):
        return None
    times = found[1].rstrip()
    every = next((name for name, each in _TIMES.items() if each == times), times)
    return Installed(found[3], "cron", every, found[2].replace("\\%", "%"), "crontab -l")


def _without(lines: Sequence[str], name: str) -> list[str]:
    return [each for each in lines if (found := _parsed(each)) is None or found.name != name]


def _read() -> list[str]:
    done = _crontab("-l")
    # Said by every cron of a user who has none yet.
    if done.returncode and "no crontab" in done.stderr.lower():
        return []
    if done.returncode:
        raise HoneError(f"the crontab cannot be read: {_complaint(done)}")
    return done.stdout.splitlines()


def _write(lines: Sequence[str]) -> None:
    done = _crontab("-", text="".join(f"{each}\n" for each in lines))
    if done.returncode:
        raise HoneError(f"crontab refuses the change, so nothing is changed: {_complaint(done)}")


def _crontab(argument: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["crontab", argument],
        input=text,
        capture_output=True,
        encoding="utf-8",
        # What others have written there goes back as it came.
        errors="surrogateescape",
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stderr.split())[:300] or f"exit code {done.returncode}"
