"""Every end of a job is told once: of one that was seen at work, and of one that was over before anyone looked."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.test_jobs_screen import write
from tests.tuning.jobs_here import end_all, ended, shell, spec, submit
from tui.jobs.watch import Watch
from tuning.jobs import job as jobs_of
from tuning.jobs import state, verbs
from tuning.jobs.record import Record
from tuning.jobs.spec import Step


@pytest.fixture(autouse=True)
def home(hone_home: Path) -> Iterator[Path]:
    yield hone_home
    end_all(hone_home)


def told(watch: Watch) -> list[str]:
    return [f"{status.spec.name} {status.state}" for status in watch.look()]


def finished(identifier: str, name: str) -> None:
    """Marked, ended and unmarked, as a supervisor leaves it."""
    job = write(identifier, spec(Step("eval", ("true",)), name=name))
    jobs_of.mark_active(job)
    state.write_record(job, Record("done", "", "", time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())))


def test_nothing_is_looked_at_until_something_changed():
    watch = Watch()
    assert watch.is_idle
    jobs_of.folder()
    assert not watch.is_idle
    assert told(watch) == []
    past = time.time() - 10
    os.utime(jobs_of.folder() / ".active", (past, past))
    assert told(watch) == []
    assert watch.is_idle
    finished("1qgt0001", "short")
    assert not watch.is_idle


def test_a_job_that_began_and_ended_between_two_looks_is_told_once():
    watch = Watch()
    assert told(watch) == []
    finished("1qgt0001", "short")
    finished("1qgt0002", "also short")
    assert told(watch) == ["short done", "also short done"]
    finished("1qgt0003", "third")
    assert told(watch) == ["third done"]
    assert told(watch) == []


def test_what_ended_before_the_app_began_is_no_news():
    finished("1qgt0001", "old")
    left = write("1qgt0002", spec(Step("eval", ("true",)), name="left"), Record("done", "", "", "2026-01-01T00:00:00"))
    jobs_of.mark_active(left)  # its supervisor was killed before it could take the mark away
    time.sleep(0.2)
    watch = Watch()
    assert told(watch) == []
    assert told(watch) == []


def test_a_job_that_runs_fails_and_is_resumed_is_told_each_time(tmp_path: Path):
    watch = Watch()
    gate = tmp_path / "gate"
    job = submit(shell("eval", f"while [ ! -e {gate} ]; do sleep 0.02; done; exit $(cat {gate})"), name="slow")
    assert told(watch) == []
    gate.write_text("1")
    ended(job)
    assert told(watch) == ["slow failed"]
    assert told(watch) == []
    gate.write_text("0")
    time.sleep(1.1)  # ends are kept to the second
    verbs.resume(job)
    ended(job)
    assert told(watch) == ["slow done"]
    assert told(watch) == []


def test_a_job_that_is_removed_meanwhile_is_no_news():
    watch = Watch()
    job = submit(shell("eval", "true"))
    ended(job)
    verbs.remove(job)
    assert told(watch) == []
