"""A real tuning run as a job, on a tiny model: stopped, killed, resumed, it ends in the adapter of an unbroken run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tuning import tiny_gguf
from tests.tuning.code import modules
from tests.tuning.jobs_here import end_all, ended, kill, told, until
from tuning.jobs import verbs
from tuning.jobs.job import Job

HONE = [sys.executable, "-P", "-m", "tui"]


@pytest.fixture(autouse=True)
def home(hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield hone_home
    end_all(hone_home)


def run(home: Path, *arguments: str) -> dict:
    environment = {**os.environ, "HONE_HOME": str(home)}
    done = subprocess.run(
        [*HONE, *arguments, "--json"], capture_output=True, text=True, env=environment, cwd=home, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_run_that_is_stopped_and_killed_ends_as_an_unbroken_one(home: Path, make_repository, tmp_path: Path):
    repository = make_repository(modules(30))
    base = tiny_gguf.write_base(tmp_path / "tiny.gguf")
    settings = ("--row-length", "128", "--rank", "4", "--dtype", "float32", "--steps", "80")
    asked = ("tune", str(repository), "--name", "own", "--base", str(base), *settings)
    job = Job(Path(run(home, *asked, "--checkpoint-minutes", "0.01", "--detach")["folder"]))
    until(lambda: job.metrics.exists() or not verbs.wait(job, 0).is_active, "training")
    verbs.stop(job)
    stopped = ended(job)
    assert stopped.state == "stopped", (stopped.why, told(job))
    assert stopped.ended is not None
    assert stopped.ended.checkpoint is not None
    kept = stopped.ended.checkpoint.step
    assert "as told; --resume goes on" in told(job)
    verbs.resume(job)
    until(lambda: f"going on from step {kept}" in told(job), "going on")
    lines = job.metrics.read_bytes().count(b"\n")
    until(lambda: job.metrics.read_bytes().count(b"\n") > lines + 3, "more steps")
    kill(job, "step")
    assert ended(job).state == "died"
    verbs.resume(job)
    status = ended(job)
    assert status.state == "done", (status.why, told(job))
    broken = job.report(job.spec().steps[0])
    other = tmp_path / "other"
    other.mkdir()
    unbroken = run(other, *asked)
    assert broken["digest"] == unbroken["digest"]
    assert broken["figures"]["steps"] == 80
