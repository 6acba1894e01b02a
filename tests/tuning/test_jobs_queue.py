"""The queue of one machine: who goes first, who waits for what, and many who change it at once."""

import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.cores import usable
from assistant.errors import HoneError, UsageError
from assistant.models.registry import AdapterVersion, Registry
from tests.tuning.jobs_here import end_all, ended, events, shell, spec, submit, until
from tuning.jobs import files, state, verbs
from tuning.jobs import job as jobs_of
from tuning.jobs.job import Job
from tuning.jobs.queue import Claim, Machine, wait_reason
from tuning.jobs.state import Status

MACHINE = Machine(memory=16 * 10**9, available=10 * 10**9, cores=8)


@pytest.fixture(autouse=True)
def home(hone_home: Path) -> Iterator[Path]:
    yield hone_home
    end_all(hone_home)


def claim(identifier: str, **fields: Any) -> Claim:
    return Claim(identifier, replace(spec(shell("a", "true")), **fields))


def test_nothing_runs_so_the_first_may_start():
    assert wait_reason(claim("b"), [], [], MACHINE) == ""
    assert wait_reason(claim("b"), [claim("c")], [], MACHINE) == ""


def test_the_limit_of_running_jobs():
    reason = wait_reason(claim("b", limit=1), [claim("a")], [claim("x")], MACHINE)
    assert reason == "1 of 1 jobs that may run at once are running: x; 1 is ahead of it: a"
    assert wait_reason(claim("b", limit=2), [], [claim("x")], MACHINE) == ""


def test_priority_goes_before_submission():
    assert wait_reason(claim("b"), [claim("a")], [], MACHINE) == "1 is ahead of it: a"
    assert wait_reason(claim("b", priority=1), [claim("a")], [], MACHINE) == ""
    assert wait_reason(claim("a"), [claim("b", priority=1)], [], MACHINE) == "1 is ahead of it: b"


def test_memory_that_is_free_and_memory_that_is_spoken_for():
    big = claim("b", memory=9 * 10**9)
    assert wait_reason(big, [], [], MACHINE) == ""
    reason = wait_reason(big, [], [claim("x", memory=8 * 10**9)], MACHINE)
    assert reason == "it needs 9.0 GB of memory, 6.4 GB are free"
    assert "10.0 GB are free" in wait_reason(replace(big, spec=replace(big.spec, memory=11 * 10**9)), [], [], MACHINE)


def test_cores():
    assert wait_reason(claim("b", cores=6), [], [claim("x", cores=4)], MACHINE) == "it needs 6 cores, 4 of 8 are free"
    assert wait_reason(claim("b", cores=4), [], [claim("x", cores=4)], MACHINE) == ""
    assert wait_reason(claim("b", cores=64), [], [], MACHINE) == ""


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 12), st.integers(1, 8)), min_size=1, max_size=6))
def test_of_those_that_wait_on_an_idle_machine_the_first_one_starts(wishes: list[tuple[int, int, int]]):
    claims = [
        claim(str(number), priority=priority, memory=memory * 10**9, cores=cores)
        for number, (priority, memory, cores) in enumerate(wishes)
    ]
    startable = [
        one for one in claims if not wait_reason(one, [each for each in claims if each is not one], [], MACHINE)
    ]
    assert len(startable) <= 1
    first = min(claims, key=lambda one: (-one.spec.priority, one.id))
    assert startable == ([first] if first.spec.memory <= MACHINE.available else [])


def test_jobs_go_by_priority_one_at_a_time(tmp_path: Path):
    order = tmp_path / "order"
    first = submit(shell("a", f"until test -e {tmp_path}/go; do sleep 0.05; done; echo first >> {order}"), limit=1)
    until(lambda: state.look(first).state == "running")
    low = submit(shell("a", f"echo low >> {order}"), limit=1, priority=-1)
    high = submit(shell("a", f"echo high >> {order}"), limit=1, priority=5)
    until(lambda: "ahead" in state.look(low).why)
    assert state.look(low).state == "waiting"
    until(lambda: first.id in state.look(high).why)
    (tmp_path / "go").touch()
    for job in (first, high, low):
        assert ended(job).state == "done"
    assert order.read_text().split() == ["first", "high", "low"]


def test_a_job_after_another_one(tmp_path: Path):
    first = submit(shell("a", f"until test -e {tmp_path}/go; do sleep 0.05; done"))
    second = submit(shell("a", "true"), after=(first.id,))
    third = submit(shell("a", "true"), after=(second.id, first.id))
    until(lambda: state.look(second).why == f"it comes after {first.id}")
    (tmp_path / "go").touch()
    assert ended(third).state == "done"
    failing = submit(shell("a", "exit 3"))
    waiting = submit(shell("a", "true"), after=(failing.id,))
    assert ended(waiting).why == f"not started: {failing.id}, which it comes after, failed"
    assert events(waiting) == ["submitted", "ended"]


