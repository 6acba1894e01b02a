"""Real tuning runs on a real Ray, on a tiny model, across two nodes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tuning import ray_here, tiny_gguf
from tests.tuning.code import module, modules
from tests.tuning.elsewhere import contents
from tests.tuning.jobs_here import ended, spec, told, until
from tests.tuning.ray_here import Cluster
from tuning.jobs import state, verbs
from tuning.jobs.job import Job
from tuning.jobs.ray_settings import RaySettings
from tuning.jobs.spec import Step

HONE = [sys.executable, "-P", "-m", "tui"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    cluster = ray_here.start()
    try:
        cluster.add_node()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def cluster(running: Cluster, hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return ray_here.reach(running, monkeypatch)


def test_a_run_across_two_nodes_is_stopped_and_goes_on(
    cluster: Cluster, hone_home: Path, make_repository: Any, tmp_path: Path
):
    job = submitted(hone_home, make_repository(modules(30)), tmp_path, "80")
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


def test_the_nodes_of_a_run_make_the_corpus_and_rows_that_this_machine_makes(
    cluster: Cluster, hone_home: Path, make_repository: Any, tmp_path: Path
):
    # Put together here, so that no scanner takes this file for a leak.
    leaked = 'token = "ghp_' + '1234567890abcdefghijklmnopqrstuvwxyz"\n'
    files = {f"pkg/m{number}.py": module(number, 150) for number in range(110)}
    sent = make_repository({**files, "pkg/leak.py": leaked, "pkg/copy.py": files["pkg/m7.py"], "a.bin": b"\0"})
    job = submitted(hone_home, sent, tmp_path, "2")
    status = ended(job)
    assert status.state == "done", (status.why, told(job))
    # For the corpus, and again for the rows.
    assert told(job).count("2 processes on 2 nodes of Ray work on the corpus") == 2

    # The cluster's copy of the repository, since a corpus knows the paths of its sources.
    here = tmp_path / "here"
    done = subprocess.run(
        [*HONE, "tune", ".", "--name", "own", *small(tmp_path, "2"), "--dry-run"],
        capture_output=True,
        text=True,
        env={**os.environ, "HONE_HOME": str(here)},
        cwd=job.folder / "source",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    there, own = contents(hone_home / "cache"), contents(here / "cache")
    made = [name for name in own if name.startswith(("corpora/", "rows/"))]
    assert len(made) == 16
    assert {name: there.get(name) for name in made} == {name: own[name] for name in made}


def test_a_process_that_is_lost_fails_the_run(cluster: Cluster, hone_home: Path, make_repository: Any, tmp_path: Path):
    files = {f"pkg/m{number}.py": module(number, 150) for number in range(110)}
    job = submitted(hone_home, make_repository(files), tmp_path, "2")
    cluster.lose_actor("_Worker")
    status = ended(job)
    assert status.state == "failed", (status.why, told(job))
    failed = "tune ended with exit code 1: a process that worked on the corpus failed on a node of Ray: The actor died"
    assert status.why.startswith(failed)
    assert not contents(hone_home / "cache" / "corpora")


def test_what_fails_on_a_node_is_one_line(cluster: Cluster, tmp_path: Path):
    script = tmp_path / "fails.py"
    script.write_text(_FAILING)
    nodes = (str(ray_here.PYTHON), "-P", "-m", "tuning.jobs.ray_nodes", "2", "1", "CPU=1", "--", "--")
    ours = RaySettings(cluster.address, python=str(ray_here.PYTHON), cores=1, memory_gb=0.2, upload=False)
    job = verbs.submit(spec(Step("fail", (*nodes, str(script))), ray=ours))
    status = ended(job)
    assert status.state == "done", (status.why, told(job))
    first, second, third, nodes_seen = [line for line in told(job).splitlines() if line.startswith("seen: ")]
    failed = "seen: a process that worked on the corpus failed on a node of Ray: "
    assert first == "seen: cannot read the eval set /none: [Errno 2] No such file or directory: '/none'"
    assert second.startswith(f"{failed}ValueError: invalid literal for int()")
    assert third.startswith(failed)
    assert "its worker process has died" in third
    assert nodes_seen == "seen: 2 nodes, the signal is kept: True"


_FAILING = """
import os, signal
from pathlib import Path
from assistant.errors import HoneError
from tuning import data
from tuning.corpus import decontaminate
from tuning.distributed import is_first

def asked(work, *arguments):
    try:
        with data._workers() as workers:
            return workers.executor.submit(work, *arguments).result()
    except HoneError as error:
        return error

def handler(*_):
    pass

if is_first():
    signal.signal(signal.SIGTERM, handler)
    for call in ((decontaminate.read_tasks, Path("/none")), (int, "no number"), (os._exit, 7)):
        print(f"seen: {asked(*call)}", flush=True)
    with data._workers() as workers:
        node = "__import__('ray').get_runtime_context().get_node_id()"
        nodes = {each.result() for each in [workers.executor.submit(eval, node) for _ in range(4)]}
    print(f"seen: {len(nodes)} nodes, the signal is kept: {signal.getsignal(signal.SIGTERM) is handler}", flush=True)
"""


def small(folder: Path, steps: str) -> list[str]:
    """Options of a small run; the base is made at the first call."""
    base = folder / "tiny.gguf"
    if not base.exists():
        tiny_gguf.write_base(base)
    options = ["--row-length", "128", "--rank", "4", "--dtype", "float32", "--checkpoint-minutes", "10"]
    return ["--base", str(base), *options, "--steps", steps]


def submitted(home: Path, repository: Path, folder: Path, steps: str) -> Job:
    """A tuning run on two nodes."""
    (home / "hone").mkdir()
    settings = f"[ray]\ncores = 1\nmemory_gb = 0.5\nnodes = 2\npython = '{ray_here.PYTHON}'\n"
    (home / "hone" / "config.toml").write_text(settings)
    done = subprocess.run(
        [*HONE, "tune", ".", "--name", "own", *small(folder, steps), "--on", "ray", "--detach", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CONFIG_HOME": str(home)},
        cwd=repository,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Job(Path(json.loads(done.stdout)["folder"]))


def _steps_made(job: Job) -> int:
    return job.metrics.read_bytes().count(b"\n") if job.metrics.exists() else 0
