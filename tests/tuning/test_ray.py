"""Jobs on a real Ray with tokens: they run from what was sent, are stopped, go on, and survive the head's end."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant.errors import HoneError
from tests.conftest import git
from tests.tuning import ray_here
from tests.tuning.jobs_here import ended, events, expected, shell, spec, told, tune_step, until, value
from tests.tuning.ray_here import Cluster
from tui import cli
from tuning.jobs import job as jobs_of
from tuning.jobs import ray_api, ray_state, ray_verbs, state, verbs
from tuning.jobs.job import Job
from tuning.jobs.ray_settings import RaySettings
from tuning.jobs.spec import Step

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    cluster = ray_here.start()
    yield cluster
    cluster.end()


@pytest.fixture
def cluster(running: Cluster, hone_home: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return ray_here.reach(running, monkeypatch)


def submit(
    cluster: Cluster, *steps: Step, folder: Path | None = None, after: tuple[str, ...] = (), **settings: Any
) -> Job:
    small = {"python": str(ray_here.PYTHON), "cores": 1, "memory_gb": 0.2, "upload": folder is not None}
    ours = RaySettings(address=cluster.address, **{**small, **settings})
    made = spec(*(ray_verbs.placed(step, ours, sys.executable) for step in steps), ray=ours, after=after)
    return verbs.submit(made if folder is None else replace(made, folder=str(folder)))


def test_a_cluster_with_tokens_refuses_who_has_none(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    body = {"entrypoint": "true"}
    assert httpx.post(f"{cluster.address}/api/jobs/", json=body).status_code == 401
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(HoneError, match="refuses the token"):
        submit(cluster, shell("a", "true"))
    assert jobs_of.all_jobs(jobs_of.folder()) == []


def test_a_job_runs_from_what_was_sent(cluster: Cluster, make_repository: Callable[..., Path]):
    sent = make_repository({"src/a.txt": "first", "src/b.txt": "kept"})
    (sent / "src" / "a.txt").write_text("second")
    report = 'echo "{\\"read\\": \\"$(cat a.txt) $(cat b.txt)\\", \\"head\\": \\"$(git rev-parse HEAD)\\"}"'
    job = submit(cluster, tune_step("one", "--steps", "3"), shell("show", report), folder=sent / "src")
    (sent / "src" / "b.txt").write_text("changed since")
    status = ended(job)
    assert (status.state, status.step) == ("done", "show"), (status.why, told(job))
    assert value(job) == expected(3)
    found = job.report(job.spec().steps[1])
    assert found == {"read": "second kept", "head": git(sent, "rev-parse", "HEAD").strip()}
    assert events(job) == ["submitted", "step began", "step ended", "step began", "step ended", "ended"]
    assert "begins at step 0" in told(job)
    seen = ray_api.seen(job.spec().ray or RaySettings(), f"hone-{job.id}-1", at_once=True)
    assert seen is not None
    until(lambda: _state(job, 1) == "SUCCEEDED", "Ray's word for it")


def test_a_job_comes_after_another_one(cluster: Cluster, tmp_path: Path):
    script = f"until test -e {tmp_path}/go; do sleep 0.1; done; echo first >> {tmp_path}/order"
    first = submit(cluster, shell("a", script))
    second = submit(cluster, shell("a", f"echo second >> {tmp_path}/order"), after=(first.id,))
    until(lambda: state.look(second).why == f"it comes after {first.id}")
    assert ray_api.submission(second) is None
    (tmp_path / "go").touch()
    status = ended(second)
    assert status.state == "done", (status.why, told(second))
    assert (tmp_path / "order").read_text().split() == ["first", "second"]
    assert events(second) == ["submitted", "step began", "step ended", "ended"]


def test_a_stopped_run_keeps_a_checkpoint_and_is_submitted_anew_from_it(cluster: Cluster):
    # Checkpoints are far apart: the one it goes on from is made when Ray tells it to end.
    job = submit(cluster, tune_step("one", "--steps", "150", "--every", "1000"))
    until(job.metrics.exists)
    verbs.stop(job)
    status = ended(job)
    assert status.state == "stopped"
    assert "stopped as told, in tune at step" in status.why
    until(lambda: _state(job, 1) == "STOPPED", "Ray's word for it")
    verbs.resume(job)
    assert ended(job).state == "done", told(job)
    assert value(job) == expected(150)
    assert _state(job, 2) is not None


def test_a_job_that_waits_tells_why_and_is_stopped(cluster: Cluster):
    job = submit(cluster, shell("a", "true"), cores=99)
    until(lambda: state.settled(job).why != "")
    found = ray_state.pending(job, job.spec().ray or RaySettings())
    assert found["ray_says"]
    assert "the whole cluster has less than it asks for: 99 CPU, " in found["meaning"]
    assert found["cluster"]["CPU"]["total"] == 1.0
    verbs.stop(job)
    assert (ended(job).state, ended(job).why) == ("stopped", "stopped as told")


def test_a_supervisor_that_is_killed_is_told_of(cluster: Cluster):
    job = submit(cluster, shell("a", "kill -9 $PPID; sleep 60"))
    status = ended(job)
    assert status.state == "died"
    assert "JOB_ENTRYPOINT_COMMAND_ERROR" in status.why


def test_a_job_that_cannot_start_has_rays_log(cluster: Cluster):
    job = submit(cluster, shell("a", "true"), python="/none/such/python")
    status = ended(job)
    assert status.state == "died"
    assert "/none/such/python" in told(job)


def test_the_end_of_the_head_leaves_a_checkpoint_to_go_on_from(cluster: Cluster):
    job = submit(cluster, tune_step("one", "--steps", "300", "--every", "1000"))
    until(job.metrics.exists)
    supervisor, step = job.identity("supervisor"), job.identity("step")
    assert supervisor is not None
    assert step is not None
    cluster.lose()
    until(lambda: not supervisor.alive() and not step.alive(), "the end of what Ray had started")
    assert "left as told" in told(job)
    seen = state.settled(job)
    assert (seen.state, "does not answer" in seen.why, seen.ended) == ("elsewhere", True, None)
    with pytest.raises(HoneError, match="does not answer"):
        verbs.stop(job)
    cluster.start()
    seen = state.settled(job)
    assert (seen.state, "its head may have been started again" in seen.why) == ("died", True)
    assert seen.ended is not None
    assert seen.ended.checkpoint is not None
    verbs.resume(job)
    assert ended(job).state == "done", told(job)
    assert value(job) == expected(300)
    begun = [int(line.rpartition(" ")[2]) for line in told(job).splitlines() if line.startswith("begins at step")]
    assert begun == [0, seen.ended.checkpoint.step]


def test_the_commands(
    cluster: Cluster,
    make_repository: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    sent = make_repository({"src/a.py": "a = 1\n"})
    (tmp_path / "config" / "hone").mkdir(parents=True)
    settings = "[ray]\ncores = 99\nmemory_gb = 0.5\npython = 'py'\n"
    (tmp_path / "config" / "hone" / "config.toml").write_text(settings)
    monkeypatch.chdir(sent)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def hone(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["hone", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0), capsys.readouterr().out

    code, out = hone("tune", str(sent / "src"), "--name", "shop", "--on", "ray", "--detach", "--then", "eval", "--json")
    assert code == 0
    job = Job(Path(json.loads(out)["folder"]))
    assert job.spec().ray == RaySettings(address=cluster.address, cores=99, memory_gb=0.5, python="py")
    tune, evaluation = job.spec().steps
    assert tune.argv == ("py", "-P", "-m", "tui", "tune", "--name", "shop", "src", "--json")
    assert evaluation.argv[evaluation.argv.index("--repo") + 1] == "src"
    listed = json.loads(hone("jobs", "--json")[1])["jobs"]
    assert [(one["job"], one["state"], one["ray_job"]) for one in listed] == [(job.id, "waiting", f"hone-{job.id}-1")]
    explained = json.loads(hone("jobs", "why-pending", "shop", "--json")[1])
    assert explained["asked"] == {"CPU": 99.0, "memory": 5e8}
    assert explained["meaning"] in hone("jobs", "why-pending", "shop")[1]
    assert json.loads(hone("jobs", "stop", "shop", "--json")[1])["state"] == "stopped"
    assert "stopped as told" in hone("jobs", "why-pending", "shop")[1]


def _state(job: Job, attempt: int) -> str | None:
    seen = ray_api.seen(job.spec().ray or RaySettings(), f"hone-{job.id}-{attempt}", at_once=True)
    return seen and seen.state
