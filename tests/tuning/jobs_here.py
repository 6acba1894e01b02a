"""Jobs of the stand-in run, and waiting for what they do."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tuning.jobs import files, verbs
from tuning.jobs.job import Job
from tuning.jobs.spec import Spec, Step
from tuning.jobs.state import Status

STAND_IN = (sys.executable, "-S", str(ROOT / "tests" / "tuning" / "stand_in.py"))
_SECONDS = 300


def tune_step(name: str, *options: str) -> Step:
    return Step("tune", (*STAND_IN, "--name", name, *options), (*STAND_IN, "--name", name, "--resume", *options), name)


def shell(name: str, script: str) -> Step:
    return Step(name, ("/bin/sh", "-c", script))


def spec(*steps: Step, name: str = "run", **fields: Any) -> Spec:
    small: dict[str, Any] = {"memory": 1, "cores": 1, "limit": 8, "nice": 0, "stop_seconds": 20.0}
    return Spec(name, ("tune", "src"), str(ROOT), steps, **{**small, **fields})


def submit(*steps: Step, name: str = "run", **fields: Any) -> Job:
    return verbs.submit(spec(*steps, name=name, **fields))


def until(condition: Callable[[], Any], what: str = "this") -> None:
    """The limit only ends a test that would hang."""
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} never happened"
        time.sleep(0.01)


def ended(job: Job) -> Status:
    status = verbs.wait(job, _SECONDS)
    assert not status.is_active, (status.state, status.why)
    return status


def at_step(job: Job, name: str, step: int) -> None:
    """Until the stand-in run has kept that checkpoint."""
    until((job.home / "unfinished" / name / f"step-{step:08d}").exists, f"step {step}")


def kill(job: Job, who: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Sends a signal to the job's `supervisor` or `step` and waits until that is gone."""
    identity = job.identity(who)
    assert identity is not None
    os.kill(identity.pid, number)
    until(lambda: not identity.alive(), f"the end of the {who}")


def told(job: Job) -> str:
    return job.log.read_text("utf-8")


def events(job: Job) -> list[str]:
    return [event["event"] for event in files.read_lines(job.events)]


def value(job: Job) -> int:
    """What the stand-in run computed."""
    return int(job.report(job.spec().steps[0])["value"])


def expected(steps: int) -> int:
    result = 7
    for step in range(steps):
        result = (result * 31 + step) % 1_000_003
    return result


def end_all(home: Path) -> None:
    """Leaves no process behind."""
    for folder in (home / "jobs").glob("*/"):
        for who in ("supervisor", "step"):
            identity = Job(folder).identity(who)
            if (
                identity is not None
                and not identity.is_elsewhere()
                and identity.alive()
                and identity.pid != os.getpid()
            ):
                with suppress(ProcessLookupError):
                    os.kill(identity.pid, signal.SIGKILL)
