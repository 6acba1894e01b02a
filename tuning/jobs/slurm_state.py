"""Where a job on Slurm stands: its supervisor says so while it runs, Slurm is asked only when that is silent."""

from typing import Any

from tuning.jobs import slurm, slurm_reasons
from tuning.jobs.identity import Identity
from tuning.jobs.job import Job
from tuning.jobs.pulse import Pulse
from tuning.jobs.slurm_script import name_of
from tuning.jobs.standing import Standing, asked_to_stop, heard, silence


def standing(job: Job, supervisor: Identity | None, pulse: Pulse | None) -> Standing:
    """Of a job without a record of its end. A final state means that nobody was there to write one."""
    told = heard(supervisor, pulse)
    if told is not None:
        return told
    try:
        found = slurm.seen(name_of(job.id), slurm.number(job))
    except slurm.NoAnswer as error:
        return Standing("waiting" if supervisor is None else "elsewhere", str(error))
    if found is None:
        return _unknown(job)
    if found.state in slurm_reasons.WAITING:
        return Standing("waiting", _waits(found))
    words = slurm_reasons.ending(found.state)
    if words is None:
        return _runs(found, supervisor, pulse)
    if found.state == "CANCELLED":
        return Standing("stopped", "stopped as told" if asked_to_stop(job) else words)
    return Standing("died", f"{words} (job {found.number} of Slurm: {found.state})")


def pending(job: Job) -> dict[str, Any]:
    """Why Slurm lets it wait, asked now: the code, its meaning, and what to do.

    Raises:
        HoneError: Slurm does not answer.
    """
    found = slurm.seen(name_of(job.id), slurm.number(job), at_once=True)
    if found is None or found.state not in slurm_reasons.WAITING:
        return {}
    told = slurm_reasons.explained(found.reason)
    return {
        "slurm_job": found.number,
        "slurm_state": found.state,
        "code": found.reason,
        "meaning": told.meaning,
        "advice": told.advice,
        "expected_start": None if found.start in ("", "N/A") else found.start,
    }


def _waits(found: slurm.Seen) -> str:
    if found.state == "CONFIGURING":
        return f"its nodes {found.nodes} are being prepared"
    return f"{slurm_reasons.explained(found.reason).meaning} ({found.reason})"


def _runs(found: slurm.Seen, supervisor: Identity | None, pulse: Pulse | None) -> Standing:
    if found.state == "SUSPENDED":
        return Standing("elsewhere", f"Slurm has suspended it on {found.nodes}")
    if found.state in ("COMPLETING", "STOPPED", "SIGNALING", "STAGE_OUT"):
        return Standing("stopping", f"Slurm ends it on {found.nodes}")
    if supervisor is None or pulse is None:
        return Standing("waiting", f"it begins on {found.nodes}")
    return Standing("elsewhere", f"on {found.nodes}, silent for {silence(pulse):.0f} s")


def _unknown(job: Job) -> Standing:
    if slurm.number(job) is None:
        return Standing("died", "Slurm did not take it, or the process that submitted it ended before")
    return Standing("died", f"Slurm knows nothing of its job {slurm.number(job)} any more")