def test_a_waiting_job_can_be_stopped_killed_and_resumed(tmp_path: Path):
    first = submit(shell("a", f"until test -e {tmp_path}/go; do sleep 0.05; done"), limit=1)
    until(lambda: state.look(first).state == "running")
    waiting = submit(shell("a", "true"), limit=1)
    until(lambda: state.look(waiting).why)
    verbs.stop(waiting)
    assert ended(waiting).why == "stopped as told, while it waited"
    verbs.resume(waiting)
    with pytest.raises(UsageError, match="is waiting already"):
        verbs.resume(waiting)
    (tmp_path / "go").touch()
    assert ended(waiting).state == "done"


def test_what_cannot_be_submitted(home: Path):
    with pytest.raises(UsageError, match="of memory and this machine has"):
        submit(shell("a", "true"), memory=10**15)
    with pytest.raises(HoneError, match="a job needs steps of different names"):
        submit(shell("a", "true"), shell("a", "true"))
    from tests.tuning.jobs_here import tune_step

    job = submit(tune_step("one", "--steps", "1000"))
    with pytest.raises(UsageError, match=f"job {job.id} is tuning run already"):
        submit(tune_step("one"))
    assert len(jobs_of.all_jobs(home / "jobs")) == 1


def busy(home: str, seconds: float, seed: int, out: "multiprocessing.Queue[Any]") -> None:
    """Submits, stops, resumes, promotes and looks, for so long."""
    chance, submitted, errors, promoted = random.Random(seed), [], [], 0
    registry = Registry()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if not submitted or chance.random() < 0.5:
                submitted.append(submit(shell("a", f"sleep {chance.random() / 5:.2f}"), limit=64).id)
            job = Job(Path(home) / "jobs" / chance.choice(submitted))
            # It may have ended, or be done.
            with suppress(UsageError):
                chance.choice((verbs.stop, verbs.resume, state.settled))(job)
            registry.promote(chance.choice(("one", "two")), "champion", actor=f"process {seed}", evidence={})
            promoted += 1
            state.statuses(jobs_of.all_jobs(Path(home) / "jobs"))
        except Exception as error:
            errors.append(repr(error))
    out.put((submitted, errors, promoted))


def contend(home: Path, processes: int, seconds: float) -> None:
    registry = Registry()
    for name in ("one", "two"):
        registry.register(
            AdapterVersion(name, name[0] * 64, "base", "b" * 64, home / name, "2026-01-01T00:00:00+00:00")
        )
    context = multiprocessing.get_context("spawn")
    out: multiprocessing.Queue[Any] = context.Queue()
    workers = [context.Process(target=busy, args=(str(home), seconds, seed, out)) for seed in range(processes)]
    for worker in workers:
        worker.start()
    results = [out.get(timeout=seconds + 120) for _ in workers]
    for worker in workers:
        worker.join()
    assert [error for _, errors, _ in results for error in errors] == []
    submitted = [identifier for identifiers, _, _ in results for identifier in identifiers]
    jobs = {job.id: job for job in jobs_of.all_jobs(home / "jobs")}
    assert sorted(jobs) == sorted(submitted), "no job is lost, and no two have one id"
    finals: list[Status] = [ended(job) for job in jobs.values()]
    until(lambda: jobs_of.active(home / "jobs") == [])
    assert {status.state for status in finals} <= {"done", "stopped"}
    for status in finals:
        seen = files.read_lines(status.job.events)
        assert status.job.events.read_bytes().count(b"\n") == len(seen), "every event is whole"
        kinds = [event["event"] for event in seen]
        assert kinds[0] == "submitted"
        assert kinds[-1] == "ended" or "stop asked" in kinds
        assert kinds.count("ended") == state.attempt(status.job), "every attempt has its end"
        assert len(list((status.job.folder / "attempts").glob("*.json"))) == state.attempt(status.job) - 1
    promotions = [event for event in registry.history() if event.kind == "promoted"]
    assert len(promotions) == sum(count for _, _, count in results)


def test_four_processes_at_once(home: Path):
    contend(home, 4, 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_some_processes_for_a_minute(home: Path, processes: int):
    contend(home, processes, 60.0)


def test_the_machine_is_known():
    here = Machine.here()
    assert 0 < here.available <= here.memory
    assert here.cores == usable() >= 1
