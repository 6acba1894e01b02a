"""Real tuning runs on a real Slurm, on a tiny model: requeued on one node, and stopped and resumed across two."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.tuning import slurm_here, tiny_gguf
from tests.tuning.code import modules
from tests.tuning.jobs_here import ended, told, until
from tests.tuning.slurm_here import Cluster
from tuning.jobs import slurm, state, verbs
from tuning.jobs.job import Job

HONE = [sys.executable, "-P", "-m", "tui"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    cluster = slurm_here.start()
    yield cluster
    cluster.end()


@pytest.fixture
def cluster(running: Cluster, hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(slurm, "_FRESH_SECONDS", 0.5)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield running
    running.idle()


@pytest.fixture
def asked(make_repository: Any, tmp_path: Path) -> tuple[str, ...]:
    base = tiny_gguf.write_base(tmp_path / "tiny.gguf")
    settings = ("--row-length", "128", "--rank", "4", "--dtype", "float32", "--steps", "80")
    return ("tune", str(make_repository(modules(30))), "--name", "own", "--base", str(base), *settings)


def run(home: Path, settings: str, *arguments: str) -> dict[str, Any]:
    """What a command prints, with this [slurm] table."""
    (home / "hone").mkdir(exist_ok=True)
    (home / "hone" / "config.toml").write_text(f"[slurm]\ncores = 1\nmemory_gb = 1\n{settings}\n")
    environment = {**os.environ, "HONE_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    done = subprocess.run(
        [*HONE, *arguments, "--json"], capture_output=True, text=True, env=environment, cwd=home, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def steps_made(job: Job) -> int:
    return job.metrics.read_bytes().count(b"\n") if job.metrics.exists() else 0


def until_step(job: Job, step: int) -> None:
    until(lambda: steps_made(job) >= step or not state.settled(job).is_active, f"step {step}")
    assert steps_made(job) >= step, told(job)


def test_a_requeued_run_ends_as_an_unbroken_one(cluster: Cluster, hone_home: Path, asked: Any, tmp_path: Path):
    job = Job(Path(run(hone_home, "", *asked, "--checkpoint-minutes", "10", "--on", "slurm", "--detach")["folder"]))
    until_step(job, 3)
    slurm_here.slurm("scontrol", "requeue", str(slurm.number(job)))
    until(lambda: state.look(job).state == "waiting", "the requeue")
    status = ended(job)
    assert status.state == "done", (status.why, told(job))
    assert "as told; --resume goes on" in told(job)
    assert "going on from step" in told(job)
    broken = job.report(job.spec().steps[0])
    other = tmp_path / "other"
    other.mkdir()
    assert broken["digest"] == run(other, "", *asked)["digest"]


def test_a_run_across_two_nodes_is_stopped_and_goes_on(cluster: Cluster, hone_home: Path, asked: Any):
    job = Job(
        Path(run(hone_home, "nodes = 2", *asked, "--checkpoint-minutes", "10", "--on", "slurm", "--detach")["folder"])
    )
    until_step(job, 3)
    found = slurm.seen(f"hone-{job.id}", slurm.number(job), at_once=True)
    assert found is not None
    assert found.nodes == "n[1-2]"
    verbs.stop(job)
    stopped = ended(job)
    assert stopped.state == "stopped", (stopped.why, told(job))
    assert stopped.ended is not None
    assert stopped.ended.checkpoint is not None, told(job)
    verbs.resume(job)
    # Across nodes Slurm leaves no time for a checkpoint: it goes back to the last one.
    until(lambda: steps_made(job) >= stopped.ended.checkpoint.step + 3, "more steps")
    slurm_here.slurm("scontrol", "requeue", str(slurm.number(job)))
    status = ended(job)
    assert status.state == "done", (status.why, told(job))
    assert told(job).count(f"going on from step {stopped.ended.checkpoint.step}") == 2
    assert job.report(job.spec().steps[0])["figures"]["steps"] == 80
