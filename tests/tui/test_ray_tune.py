"""A real tuning run on a real Ray, on a tiny model, across two nodes: stopped, resumed, and done."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tuning import ray_here, tiny_gguf
from tests.tuning.code import modules
from tests.tuning.jobs_here import ended, told, until
from tests.tuning.ray_here import Cluster
from tuning.jobs import state, verbs
from tuning.jobs.job import Job

HONE = [sys.executable, "-P", "-m", "tui"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    cluster = ray_here.start()
    yield cluster
    cluster.end()


@pytest.fixture
def cluster(running: Cluster, hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return ray_here.reach(running, monkeypatch)


def test_a_run_across_two_nodes_is_stopped_and_goes_on(
    cluster: Cluster, hone_home: Path, make_repository: Any, tmp_path: Path
):
    cluster.add_node()
    base = tiny_gguf.write_base(tmp_path / "tiny.gguf")
    sent = make_repository(modules(30))
    (hone_home / "hone").mkdir()
    settings = f"[ray]\ncores = 1\nmemory_gb = 0.5\nnodes = 2\npython = '{ray_here.PYTHON}'\n"
    (hone_home / "hone" / "config.toml").write_text(settings)
    options = [
        "--row-length",
        "128",
        "--rank",
        "4",
        "--dtype",
        "float32",
        "--steps",
        "80",
        "--checkpoint-minutes",
        "10",
    ]
    asked = [*HONE, "tune", ".", "--name", "own", "--base", str(base), *options]
    done = subprocess.run(
        [*asked, "--on", "ray", "--detach", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CONFIG_HOME": str(hone_home)},
        cwd=sent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    job = Job(Path(json.loads(done.stdout)["folder"]))
    until(lambda: _steps_made(job) >= 3 or not state.settled(job).is_active, "three steps")
    assert _steps_made(job) >= 3, told(job)
    verbs.stop(job)
    stopped = ended(job)
    assert stopped.state == "stopped", (stopped.why, told(job))
    assert stopped.ended is not None
    assert stopped.ended.checkpoint is not None, told(job)
    verbs.resume(job)
    status = ended(job)
    assert status.state == "done", (status.why, told(job))
    assert "waiting for 1 more of 2 nodes" in told(job)
    assert f"going on from step {stopped.ended.checkpoint.step}" in told(job)
    report = job.report(job.spec().steps[0])
    assert report["figures"]["steps"] == 80
    assert report["adapter"].startswith("own@")


def _steps_made(job: Job) -> int:
    return job.metrics.read_bytes().count(b"\n") if job.metrics.exists() else 0
