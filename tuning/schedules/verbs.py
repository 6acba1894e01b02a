"""What is done with schedules: install, list, remove."""

from contextlib import AbstractContextManager
from pathlib import Path

from assistant import paths
from assistant.errors import HoneError, UsageError
from tuning.jobs import files, job, record, state
from tuning.jobs.spec import BadSpec
from tuning.schedules import cron, systemd
from tuning.schedules.schedule import BY, Installed, Schedule


def log_of(name: str) -> Path:
    """What cron's runs of a schedule print."""
    return paths.schedules_dir() / f"{name}.log"


def installed() -> list[Installed]:
    """By name.

    Raises:
        HoneError: the crontab cannot be read.
    """
    return sorted([*cron.installed(), *systemd.installed()], key=lambda one: (one.name, one.by))


def outcome(one: Installed) -> str:
    """What came of its last run: the state of the job, or the line that says why there is none. Empty before."""
    said = ""
    if one.by == "cron":
        # The last line of a run that submitted a job tells how to stop it.
        said = next(iter(record.last_lines(log_of(one.name), 1)), "").strip()
        if said and not said.startswith("hone jobs stop "):
            return said.removeprefix("hone: ")
    jobs = [each for each in job.all_jobs(job.folder()) if said.endswith(each.id) or not said]
    for each in reversed(jobs):
        try:
            seen = state.settled(each)
        except BadSpec:
            continue
        if seen.spec.name == one.name and seen.spec.command[:1] == ("tune",):
            when = f" {seen.ended.ended[:10]}" if seen.ended else ""
            return f"{seen.state}{when} (job {each.id})"
    return ""


def install(schedule: Schedule, by: str) -> list[Installed]:
    """Puts a schedule into a crontab or into systemd; returns those of the same name that it replaces.

    Raises:
        UsageError: there is no such scheduler.
        HoneError: this machine has none, or it refuses.
    """
    if by not in BY:
        raise UsageError(f"--install {by}: there are {' and '.join(BY)}")
    if not cron.is_there() and not systemd.is_there():
        raise HoneError(
            "this machine has neither crontab nor a systemd that answers its user; run the printed command by any "
            "scheduler that you have"
        )
    with _changing():
        before = [each for each in installed() if each.name == schedule.name]
        if by == "cron":
            cron.install(schedule.name, cron.line(schedule, log_of(schedule.name)))
        else:
            systemd.install(schedule.name, systemd.units(schedule))
        for other in before:
            if other.by != by:
                _remove(other)
    return before


def remove(name: str) -> list[Installed]:
    """
    Raises:
        HoneError: nothing of this name is scheduled, or the scheduler refuses.
    """
    with _changing():
        known = installed()
        found = [each for each in known if each.name == name]
        if not found:
            names = ", ".join(each.name for each in known) or "nothing is"
            raise HoneError(f"{name} is not scheduled here; scheduled: {names}")
        for each in found:
            _remove(each)
    return found


def _remove(one: Installed) -> None:
    cron.remove(one.name) if one.by == "cron" else systemd.remove(one.name)


def _changing() -> AbstractContextManager[None]:
    """A crontab is read, changed and written: one process at a time does so."""
    return files.locked(paths.schedules_dir() / ".lock")
