"""Where a job on Ray stands: its supervisor says so while it runs, Ray is asked only when that is silent."""

import os
from contextlib import suppress
from typing import Any

from assistant.errors import HoneError
from tuning.jobs import ray_api
from tuning.jobs.identity import Identity
from tuning.jobs.job import Job
from tuning.jobs.pulse import Pulse
from tuning.jobs.ray_settings import RaySettings, custom
from tuning.jobs.standing import Standing, asked_to_stop, heard, silence

_LOG = "ray.log"
_LOG_CHARACTERS = 20_000
_ENDS = {
    "RUNTIME_ENV_SETUP_FAILURE": "Ray could not unpack what was sent for it",
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT": "Ray gave it up: nothing that it asks for became free in time "
    "(RAY_JOB_START_TIMEOUT_SECONDS of the head, 15 minutes unless set)",
    "JOB_SUPERVISOR_ACTOR_START_FAILURE": "Ray could not start it",
    "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE": "Ray found no node for it",
    "JOB_SUPERVISOR_ACTOR_DIED": "its node went down, or Ray's process on it did",
    "JOB_ENTRYPOINT_COMMAND_START_ERROR": "Ray could not run its command",
    "JOB_ENTRYPOINT_COMMAND_ERROR": "it ended before it could say why; the log may tell",
}
"""By Ray's error types, see JobErrorType."""


def standing(job: Job, ours: RaySettings, supervisor: Identity | None, pulse: Pulse | None) -> Standing:
    """Of a job without a record of its end. A final state means that nobody was there to write one."""
    told = heard(supervisor, pulse)
    if told is not None:
        return told
    taken = ray_api.submission(job)
    if taken is None and supervisor is not None and supervisor.alive():
        # What holds it back, see `ray_after`.
        silent = pulse and f"it waits on {supervisor.host}, silent for {silence(pulse):.0f} s"
        return Standing("elsewhere" if silent else "waiting", silent or "its supervisor starts")
    if taken is None and supervisor is not None:
        return Standing("died", "what held it back from Ray was killed, or the machine was started again")
    if taken is None:
        return Standing("died", "Ray did not take it, or the process that submitted it ended before")
    try:
        found = ray_api.seen(ours, taken)
    except ray_api.NoAnswer as error:
        return Standing("waiting" if supervisor is None else "elsewhere", str(error))
    if found is None:
        return Standing("died", f"Ray knows nothing of {taken} any more; its head may have been started again")
    if found.state == "PENDING":
        # Ray cannot take back a job that waits. Its supervisor leaves at once, should it still be started.
        return Standing("stopped", "stopped as told") if asked_to_stop(job) else Standing("waiting", _waits(found))
    if found.state == "RUNNING":
        return _runs(found, supervisor, pulse)
    _keep_log(job, ours, taken)
    if found.state == "STOPPED":
        return Standing("stopped", "stopped as told" if asked_to_stop(job) else "it was stopped in Ray")
    if found.state == "SUCCEEDED":
        return Standing("died", f"Ray says that {taken} ended well, but it left no record")
    words = _ENDS.get(found.error) or f"Ray says: {_line(found.message)}"
    return Standing("died", f"{words} ({taken}: {found.error or found.state})")


def pending(job: Job, ours: RaySettings) -> dict[str, Any]:
    """Why Ray lets it wait, asked now: what Ray says, what the job asks for, what there is, and what to do.

    Raises:
        HoneError: Ray does not answer.
    """
    taken = ray_api.submission(job)
    found = ray_api.seen(ours, taken, at_once=True) if taken is not None else None
    if found is None or found.state != "PENDING":
        return {}
    usage = ray_api.usage(ours)
    asked = needs(ours)
    too_much = {name: amount for name, amount in asked.items() if usage and amount > usage.get(name, (0.0, 0.0))[1]}
    taken_now = {
        name: amount
        for name, amount in asked.items()
        if name in usage and amount > usage[name][1] - usage[name][0] and name not in too_much
    }
    if too_much:
        meaning = f"the whole cluster has less than it asks for: {_amounts(too_much, usage)}"
        advice = (
            f"`hone jobs stop {job.id}` and ask for less, by --cores, --memory-gb or [ray]; a cluster that grows by "
            "itself may get a node for it"
        )
    elif taken_now:
        meaning = f"what it asks for is in use: {_amounts(taken_now, usage)}"
        advice = "it starts by itself; should Ray give it up after 15 minutes, `hone jobs resume` submits it anew"
    else:
        meaning = "no single node has all that it asks for free, or its package is being unpacked"
        advice = "wait some seconds; `ray status` on the head shows what each node has"
    return {
        "ray_job": taken,
        "ray_state": found.state,
        "ray_says": _line(found.message),
        "meaning": meaning,
        "advice": advice,
        "asked": asked,
        "cluster": {name: {"used": used, "total": there} for name, (used, there) in sorted(usage.items())},
    }


def needs(ours: RaySettings) -> dict[str, float]:
    """What a job reserves on its first node, by the names that Ray gives resources; memory in bytes."""
    amounts = {"CPU": float(ours.cores), "GPU": float(ours.gpus), "memory": float(round(ours.memory_gb * 1e9))}
    return {**{name: amount for name, amount in amounts.items() if amount}, **custom(ours.resources)}


def _amounts(asked: dict[str, float], usage: dict[str, tuple[float, float]]) -> str:
    parts = []
    for name, amount in asked.items():
        used, there = usage.get(name, (0.0, 0.0))
        scale, unit = (1e9, " GB") if name == "memory" else (1.0, "")
        free = max(0.0, there - used)
        parts.append(f"{amount / scale:g}{unit} {name}, {free / scale:.3g} of {there / scale:.3g}{unit} free")
    return "; ".join(parts)


def _waits(found: ray_api.Seen) -> str:
    return _line(found.message) or "Ray has not started it"


def _runs(found: ray_api.Seen, supervisor: Identity | None, pulse: Pulse | None) -> Standing:
    where = f"on {found.node}" if found.node else "on a node of Ray"
    if supervisor is None or pulse is None:
        return Standing("waiting", f"it begins {where}")
    return Standing("elsewhere", f"{where}, silent for {silence(pulse):.0f} s")


def _line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip()[:300] for line in text.splitlines() if line.strip()), "")


def _keep_log(job: Job, ours: RaySettings, taken: str) -> None:
    """Adds what Ray has of the entry point's log to the job's, once: there is what kept a supervisor from starting.

    Best effort: the job ended all the same when the head has lost the log, or the disk is full.
    """
    kept = job.folder / _LOG
    if kept.exists():
        return
    with suppress(HoneError, OSError):
        text = ray_api.logs(ours, taken)[-_LOG_CHARACTERS:]
        descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        with job.log.open("a", encoding="utf-8", errors="replace") as log:
            log.write(text if text.endswith("\n") or not text else text + "\n")


def forget_log(job: Job) -> None:
    (job.folder / _LOG).unlink(missing_ok=True)
