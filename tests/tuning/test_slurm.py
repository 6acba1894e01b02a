"""Jobs on a real Slurm: they run, are preempted, requeued, stopped, and survive a node that goes down."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import HoneError, UsageError
from tests.conftest import ROOT, git
from tests.tuning import slurm_here
from tests.tuning.jobs_here import at_step, ended, events, expected, shell, spec, told, tune_step, until, value
from tests.tuning.slurm_here import Cluster
from tui import cli
from tuning.jobs import job as jobs_of
from tuning.jobs import slurm, slurm_state, state, verbs
from tuning.jobs.job import Job
from tuning.jobs.slurm_script import placed
from tuning.jobs.slurm_settings import SlurmSettings
from tuning.jobs.spec import Step

ASKED = SlurmSettings(cores=1, memory_gb=0.5)


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    cluster = slurm_here.start()
    yield cluster
    cluster.end()


@pytest.fixture
def cluster(running: Cluster, hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(slurm, "_FRESH_SECONDS", 0.2)
    # Of the tests' own modules, which the batch script's interpreter has to find.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield running
    running.idle()


def submit(*steps: Step, after: tuple[str, ...] = (), **settings: Any) -> Job:
    ours = replace(ASKED, **settings)
    return verbs.submit(spec(*(placed(step, ours) for step in steps), after=after, slurm=ours))


def test_a_job_runs_on_a_node_and_says_so_as_any_other(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".bash_profile").write_text('module() { echo "module $*"; export MODULES="$2"; }\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    show = shell("show", 'echo "{\\"on\\": \\"$SLURMD_NODENAME\\", \\"with\\": \\"$MODULES, $CONTAINER\\"}"')
    box: dict[str, Any] = {"container": ("env", "CONTAINER=box"), "container_python": sys.executable}
    job = submit(tune_step("one", "--steps", "3"), show, modules=("tools",), **box)
    status = ended(job)
    assert (status.state, status.step) == ("done", "show")
    assert value(job) == expected(3)
    assert job.report(show)["on"] in slurm_here.NODES
    assert job.report(show)["with"] == "tools, box"
    assert events(job) == ["submitted", "step began", "step ended", "step began", "step ended", "ended"]
    assert told(job).startswith("module load tools\n$ env CONTAINER=box ")
    assert "begins at step 0" in told(job)
    until(lambda: jobs_of.active(job.folder.parent) == [])


def test_a_preempted_run_waits_and_goes_on_from_its_checkpoint_to_the_same_end(cluster: Cluster):
    # Checkpoints are far apart: the one it goes on from is made when Slurm tells it to end.
    job = submit(tune_step("one", "--steps", "150", "--every", "1000"), cores=2)
    until(job.metrics.exists)
    other = slurm_here.slurm(
        "sbatch", "--parsable", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 600"
    ).strip()
    until(lambda: state.look(job).state == "waiting", "the preemption")
    assert "left" in events(job)
    assert job.ended() is None
    found = slurm_state.pending(job)
    assert found["code"] in ("Resources", "Priority", "BeginTime")
    assert found["meaning"]
    slurm_here.slurm("scancel", other)
    status = ended(job)
    assert (status.state, status.why) == ("done", "all steps ended well")
    assert value(job) == expected(150)
    begun = [int(line.rpartition(" ")[2]) for line in told(job).splitlines() if line.startswith("begins at step")]
    assert begun[0] == 0
    assert begun[-1] > 0
    assert state.attempt(job) == len(begun) == 2


def test_a_stopped_run_keeps_a_checkpoint_and_is_submitted_anew_from_it(cluster: Cluster):
    job = submit(tune_step("one", "--steps", "150", "--every", "1000"))
    until(job.metrics.exists)
    first = slurm.number(job)
    verbs.stop(job)
    status = ended(job)
    assert (status.state, status.ended and status.ended.ending) == ("stopped", "stopped")
    assert "stopped as told, in tune at step" in status.why
    verbs.resume(job)
    assert slurm.number(job) != first
    assert ended(job).state == "done"
    assert value(job) == expected(150)


@pytest.mark.slow
def test_the_time_limit_queues_a_run_again_from_its_checkpoint(cluster: Cluster):
    job = submit(tune_step("one", "--steps", "150", "--every", "1000"))
    until(job.metrics.exists)
    # The signal that --signal has Slurm send before the limit.
    number = slurm.number(job)
    assert number is not None
    slurm.tell(number, "USR2")
    status = ended(job)
    assert status.state == "done"
    assert slurm.number(job) == number
    assert value(job) == expected(150)
    left = next(event for event in _events(job) if event["event"] == "left")
    assert left["reason"].startswith("its time limit is near, in tune at step")


def test_a_job_that_waits_tells_why_and_is_cancelled(cluster: Cluster):
    job = submit(shell("a", "true"), partition="closed")
    until(lambda: "(PartitionDown)" in state.settled(job).why)
    assert slurm_state.pending(job)["advice"]
    later = submit(shell("b", "true"), after=(job.id,))
    until(lambda: slurm_state.pending(later)["code"] == "Dependency")
    verbs.stop(job)
    assert (ended(job).state, ended(job).why) == ("stopped", "stopped as told")
    until(lambda: slurm_state.pending(later)["code"] == "DependencyNeverSatisfied")
    with pytest.raises(UsageError, match="stopped"):
        submit(shell("c", "true"), after=(job.id,))
    verbs.stop(later)
    assert ended(later).state == "stopped"


def test_what_slurm_refuses_leaves_no_job(cluster: Cluster):
    with pytest.raises(HoneError, match=r"^Slurm says: .*partition"):
        submit(shell("a", "true"), partition="none-such")
    assert jobs_of.all_jobs(jobs_of.folder()) == []
    assert jobs_of.active(jobs_of.folder()) == []


def test_a_supervisor_that_is_killed_is_told_of(cluster: Cluster):
    job = submit(shell("a", "kill -9 $PPID; sleep 60"))
    status = ended(job)
    assert status.state == "died"
    assert "FAILED" in status.why


@pytest.mark.slow
@pytest.mark.parametrize("noticed", [False, True])
def test_a_node_that_goes_down_sends_its_job_to_the_other(cluster: Cluster, noticed: bool):
    """Slurm is told of it, or notices after half a minute."""
    steps = 2500 if noticed else 700
    job = submit(tune_step("one", "--steps", str(steps)))
    at_step(job, "one", 3)
    before = job.identity("supervisor")
    assert before is not None
    found = slurm.seen(f"hone-{job.id}", slurm.number(job), at_once=True)
    assert found is not None
    cluster.lose_node(found.nodes)
    if not noticed:
        slurm_here.slurm("scontrol", "update", f"nodename={found.nodes}", "state=down", "reason=lost")
    until(lambda: job.identity("supervisor") != before, "the start on the other node")
    cluster.start_node(found.nodes)
    # It was cut off, not dead; two of them would write into one run.
    until(lambda: not before.alive(), "the end of the first supervisor")
    status = ended(job)
    assert status.state == "done"
    assert value(job) == expected(steps)
    assert state.attempt(job) == 2


def test_the_commands(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "src").mkdir()
    git(tmp_path / "src", "init", "-q", "-b", "main")
    (tmp_path / "config" / "hone").mkdir(parents=True)
    settings = "[slurm]\npartition = 'closed'\ncores = 1\nmemory_gb = 0.5\n"
    (tmp_path / "config" / "hone" / "config.toml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def hone(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["hone", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0), capsys.readouterr().out

    code, out = hone("tune", "src", "--name", "shop", "--on", "slurm", "--detach", "--then", "eval", "--json")
    assert code == 0
    job = Job(Path(json.loads(out)["folder"]))
    assert job.spec().slurm == SlurmSettings(partition="closed", cores=1, memory_gb=0.5)
    assert job.spec().steps[0].argv[-5:] == ("tune", "--name", "shop", "src", "--json")
    listed = json.loads(hone("jobs", "--json")[1])["jobs"]
    assert [(one["job"], one["state"], one["slurm_job"]) for one in listed] == [(job.id, "waiting", slurm.number(job))]
    explained = json.loads(hone("jobs", "why-pending", "shop", "--json")[1])
    assert explained["code"] == "PartitionDown"
    assert explained["meaning"] in hone("jobs", "why-pending", "shop")[1]
    assert json.loads(hone("jobs", "stop", "shop", "--json")[1])["state"] == "stopped"
    assert "stopped as told" in hone("jobs", "why-pending", "shop")[1]


def _events(job: Job) -> list[dict[str, str]]:
    return [json.loads(line) for line in job.events.read_text().splitlines()]
