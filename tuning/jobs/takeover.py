"""How a supervisor that a cluster starts becomes the job's only one, and makes way for the next."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tuning.jobs import identity
from tuning.jobs.identity import Identity
from tuning.jobs.job import Job, changing
from tuning.jobs.pulse import read_pulse
from tuning.jobs.record import Record
from tuning.jobs.supervisor import Supervisor

LEFT = 143
"""Exit code of what left because it was told to."""
_CHECK_SECONDS = 2.0
_OTHER_SECONDS = 20.0
"""What the supervisor of the start before may take to see that it was replaced."""


def take(job: Job, by: str, admitted: Callable[[], bool]) -> bool:
    """Makes this process the job's supervisor, once the one before cannot be at work any more.

    Args:
        by: the cluster's name, for the events.
        admitted: whether the cluster's job is the one that was submitted last.

    Returns:
        False when the job has ended already, or is not to run here; standard error says which.
    """
    own = identity.own()
    with changing(job.folder.parent):
        if job.ended() is not None:
            sys.stderr.write(f"hone: job {job.id} has ended already; `hone jobs resume {job.id}` submits it anew\n")
            return False
        if not admitted():
            sys.stderr.write(f"hone: job {job.id} was submitted anew since; this start of it is not needed\n")
            return False
        before = job.identity("supervisor")
        if before is not None:
            with suppress(OSError):
                job.note("resumed", by=by)
        job.put_identity("supervisor", own)
    _end_when_replaced(job, own)
    _wait_for(before, job)
    return True


def run_steps(supervisor: Supervisor) -> Record:
    """Also of a supervisor that fails: it is nobody's child here, so what is not written down is not known."""
    try:
        return supervisor.run_steps()
    except Exception as error:
        traceback.print_exc()
        return supervisor.ended("died", f"its supervisor failed: {error!r}; see the log", "")


def _end_when_replaced(job: Job, own: Identity) -> None:
    """Leaves at once when the cluster has started the job elsewhere, thinking that this node was down.

    Two of them would write into one run. A timer, not a thread: the supervisor forks.
    """

    def check(*_: Any) -> None:
        if job.identity("supervisor") in (own, None):
            return
        step = job.identity("step")
        if step is not None and not step.is_elsewhere() and step.alive():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(step.pid, signal.SIGKILL)
        os._exit(LEFT)

    signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, _CHECK_SECONDS, _CHECK_SECONDS)


def _wait_for(before: Identity | None, job: Job) -> None:
    """Until the supervisor of the start before cannot be at work any more."""
    end = time.monotonic() + _OTHER_SECONDS
    while before is not None and time.monotonic() < end:
        pulse = read_pulse(job)
        if not before.alive() or (before.is_elsewhere() and (pulse is None or time.time() - pulse.at > _OTHER_SECONDS)):
            return
        time.sleep(0.1)
