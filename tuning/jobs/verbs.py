"""What is done with jobs: submit, stop, resume, remove."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from assistant.errors import HoneError, UsageError
from tuning.jobs import job as jobs_of
from tuning.jobs import memory, ray_after, ray_api, ray_package, ray_verbs, slurm, slurm_verbs, state
from tuning.jobs.identity import Identity
from tuning.jobs.job import Job, changing
from tuning.jobs.ray_package import Package
from tuning.jobs.spec import Spec
from tuning.jobs.state import Status

_POLL_SECONDS = 0.1
_TO_END_SECONDS = 30.0
"""What a step without a supervisor may take to leave before it is killed."""
TAKEN_OVER_SECONDS = 600.0
"""How long another machine must have given no sign before a job is taken from it."""
Sent = Package | str
"""What goes to Ray by and by, or the address of what is there."""


def submit(spec: Spec) -> Job:
    """Keeps a job and starts its supervisor, which waits for its turn.

    Raises:
        HoneError: it needs more memory than there is, comes after no known job, makes what another job is making, or
            the disk, Slurm or Ray refuses.
    """
    if spec.is_local and spec.memory > memory.total():
        raise UsageError(
            f"the job needs {spec.memory / 1e9:.1f} GB of memory and this machine has {memory.total() / 1e9:.1f}"
        )
    sent = _sent(spec)
    jobs = jobs_of.folder()
    with changing(jobs):
        runs = {step.run for step in spec.steps} - {""}
        for other in state.statuses(jobs_of.active(jobs), state.look):
            if other.is_active and runs & {step.run for step in other.spec.steps}:
                raise UsageError(f"job {other.job.id} is tuning {spec.name} already; choose another name or stop it")
        after = slurm_verbs.before(jobs, spec)
        job = jobs_of.create(jobs, spec)
        try:
            _hand_over(job, spec, after, sent)
        except HoneError:
            if spec.is_local:
                raise
            jobs_of.unmark(job)
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
    return job


def stop(job: Job) -> Status:
    """Tells a job to stop: a training step leaves with a checkpoint. Returns what it was; the job ends by and by.

    Raises:
        UsageError: it has ended.
        HoneError: it is on another machine, or Slurm or Ray refuses.
    """
    seen = state.settled(job)
    if not seen.is_active:
        raise UsageError(f"job {job.id} has ended already ({seen.state})")
    if seen.spec.slurm is not None:
        slurm_verbs.stop(job)
        return seen
    if seen.spec.ray is not None:
        with changing(job.folder.parent):
            held = ray_after.holder(job)
            if held is not None:
                if held.is_elsewhere():
                    raise HoneError(f"job {job.id} waits on {held.host}; stop it there")
                with suppress(OSError):
                    job.note("stop asked")
                _signal(held, signal.SIGUSR1)
        if held is None:
            ray_verbs.stop(job, seen.spec.ray)
        return seen
    if seen.state == "elsewhere":
        raise HoneError(f"job {job.id} runs {seen.why}; stop it there")
    with suppress(OSError):
        job.note("stop asked")
    if seen.state == "orphaned":
        _signal(job.identity("step"), signal.SIGTERM)
    else:
        _signal(job.identity("supervisor"), signal.SIGUSR1)
    return seen


def wait(job: Job, seconds: float) -> Status:
    """Until the job has ended, or so long; what it is then."""
    end = time.monotonic() + seconds
    seen = state.settled(job)
    while seen.is_active and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
        seen = state.settled(job)
    return seen


def resume(job: Job, force: bool = False) -> None:
    """Goes on with a job that has ended otherwise than well, from the first step that is not done.

    Args:
        force: also with one of a machine that has long been silent, which is taken for ended.

    Raises:
        UsageError: it is active or done.
        HoneError: the disk, Slurm or Ray refuses.
    """
    seen = state.settled(job)
    if seen.state == "orphaned":
        _end_orphan(job)
    ends = not seen.is_active and seen.state != "done"
    sent = _sent(seen.spec, job) if ends else None
    jobs = job.folder.parent
    with changing(jobs):
        seen = _taken_over(state.look(job), "resume", force)
        if seen.is_active:
            raise UsageError(f"job {job.id} is {seen.state} already")
        if seen.state == "done":
            raise UsageError(f"job {job.id} is done; submit it anew to do it again")
        if seen.spec.ray is not None and sent is None:
            raise UsageError(f"job {job.id} has only just ended; resume it again")
        try:
            if seen.ended is None:
                state.certify(seen)
            jobs_of.mark_active(job)
            jobs_of.begin_again(job, state.attempt(job))
            slurm.forget_number(job)
            ray_api.forget_submission(job)
        except OSError as error:
            if job.ended() is not None:
                jobs_of.unmark(job)
            raise HoneError(f"cannot resume job {job.id}: {error.strerror or error}") from error
        _hand_over(job, seen.spec, slurm_verbs.before(jobs, seen.spec), sent)


def remove(job: Job, force: bool = False) -> None:
    """Removes what a job that has ended kept: its log, figures and evidence. Adapters and checkpoints stay.

    Args:
        force: as of `resume`.

    Raises:
        UsageError: it is active.
        HoneError: the disk refuses.
    """
    with changing(job.folder.parent):
        if job.folder.exists() and _is_active(job, force):
            raise UsageError(f"job {job.id} has not ended; stop it first by `hone jobs stop {job.id}`")
        # Under another name it is no job any more, should this process end here.
        going = job.folder.with_name(f".{job.id}.removed")
        try:
            job.folder.rename(going)
            jobs_of.unmark(job)
        except OSError as error:
            raise HoneError(f"cannot remove job {job.id}: {error.strerror or error}") from error
    shutil.rmtree(going, ignore_errors=True)


def remove_older(jobs: Path, days: float) -> list[Job]:
    """Removes the jobs that ended longer ago than that, but those that one which has not ended comes after.

    Raises:
        HoneError: the disk refuses.
    """
    limit = datetime.now(UTC) - timedelta(days=days)
    seen = state.statuses(jobs_of.all_jobs(jobs))
    awaited = {each for one in seen if one.is_active for each in one.spec.after}
    old = [
        one.job
        for one in seen
        if one.ended is not None and one.job.id not in awaited and datetime.fromisoformat(one.ended.ended) < limit
    ]
    for job in old:
        remove(job)
    return old


def _is_active(job: Job, force: bool) -> bool:
    try:
        seen = state.look(job)
    except HoneError:
        # A damaged one has no supervisor that could read it.
        return False
    return _taken_over(seen, "rm", force).is_active


def _taken_over(seen: Status, verb: str, force: bool) -> Status:
    """A job of another machine that has long been silent as one that died there; any other as it is.

    Raises:
        UsageError: it is on another machine and not forced, or that is not silent for long enough.
    """
    if seen.state != "elsewhere" or not seen.spec.is_local:
        return seen
    silent = state.silence(seen)
    command = f"`hone jobs {verb} {seen.job.id} --force`"
    if silent < TAKEN_OVER_SECONDS:
        minutes = f"{TAKEN_OVER_SECONDS / 60:.0f} minutes"
        raise UsageError(
            f"job {seen.job.id} runs {seen.why}; {command} takes it over once that is silent for {minutes}"
        )
    if not force:
        raise UsageError(f"job {seen.job.id} runs {seen.why}; if that machine is gone, {command} takes the job over")
    return replace(seen, state="died", why=f"its machine was given up by --force ({seen.why})")


def _sent(spec: Spec, job: Job | None = None) -> Sent | None:
    """What a job of Ray needs there, on its way before any lock is taken; None for other jobs.

    Raises:
        HoneError: as `ray_verbs.pack` and `ray_verbs.deliver`.
    """
    if spec.ray is None:
        return None
    package = ray_verbs.pack(spec, job)
    # Ray keeps for minutes only what no job has; one that comes after others sends it when its turn comes.
    return package if spec.after else ray_verbs.deliver(spec.ray, package)


def _hand_over(job: Job, spec: Spec, after: tuple[int, ...], sent: Sent | None) -> None:
    """To whom it shall be run by; what is given is as `slurm_verbs.before` and `_sent` say."""
    if spec.slurm is not None:
        slurm_verbs.launch(job, spec, after)
    elif isinstance(sent, Package):
        try:
            ray_package.keep(sent, job.folder)
        except OSError as error:
            raise HoneError(f"cannot write in {job.folder}: {error.strerror or error}") from error
        _launch(job, "tuning.jobs.ray_after")
    elif sent is not None:
        ray_verbs.launch(job, spec, sent)
    else:
        _launch(job, "tuning.jobs.supervisor")


def _launch(job: Job, module: str) -> None:
    command = [sys.executable, "-P", "-m", module, str(job.folder)]
    environment = {**os.environ, "HONE_HOME": str(job.home)}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False)
    if done.returncode:
        lines = (job.folder / "supervisor.log", done.stderr.decode("utf-8", "replace").strip())
        raise HoneError(
            f"the supervisor of job {job.id} did not start; see {lines[0]}" + f" {lines[1][-200:]}".rstrip()
        )


def _signal(identity: Identity | None, number: signal.Signals) -> None:
    if identity is not None and identity.alive():
        with suppress(ProcessLookupError):
            os.kill(identity.pid, number)


def _end_orphan(job: Job) -> None:
    """Ends a step whose supervisor is gone, so that it is not done twice at once."""
    trainer = job.identity("step")
    if trainer is None:
        return
    _signal(trainer, signal.SIGTERM)
    end = time.monotonic() + _TO_END_SECONDS
    while trainer.alive() and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
    if trainer.alive():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(trainer.pid, signal.SIGKILL)
    while trainer.alive():
        time.sleep(_POLL_SECONDS)
