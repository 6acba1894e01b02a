"""Jobs as processes: who notices what when a step, a supervisor, a terminal or the machine goes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.errors import HoneError, UsageError
from assistant.models.registry import AdapterVersion, Registry
from tests.conftest import ROOT
from tests.tuning.jobs_here import (
    STAND_IN,
    at_step,
    end_all,
    ended,
    events,
    expected,
    kill,
    shell,
    spec,
    submit,
    told,
    tune_step,
    until,
    value,
)
from tuning.jobs import files, identity, memory, state, verbs
from tuning.jobs import job as jobs_of
from tuning.jobs.job import Job
from tuning.jobs.pulse import read_pulse
from tuning.jobs.spec import Step


@pytest.fixture(autouse=True)
def home(hone_home: Path) -> Iterator[Path]:
    yield hone_home
    end_all(hone_home)


def test_steps_run_one_after_the_other_and_their_reports_are_kept(home: Path):
    script = 'echo "{\\"got\\": \\"$1\\", \\"in\\": \\"$2\\"}"; echo said >&2; test -n "$HONE_JOB"'
    show = Step("show", ("/bin/sh", "-c", script, "sh", "{tune.adapter}", "{job}"))
    job = submit(tune_step("one", "--steps", "3"), show)
    status = ended(job)
    assert (status.state, status.step) == ("done", "show")
    assert value(job) == expected(3)
    assert job.report(show) == {"got": f"one@{expected(3):012x}", "in": str(job.folder)}
    assert events(job) == ["submitted", "step began", "step ended", "step began", "step ended", "ended"]
    assert told(job).count("$ ") == 2
    assert "said" in told(job)
    until(lambda: jobs_of.active(home / "jobs") == [])
    assert (job.folder.stat().st_mode & 0o077) == 0
    with pytest.raises(UsageError, match="is done"):
        verbs.resume(job)
    with pytest.raises(UsageError, match="has ended already"):
        verbs.stop(job)


def test_a_killed_run_has_a_death_certificate_and_goes_on_to_the_same_end():
    job = submit(tune_step("one", "--steps", "60"))
    at_step(job, "one", 4)
    kill(job, "step")
    status = ended(job)
    record = status.ended
    assert status.state == "died"
    assert record is not None
    assert record.signal == "SIGKILL"
    assert record.exit_code is None
    assert "tune was killed by SIGKILL" in record.reason
    assert "no lack of memory" in record.reason
    assert record.checkpoint is not None
    assert record.checkpoint.step >= 4
    assert record.peak_memory > 1e6
    assert record.last_lines[-1] == "begins at step 0"
    assert f"hone jobs resume {job.id}" in record.advice
    verbs.resume(job)
    assert ended(job).state == "done"
    assert value(job) == expected(60)
    assert f"begins at step {record.checkpoint.step}" in told(job)
    assert json.loads((job.folder / "attempts" / "1.json").read_text())["ending"] == "died"
    assert state.attempt(job) == 2


def test_a_step_leaves_with_a_checkpoint_when_its_supervisor_is_killed():
    job = submit(tune_step("one", "--steps", "60", "--every", "1000"))
    until(lambda: "begins" in told(job))
    until(job.metrics.exists)
    kill(job, "supervisor")
    step = job.identity("step")
    assert step is not None
    until(lambda: not step.alive())
    status = state.settled(job)
    assert (status.state, status.ended and status.ended.step) == ("died", "tune")
    assert "its supervisor was killed in tune" in status.why
    assert status.ended is not None
    assert status.ended.checkpoint is not None
    verbs.resume(job)
    assert ended(job).state == "done"
    assert value(job) == expected(60)


def test_an_orphan_is_told_of_and_ended_before_its_job_goes_on():
    deaf = tune_step("one", "--steps", "2000", "--deaf")
    quick = tune_step("one", "--steps", "30")
    job = submit(Step("tune", deaf.argv, quick.resume, "one"))
    at_step(job, "one", 3)
    kill(job, "supervisor")
    assert state.settled(job).state == "orphaned"
    with pytest.raises(UsageError, match="has not ended"):
        verbs.remove(job)
    step = job.identity("step")
    assert step is not None
    killer = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.5; kill -9 {step.pid}"])
    verbs.resume(job)
    killer.wait()
    assert not step.alive()
    assert ended(job).state == "done"
    assert value(job) == expected(30)


@pytest.mark.parametrize("rebooted", [False, True])
def test_both_killed_and_the_machine_started_again(rebooted: bool):
    job = submit(tune_step("one", "--steps", "40"))
    at_step(job, "one", 3)
    _kill_both(job)
    for name in ("supervisor", "step") if rebooted else ():
        file = job.folder / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"boot": "another"}))
    status = state.settled(job)
    assert status.state == "died"
    why = "the machine was started again meanwhile" if rebooted else "its supervisor was killed"
    assert f"{why} in tune" in status.why
    assert status.ended is not None
    assert status.ended.checkpoint is not None
    assert files.read_filled(job.exit) is not None
    verbs.resume(job)
    assert ended(job).state == "done"
    assert value(job) == expected(40)


def test_both_killed_for_want_of_memory_are_found_in_the_kernels_log(monkeypatch: pytest.MonkeyPatch):
    job = submit(tune_step("one", "--steps", "2000"))
    at_step(job, "one", 3)
    step = _alive(job, "step")
    _kill_both(job)
    line = f"Out of memory: Killed process {step.pid} (python3) total-vm:4096kB"
    # Since this start of the machine, but of a process that had the PID before.
    monkeypatch.setattr(memory, "kernel_log", lambda: [(0.0, line)])
    assert memory.Watch.of_process(step.started).evidence(step.pid) == ()
    monkeypatch.setattr(memory, "kernel_log", lambda: [(time.monotonic(), line)])
    record = state.settled(job).ended
    assert record is not None
    assert record.memory_evidence == (f"the kernel's log: {line}",)
    assert record.reason.startswith("its supervisor was killed in tune, because memory ran out (the kernel's log: Out")
    assert record.advice.startswith("free memory, then `hone jobs resume")


def test_a_pid_that_belongs_to_another_process_now_is_not_the_job():
    job = submit(shell("wait", "sleep 60"))
    until(lambda: state.look(job).state == "running")
    kill(job, "supervisor")
    until(lambda: state.look(job).state == "died")
    mine = identity.own()
    job.put_identity("supervisor", identity.Identity(mine.pid, mine.started + 1, mine.boot, mine.host))
    assert state.look(job).state == "died"
    job.put_identity("supervisor", mine)
    assert state.look(job).state == "running"


def test_a_job_of_another_machine_is_not_judged_from_here():
    job = submit(shell("wait", "sleep 60"))
    until(lambda: state.look(job).state == "running")
    mine = _alive(job, "supervisor")
    job.put_identity("supervisor", identity.Identity(mine.pid, mine.started, "its own", "elsewhere.example"))
    status = state.settled(job)
    assert (status.state, status.why) == ("elsewhere", "on elsewhere.example")
    with pytest.raises(HoneError, match="stop it there"):
        verbs.stop(job)
    job.put_identity("supervisor", mine)


def test_a_machine_that_is_called_otherwise_now_is_the_same_one(monkeypatch: pytest.MonkeyPatch):
    job = submit(tune_step("one", "--steps", "2000"))
    at_step(job, "one", 3)
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed.example")
    assert state.look(job).state == "running"
    verbs.stop(job)
    assert ended(job).state == "stopped"


def test_identities_of_another_boot_or_set_of_pids_or_from_before_are_judged_by_their_host():
    mine = identity.own()
    assert not mine.is_elsewhere()
    assert replace(mine, host="else", space="pid:[1]").is_elsewhere()
    assert replace(mine, host="else", boot="another").is_elsewhere()
    assert replace(mine, boot="another").is_of_earlier_boot()
    before = replace(mine, space="")
    assert before.alive()
    assert not before.is_elsewhere()


def test_a_job_of_a_machine_that_is_gone_is_taken_over_once_it_is_silent(home: Path):
    job = submit(tune_step("one", "--steps", "6", "--seconds", "1"))
    at_step(job, "one", 2)
    _kill_both(job)
    far = replace(identity.own(), boot="its own", host="gone.example")
    job.put_identity("supervisor", far)
    pulse = files.read_filled(job.pulse)
    assert pulse is not None
    with pytest.raises(UsageError, match=r"runs on gone.example; .* once that is silent for 10 minutes"):
        verbs.resume(job, force=True)
    files.fill(job.pulse, pulse | {"at": time.time() - 700}, final=False)
    for verb, word in ((verbs.resume, "resume"), (verbs.remove, "rm")):
        with pytest.raises(UsageError, match=f"if that machine is gone, `hone jobs {word} {job.id} --force` takes"):
            verb(job)
    verbs.resume(job, force=True)
    kept = json.loads((job.folder / "attempts" / "1.json").read_text())
    assert kept["ending"] == "died"
    assert "given up by --force (on gone.example, silent for 70" in kept["reason"]
    assert ended(job).state == "done"
    assert value(job) == expected(6)


def test_a_run_that_had_reported_its_adapter_is_not_made_again(home: Path, tmp_path: Path):
    digest = "a" * 64
    version = AdapterVersion("shop", digest, "base", "b" * 64, tmp_path, "2026-01-01T00:00:00+00:00")
    Registry().register(version)
    script = f"""echo '{{"adapter": "{version.id}", "digest": "{digest}"}}'; echo made >&2; sleep 600"""
    job = submit(Step("tune", ("/bin/sh", "-c", script), run="shop"), shell("after", "echo went on >&2"))
    until(lambda: "made\n" in told(job) and job.identity("step"))
    _kill_both(job)
    verbs.resume(job)
    assert ended(job).state == "done"
    assert told(job).count("\nmade\n") == 1
    assert "went on" in told(job)


def test_a_full_disk_keeps_the_record_of_the_attempt_that_ended(small_disk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HONE_HOME", str(small_disk))
    job = submit(shell("a", "exit 3"))
    before = ended(job).ended
    (job.folder / "attempts").mkdir()
    (job.folder / "attempts" / "1.json").write_text("of an attempt that could not be noted")
    big = small_disk / "big"
    with suppress(OSError):
        big.write_bytes(b"0" * (5 << 20))
    with pytest.raises(HoneError, match="No space left on device"):
        verbs.resume(job)
    assert state.look(job).ended == before
    assert [each.id for each in jobs_of.active(small_disk / "jobs")] == []
    big.unlink()
    verbs.resume(job)
    assert sorted(each.name for each in (job.folder / "attempts").iterdir()) == ["1.json", "2.json"]
    assert json.loads((job.folder / "attempts" / "2.json").read_text())["exit_code"] == 3
    assert ended(job).state == "failed"


def test_a_stopped_run_has_a_checkpoint_and_goes_on():
    job = submit(tune_step("one", "--steps", "400", "--every", "1000"))
    until(job.metrics.exists)
    verbs.stop(job)
    status = ended(job)
    assert status.state == "stopped"
    assert "stopped as told, in tune at step" in status.why
    assert status.ended is not None
    assert "goes on from there" in status.ended.advice
    verbs.resume(job)
    assert ended(job).state == "done"
    assert value(job) == expected(400)


def test_a_step_that_does_not_leave_is_killed():
    job = submit(tune_step("one", "--steps", "2000", "--deaf"), stop_seconds=0.5)
    at_step(job, "one", 1)
    verbs.stop(job)
    until(lambda: state.look(job).state == "stopping")
    status = ended(job)
    assert (status.state, status.ended and status.ended.signal) == ("stopped", "SIGKILL")


def test_the_supervisor_told_to_end_by_the_system_leaves_a_checkpoint():
    job = submit(tune_step("one", "--steps", "100000"))
    at_step(job, "one", 2)
    os.kill(_alive(job, "supervisor").pid, signal.SIGHUP)
    os.kill(_alive(job, "supervisor").pid, signal.SIGINT)
    told_at = time.time()
    until(lambda: not state.look(job).is_active or _pulse_at(job) > told_at, "a sign of life after the signals")
    assert state.look(job).state == "running"
    os.kill(_alive(job, "supervisor").pid, signal.SIGTERM)
    status = ended(job)
    assert status.state == "stopped"
    assert "the system told it to end (SIGTERM), in tune at step" in status.why


def test_a_step_yields_to_the_rest_of_the_machine():
    script = 'echo "{\\"nice\\": $(nice), \\"threads\\": \\"$OMP_NUM_THREADS $MKL_NUM_THREADS $HONE_THREADS\\"}"'
    job = submit(shell("a", script), nice=3, threads=2)
    assert ended(job).state == "done"
    assert job.report(job.spec().steps[0]) == {"nice": min(os.nice(0) + 3, 19), "threads": "2 2 2"}


def test_what_a_step_leaves_behind_is_ended_with_it():
    job = submit(shell("fork", "sleep 1234 & echo $! >&2; exit 0"))
    assert ended(job).state == "done"
    child = int(told(job).split()[-1])
    until(lambda: identity.of(child) is None)


def test_a_gate_that_fails_stops_before_the_promotion():
    verdict = shell("gate", 'echo "{\\"explanation\\": \\"worse by 3 points\\"}"; exit 1')
    job = submit(tune_step("one"), verdict, shell("promote", "echo promoted >&2"))
    status = ended(job)
    assert status.state == "failed"
    assert status.why == "gate ended with exit code 1: worse by 3 points"
    assert "promoted" not in told(job)
    verbs.resume(job)
    assert ended(job).state == "failed"
    assert told(job).count("begins at step") == 1, "what is done is not done again"


def test_a_refusal_is_told_by_its_own_line():
    job = submit(tune_step("one", "--code", "2"))
    status = ended(job)
    assert (status.state, status.why) == ("failed", "tune ended with exit code 2: it did not work out")
    assert status.ended is not None
    assert (status.ended.exit_code, status.ended.signal) == (2, None)
    assert status.ended.advice.startswith("run it again with another command line")


def test_a_command_or_a_folder_that_is_not_there():
    job = submit(Step("tune", ("/no/such/program",)))
    assert "tune could not start: No such file or directory" in ended(job).why
    job = verbs.submit(spec(shell("a", "true")).__class__(**{**spec(shell("a", "true")).__dict__, "folder": "/gone"}))
    assert "could not start" in ended(job).why
    job = submit(shell("a", "true"), shell("b", "echo {a.adapter}"))
    assert ended(job).why == "b could not start: step a has not reported adapter"


def test_memory_that_a_limit_refuses():
    argv = " ".join(STAND_IN)
    job = submit(shell("tune", f"ulimit -v 300000; exec {argv} --name one --eat 600"))
    status = ended(job)
    assert status.state == "failed"
    assert "tune got no more memory" in status.why
    assert status.ended is not None
    assert status.ended.advice.startswith("free memory, then")


def test_the_kernel_kills_for_want_of_memory(tmp_path: Path):
    with _memory_cgroup(60 << 20) as group:
        argv = " ".join(STAND_IN)
        script = f"echo $$ > {group}/cgroup.procs && exec {argv} --name one --steps 3 --eat 200"
        step = tune_step("one", "--steps", "3")
        job = submit(Step("tune", ("/bin/sh", "-c", script), step.resume, "one"))
        status = ended(job)
        if "permitted" in told(job) or "Invalid" in told(job):
            pytest.skip("processes cannot be moved into a memory cgroup here")
        record = status.ended
        assert record is not None
        assert (status.state, record.signal) == ("died", "SIGKILL")
        assert "because memory ran out" in record.reason
        assert any("kernel's log" in line for line in record.memory_evidence)
        assert record.checkpoint is not None
        assert record.checkpoint.step == 2
        verbs.resume(job)
        assert ended(job).state == "done"
        assert value(job) == expected(3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user cannot mount a small disk")
    yield folder
    end_all(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HONE_HOME", str(small_disk))
    big = small_disk / "big"
    step = tune_step("one", "--steps", "6")
    job = submit(Step("tune", (*step.argv, "--fill", str(big)), step.resume, "one"))
    status = ended(job)
    assert status.state == "failed"
    record = status.ended
    assert record is not None
    assert "tune found the disk full" in record.reason
    assert record.advice.startswith("free disk space, then")
    assert record.last_lines
    assert record.checkpoint is not None
    with pytest.raises(HoneError, match="No space left on device"):
        submit(shell("a", "true"))
    assert [one.id for one in jobs_of.all_jobs(small_disk / "jobs")] == [job.id]
    big.unlink()
    verbs.resume(job)
    assert ended(job).state == "done"
    assert value(job) == expected(6)


def test_who_runs_a_step_is_known_though_the_step_has_filled_the_disk_first(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HONE_HOME", str(small_disk))
    job = jobs_of.create(jobs_of.folder(), spec(shell("a", "true")))
    with suppress(OSError):
        (small_disk / "big").write_bytes(b"0" * (5 << 20))
    assert shutil.disk_usage(small_disk).free == 0
    job.put_identity("step", identity.own(), step="a")
    assert job.identity("step") == identity.own()
    jobs_of.unmark(job)


def test_a_supervisor_killed_on_a_full_disk_is_certified_all_the_same(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HONE_HOME", str(small_disk))
    job = submit(shell("wait", f"cat /dev/zero > {small_disk}/big; sleep 60"))
    until(lambda: "No space left" in told(job) or shutil.disk_usage(small_disk).free == 0)
    kill(job, "supervisor")
    until(lambda: state.look(job).state == "died")
    assert "its supervisor was killed in wait" in state.settled(job).why
    assert files.read_filled(job.exit) is not None


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_a_closed_terminal_does_not_reach_the_job(home: Path, tmp_path: Path):
    script = tmp_path / "submit.py"
    script.write_text(
        "from tests.tuning.jobs_here import submit, tune_step\n"
        "print(submit(tune_step('one', '--steps', '100')).id, flush=True)\nimport time\ntime.sleep(600)\n"
    )
    tmux = ["tmux", "-S", str(tmp_path / "tmux.sock"), "-f", os.devnull]
    command = f"env HONE_HOME={home} PYTHONPATH={ROOT} {sys.executable} {script}"
    subprocess.run([*tmux, "new-session", "-d", "-c", str(ROOT), command], check=True)
    until(lambda: len(jobs_of.all_jobs(jobs_of.folder())) == 1)
    job = jobs_of.all_jobs(jobs_of.folder())[0]
    at_step(job, "one", 2)
    subprocess.run([*tmux, "kill-server"], check=True)
    assert ended(job).state == "done"
    assert value(job) == expected(100)


def test_the_process_that_submits_may_be_killed_at_once(home: Path):
    code = (
        "import os, signal\nfrom tuning.jobs import verbs, job\nfrom tests.tuning.jobs_here import spec, shell\n"
        "verbs._launch = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nverbs.submit(spec(shell('a', 'true')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    job = jobs_of.all_jobs(jobs_of.folder())[0]
    assert "ended before the job had started" in state.settled(job).why
    verbs.resume(job)
    assert ended(job).state == "done"


def test_old_jobs_are_removed_together(home: Path):
    jobs = [submit(shell("a", "true"), name=str(number)) for number in range(3)]
    for job in jobs:
        ended(job)
    for job, day in ((jobs[0], "2026-01-01"), (jobs[1], "2026-01-02")):
        content = json.loads(job.exit.read_text())
        job.exit.write_text(json.dumps(content | {"ended": f"{day}T00:00:00+00:00"}))
    waiting = submit(shell("b", "sleep 600"))
    later = replace(spec(shell("c", "true")), after=(waiting.id, jobs[1].id))
    verbs.submit(later)
    removed = verbs.remove_older(home / "jobs", 30)
    assert removed == [jobs[0]]
    assert not jobs[0].folder.exists()
    assert all(job.folder.exists() for job in jobs[1:])


def test_a_removed_job_is_gone_and_a_damaged_one_harms_nobody(home: Path):
    other = submit(shell("a", "true"))
    ended(other)
    # On one core it would wait for the job before it.
    job = submit(shell("a", "sleep 60"))
    with pytest.raises(UsageError, match="has not ended"):
        verbs.remove(job)
    verbs.remove(other)
    assert not other.folder.exists()
    broken = home / "jobs" / "00000000"
    broken.mkdir()
    (broken / "spec.json").write_text("{")
    assert [one.job.id for one in state.statuses(jobs_of.all_jobs(home / "jobs"))] == [job.id]
    verbs.remove(Job(broken))
    assert not broken.exists()


def _alive(job: Job, who: str) -> identity.Identity:
    found = job.identity(who)
    assert found is not None
    return found


def _kill_both(job: Job) -> None:
    # The supervisor would write down the other's end.
    os.kill(_alive(job, "supervisor").pid, signal.SIGSTOP)
    kill(job, "step")
    kill(job, "supervisor")


def _pulse_at(job: Job) -> float:
    pulse = read_pulse(job)
    return pulse.at if pulse else 0.0


class _memory_cgroup:  # noqa: N801
    """A cgroup with a limit, of either version; skips where none can be made."""

    def __init__(self, limit: int) -> None:
        root = Path("/sys/fs/cgroup")
        first = (root / "memory").is_dir()
        self._folder = (root / "memory" if first else root) / f"hone-test-{os.getpid()}"
        self._files = [("memory.limit_in_bytes", limit)] if first else [("memory.max", limit), ("memory.swap.max", 0)]

    def __enter__(self) -> Path:
        try:
            self._folder.mkdir()
            for name, content in self._files:
                (self._folder / name).write_text(str(content))
        except OSError as error:
            self.__exit__()
            pytest.skip(f"no memory cgroup can be made here: {error}")
        return self._folder

    def __exit__(self, *_: object) -> None:
        if self._folder.is_dir():
            end = time.monotonic() + 10
            while time.monotonic() < end:
                try:
                    self._folder.rmdir()
                except OSError:
                    time.sleep(0.05)
                else:
                    return
