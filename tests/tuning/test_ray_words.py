"""What is asked of Ray and what its answers mean, without one: a stand-in speaks the Jobs API over real HTTP."""

import io
import json
import os
import re
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError, UsageError
from tests.conftest import ROOT, git
from tests.tuning.jobs_here import end_all, ended, kill, shell, spec, submit, until
from tuning.jobs import (
    files,
    identity,
    launching,
    ray_api,
    ray_package,
    ray_settings,
    ray_state,
    ray_verbs,
    state,
    verbs,
)
from tuning.jobs import job as jobs_of
from tuning.jobs import spec as spec_of
from tuning.jobs.command import HONE
from tuning.jobs.job import Job
from tuning.jobs.launching import Place
from tuning.jobs.ray_settings import RaySettings
from tuning.jobs.spec import Spec, Step

TOKEN = "a-token-of-the-tests"
TUNE = Step("tune", (*HONE, "tune", "src", "--json"), (*HONE, "tune", "--resume", "--json"), run="shop")


@dataclass
class Head:
    """What the stand-in answers, and what it was asked."""

    address: str = ""
    version: str = "2.60.0"
    token: str = TOKEN
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: str = ""
    usage: dict[str, list[float]] | None = None
    refusal: str = ""
    outage: tuple[str, str] = ("", "")
    """What gets no answer, though a job is taken: the method, and the beginning of the path."""
    packages: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        self.asked.append((method, path))
        parts = path.strip("/").split("/")
        lost = method == self.outage[0] and path.startswith(self.outage[1])
        if lost and method == "PUT":
            return 503, "no upstream"
        if path == "/api/version":
            return 200, {"ray_version": self.version}
        if path == "/api/cluster_status" and self.usage is not None:
            return 200, {"data": {"clusterStatus": {"loadMetricsReport": {"usage": self.usage}}}}
        if parts[1] == "packages":
            if method == "PUT":
                self.packages[parts[3]] = body
            return (200, {}) if parts[3] in self.packages else (404, {})
        if (method, path) == ("POST", "/api/jobs/"):
            if self.refusal:
                return 500, f"Traceback (most recent call last):\n  File ...\n{self.refusal}\n"
            wanted = json.loads(body)
            self.jobs[wanted["submission_id"]] = {"status": "PENDING", "message": "it may be waiting", "asked": wanted}
            return (504, "too late") if lost else (200, {"submission_id": wanted["submission_id"]})
        if parts[1] == "jobs" and parts[2] in self.jobs:
            return 200, {"logs": self.logs, "stopped": True} if len(parts) > 3 else self.jobs[parts[2]]
        return 404, {}


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    told = Head()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, content = 401, "no"
            if self.headers.get("Authorization") == f"Bearer {told.token}":
                code, content = told.answer(self.command, self.path, body)
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setattr(ray_api, "_FRESH_SECONDS", -1.0)
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def repository(make_repository: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    made = make_repository(
        {"src/a.py": "a = 1\n", "src/gone.py": "b = 2\n", "c.py": "c = 3\n", ".gitignore": "*.key\n"}
    )
    (made / "src" / "a.py").write_text("a = 4\n")
    (made / "src" / "gone.py").unlink()
    (made / "my.key").write_text("secret")
    (made / "new.py").write_text("d = 5\n")
    monkeypatch.chdir(made / "src")
    return made


def on_ray(head: Head, *steps: Step, **settings: Any) -> Spec:
    ours = RaySettings(**{"address": head.address, "cores": 2, "memory_gb": 0.5, "upload": False, **settings})
    return spec(*(steps or (shell("a", "true"),)), ray=ours)


@pytest.fixture
def job(head: Head, hone_home: Path) -> Job:
    return verbs.submit(on_ray(head))


def test_what_is_submitted(head: Head, hone_home: Path, repository: Path):
    ours = {"gpus": 2, "resources": ("A100=0.001",), "python": "/opt/hone/bin/python", "upload": True}
    wanted = replace(on_ray(head, **ours), stop_seconds=90.0, folder=str(repository / "src"))
    job = verbs.submit(wanted)
    taken = f"hone-{job.id}-1"
    assert ray_api.submission(job) == taken
    (package,) = head.packages
    script = (
        'export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"; exec /opt/hone/bin/python -P -m tuning.jobs.ray_batch'
    )
    assert head.jobs[taken]["asked"] == {
        "submission_id": taken,
        "entrypoint": f"{script} {job.folder} {taken} src",
        "runtime_env": {"working_dir": f"gcs://{package}", "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "100"}},
        "metadata": {"hone_job": job.id},
        "entrypoint_num_cpus": 2,
        "entrypoint_num_gpus": 2,
        "entrypoint_memory": 500_000_000,
        "entrypoint_resources": {"A100": 0.001},
    }
    assert TOKEN not in json.dumps(head.jobs)
    assert TOKEN not in (job.folder / "spec.json").read_text()
    # The same content is sent once.
    verbs.submit(replace(wanted, name="other", steps=(shell("b", "true"),)))
    assert [method for method, path in head.asked if "packages" in path] == ["GET", "PUT", "GET"]


def test_the_package_holds_hone_and_the_repository_as_it_stands(repository: Path, tmp_path: Path):
    package = ray_package.build(repository)
    assert package.name == ray_package.build(repository).name
    sent, job = tmp_path / "sent", tmp_path / "job"
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        assert {"tui/__main__.py", "tuning/jobs/ray_batch.py", "tui/app.tcss"} <= set(archive.namelist())
        assert not any("__pycache__" in name for name in archive.namelist())
        archive.extractall(sent)
    job.mkdir()
    placed = ray_package.place(sent, job)
    found = sorted(str(path.relative_to(placed)) for path in placed.rglob("*"))
    assert [name for name in found if not name.startswith(".git/")] == [".git", ".gitignore", "c.py", "src", "src/a.py"]
    assert (placed / "src" / "a.py").read_text() == "a = 4\n"
    assert git(placed, "rev-parse", "HEAD") == git(repository, "rev-parse", "HEAD")
    assert git(placed, "status", "--porcelain").split() == ["M", "src/a.py", "D", "src/gone.py"]
    assert git(placed, "remote") == ""
    # Placed once: a run that goes on reads what it began with.
    (placed / "c.py").write_text("c = 6\n")
    assert ray_package.place(tmp_path / "none", job) == placed
    assert (placed / "c.py").read_text() == "c = 6\n"


def test_a_package_without_a_repository_is_hone_alone(tmp_path: Path):
    with zipfile.ZipFile(io.BytesIO(ray_package.build(None).data)) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
        archive.extractall(tmp_path / "sent")
    assert {name for name in top if "." not in name} == {"assistant", "tuning", "evals", "tui"}
    (found,) = metadata.distributions(path=[str(tmp_path / "sent")])
    assert (found.name, found.version) == ("hone-assistant", metadata.version("hone-assistant"))
    with pytest.raises(HoneError, match="holds no repository"):
        ray_package.place(tmp_path / "sent", tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "sent"]


def test_paths_into_the_repository_are_as_the_cluster_has_them(repository: Path, tmp_path: Path):
    step = Step("tune", ("python", str(repository), str(repository / "c.py"), str(tmp_path), "{job}/reports", "src"))
    found = ray_package.inside(step, repository / "src")
    assert found.argv == ("python", "..", "../c.py", str(tmp_path), "{job}/reports", "src")
    with pytest.raises(HoneError, match="is in no git repository"):
        ray_package.inside(step, tmp_path)


def test_a_repository_that_is_too_large_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_package, "MOST_BYTES", 1 << 10)
    with pytest.raises(HoneError, match="Ray takes 0; put it on a disk"):
        ray_package.build(repository)


def test_steps_run_by_the_nodes_interpreter_and_a_tuning_run_on_all_of_them():
    ours = RaySettings(python="py", nodes=2, cores=8, gpus=4, memory_gb=2.0, launch=("--use_fsdp",))
    submitting = HONE[0]
    nodes = ("py", "-P", "-m", "tuning.jobs.ray_nodes", "2", "4", "CPU=8", "GPU=4", "memory=2e+09", "--", "--use_fsdp")
    found = ray_verbs.placed(TUNE, ours, submitting)
    assert found.argv == (*nodes, "--", "-m", "tui", "tune", "src", "--json")
    assert found.resume == (*nodes, "--", "-m", "tui", "tune", "--resume", "--json")
    gate = Step("gate", (*HONE, "gate", "x"))
    assert ray_verbs.placed(gate, ours, submitting).argv == ("py", *HONE[1:], "gate", "x")
    assert ray_verbs.placed(TUNE, RaySettings(python="py"), submitting).argv == ("py", *TUNE.argv[1:])
    assert ray_verbs.placed(shell("a", "true"), ours, submitting) == shell("a", "true")


def test_the_launcher_is_told_where_the_others_are():
    words = launching.launcher(4, ("--use_fsdp",), ("-m", "tui"), Place(2, 1, "10.0.0.1", 20_001))
    assert "--multi_gpu" not in words
    told = dict(zip(words[3:-7:2], words[4:-7:2], strict=True))
    assert (told["--num_machines"], told["--machine_rank"], told["--num_processes"]) == ("2", "1", "8")
    assert (told["--main_process_ip"], told["--main_process_port"]) == ("10.0.0.1", "20001")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("adress = 'x'", "unknown key ray.adress; the nearest known one is 'address'"),
        ("address = 'ray://127.0.0.1:10001'", "must be the dashboard's"),
        ("address = 'http://[::1'", "must be the dashboard's"),
        ("address = 'https://me:word@head'", "must not hold a name or password"),
        ("address = 'http://head:8265'", "would go unencrypted to http://head:8265"),
        ("python = ''", "must name an interpreter"),
        ("nodes = 0", "ray.nodes = 0 is not possible; allowed: 1 to 1024"),
        ("gpus = true", "must be a whole number"),
        ("upload = 1", "must be true or false"),
        ("resources = ['A100']", "each must be NAME=AMOUNT"),
        ("resources = ['A100=nan']", "each must be NAME=AMOUNT"),
        ("resources = ['CPU=4']", "of others than CPU"),
        ("launch = '--use_fsdp'", "must be a list of texts"),
    ],
)
def test_settings_that_are_none(text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    configure(tmp_path, monkeypatch, text)
    with pytest.raises(HoneError) as refused:
        ray_settings.load()
    assert words in str(refused.value)


def test_settings_are_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    configure(tmp_path, monkeypatch, "cores = 8\nresources = ['a=b=2']\naddress = 'https://head/ray/'")
    ours = ray_settings.load()
    assert ours == RaySettings(address="https://head/ray", cores=8, resources=("a=b=2",))
    assert ray_settings.custom(ours.resources) == {"a=b": 2.0}
    configure(tmp_path, monkeypatch, "address = 'http://head:8265'\nplain_http = true")
    assert ray_settings.load().address == "http://head:8265"
    (tmp_path / "hone.toml").write_text("[ray]\npython = 'rm'\n")
    with pytest.raises(HoneError, match="cannot be set by a repository"):
        ray_settings.load()


def test_the_address_is_that_of_rays_own_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    configure(tmp_path, monkeypatch, "")
    assert ray_settings.load().address == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert ray_settings.load().address == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://localhost:1/")
    assert ray_settings.load().address == "http://localhost:1"


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    (folder / "config" / "hone").mkdir(parents=True, exist_ok=True)
    (folder / "config" / "hone" / "config.toml").write_text(f"[ray]\n{text}\n")


def test_the_token_comes_from_where_ray_has_it(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ours = RaySettings(address=head.address)
    ray_api.check(ours)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(HoneError, match=r"there is no token for Ray: .*/\.ray/auth_token"):
        ray_api.check(ours)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(TOKEN + "\n")
    ray_api.check(ours)
    (tmp_path / "other").write_text("wrong")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
    with pytest.raises(HoneError, match="refuses the token"):
        ray_api.check(ours)
    (tmp_path / "mine").write_text(TOKEN)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    ray_api.check(replace(ours, token_file=str(tmp_path / "mine")))
    (tmp_path / "mine").write_text("two\nlines")
    with pytest.raises(HoneError, match="holds no token"):
        ray_api.check(replace(ours, token_file=str(tmp_path / "mine")))


def test_a_ray_that_knows_no_tokens_is_refused(head: Head, hone_home: Path):
    head.version = "2.51.1"
    with pytest.raises(HoneError, match=r"is 2\.51\.1; 2\.52 or newer"):
        verbs.submit(on_ray(head))


def test_what_ray_refuses_leaves_no_job(head: Head, hone_home: Path):
    head.refusal = "ValueError: entrypoint_resources is not valid"
    with pytest.raises(HoneError, match=r"^Ray says \(HTTP 500\): ValueError: entrypoint_resources is not valid$"):
        verbs.submit(on_ray(head))
    assert jobs_of.all_jobs(jobs_of.folder()) == []


@pytest.mark.parametrize(
    ("told", "error", "message", "stands", "words"),
    [
        ("PENDING", "", "It may be waiting for resources.\nmore", "waiting", "It may be waiting for resources."),
        ("RUNNING", "", "", "waiting", "it begins on 10.0.0.7"),
        ("STOPPED", "", "", "stopped", "it was stopped in Ray"),
        ("SUCCEEDED", "", "", "died", "ended well, but it left no record"),
        ("FAILED", "JOB_SUPERVISOR_ACTOR_START_TIMEOUT", "x", "died", "15 minutes"),
        ("FAILED", "RUNTIME_ENV_SETUP_FAILURE", "x", "died", "could not unpack"),
        ("FAILED", "SOMETHING_NEW", "it broke\nand so on", "died", "Ray says: it broke"),
        ("FAILED", "", "", "died", "FAILED"),
    ],
)
def test_what_ray_says_of_a_job(head: Head, job: Job, told: str, error: str, message: str, stands: str, words: str):
    head.logs = "pip failed\nat the end"
    taken = ray_api.submission(job)
    assert taken is not None
    head.jobs[taken] = {"status": told, "error_type": error or None, "message": message}
    head.jobs[taken]["driver_info"] = {"id": "01", "node_ip_address": "10.0.0.7", "pid": "7"}
    seen = state.settled(job)
    assert seen.state == stands
    assert words in seen.why
    assert (seen.ended is None) == seen.is_active
    assert state.settled(job).state == stands
    # What kept it from starting is in its log, once.
    assert job.log.read_text() == ("" if seen.is_active else "pip failed\nat the end\n")


def test_no_answer_is_no_end(head: Head, job: Job, monkeypatch: pytest.MonkeyPatch):
    head.token = "another"
    assert state.settled(job).state == "waiting"
    assert "refuses the token" in state.settled(job).why
    assert state.settled(job).ended is None
    dead = replace(job.spec().ray or RaySettings(), address="http://127.0.0.1:1")
    assert "does not answer" in ray_state.standing(job, dead, None, None).why
    with pytest.raises(HoneError, match="does not answer"):
        ray_state.pending(job, dead)


def test_a_job_that_a_restarted_head_has_forgotten_died_and_is_submitted_anew(head: Head, job: Job):
    head.jobs.clear()
    seen = state.settled(job)
    assert (seen.state, "its head may have been started again" in seen.why) == ("died", True)
    verbs.resume(job)
    assert ray_api.submission(job) == f"hone-{job.id}-2"
    assert list(head.jobs) == [f"hone-{job.id}-2"]
    assert state.settled(job).state == "waiting"
    with pytest.raises(UsageError, match="waiting already"):
        verbs.resume(job)


def test_a_job_that_waits_is_stopped_though_ray_cannot_take_it_back(head: Head, job: Job):
    verbs.stop(job)
    seen = state.settled(job)
    assert (seen.state, seen.why) == ("stopped", "stopped as told")
    assert ("POST", f"/api/jobs/hone-{job.id}-1/stop") in head.asked
    assert jobs_of.active(jobs_of.folder()) == []


def test_a_job_is_stopped_on_a_full_disk(head: Head, job: Job):
    job.events.unlink()
    job.events.mkdir()
    verbs.stop(job)
    assert ("POST", f"/api/jobs/hone-{job.id}-1/stop") in head.asked


@pytest.fixture
def first(hone_home: Path, tmp_path: Path) -> Iterator[Job]:
    """A job of this machine that is done once there is a file `go`."""
    yield submit(shell("a", f"until test -e {tmp_path}/go; do sleep 0.05; done; test ! -s {tmp_path}/go"), name="first")
    end_all(hone_home)


def test_a_job_that_comes_after_another_one_is_held_back_and_then_handed_over_as_it_was(
    head: Head, first: Job, repository: Path, tmp_path: Path
):
    wanted = replace(on_ray(head, upload=True), folder=str(repository / "src"), after=(first.id,))
    job = verbs.submit(wanted)
    (repository / "src" / "a.py").write_text("a = 5\n")
    until(lambda: state.look(job).why == f"it comes after {first.id}")
    assert (state.look(job).state, head.jobs, head.packages) == ("waiting", {}, {})
    verbs.stop(job)
    assert ended(job).why == "stopped as told, while it waited"
    assert not (job.folder / "package.zip").exists()
    verbs.resume(job)
    (repository / "src" / "a.py").write_text("a = 6\n")
    until(lambda: state.look(job).why == f"it comes after {first.id}")
    # A head that does not answer in that moment is waited for.
    head.token = "another"
    (tmp_path / "go").touch()
    until(lambda: "refuses the token" in state.look(job).why)
    assert state.settled(job).state == "waiting"
    head.token = TOKEN
    until(lambda: head.jobs)
    assert list(head.jobs) == [f"hone-{job.id}-2"]
    until(lambda: not (job.folder / "package.zip").exists())
    # What holds it back is gone, and Ray is asked from here on.
    assert job.identity("supervisor") is None
    assert (state.settled(job).state, state.settled(job).why) == ("waiting", "it may be waiting")
    (package,) = head.packages.values()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        assert archive.read("repository/changed/src/a.py") == b"a = 5\n", "as it was when it was resumed"
    verbs.stop(job)
    assert ("POST", f"/api/jobs/hone-{job.id}-2/stop") in head.asked
    assert [event["event"] for event in files.read_lines(job.events)].count("stop asked") == 2


def test_an_outage_while_it_is_handed_over_is_waited_for(head: Head, first: Job, tmp_path: Path):
    job = verbs.submit(replace(on_ray(head), after=(first.id,)))
    head.outage = ("PUT", "/api/packages/")
    (tmp_path / "go").touch()
    until(lambda: "HTTP 503" in state.look(job).why)
    head.outage = ("POST", "/api/jobs/")
    until(lambda: "HTTP 504" in state.look(job).why)
    assert state.settled(job).state == "waiting"
    # It is taken by no name that Ray may have given to a job already.
    known = set(head.jobs)
    head.outage = ("", "")
    until(lambda: set(head.jobs) - known and job.identity("supervisor") is None)
    assert len({*head.jobs} - known) <= 2
    assert ray_api.submission(job) == list(head.jobs)[-1]
    assert state.settled(job).state == "waiting"


def test_what_holds_a_job_back_is_killed_and_the_job_it_comes_after_fails(head: Head, first: Job, tmp_path: Path):
    job = verbs.submit(replace(on_ray(head), after=(first.id,)))
    kill(job, "supervisor")
    assert state.settled(job).state == "died"
    assert "what held it back from Ray was killed" in state.settled(job).why
    verbs.resume(job)
    # Never there without its text.
    (tmp_path / "failing").write_text("fails")
    (tmp_path / "failing").rename(tmp_path / "go")
    status = ended(job)
    assert (status.state, status.why) == ("failed", f"not started: {first.id}, which it comes after, failed")
    assert head.jobs == {}


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        ({"CPU": [0.0, 1.0], "memory": [0.0, 4e9]}, "less than it asks for: 2 CPU, 1 of 1 free"),
        ({"CPU": [3.0, 4.0], "memory": [0.0, 4e9]}, "is in use: 2 CPU, 1 of 4 free"),
        ({"CPU": [0.0, 4.0], "memory": [3.8e9, 4e9]}, "is in use: 0.5 GB memory, 0.2 of 4 GB free"),
        ({"CPU": [0.0, 4.0], "memory": [0.0, 4e9]}, "no single node"),
        (None, "no single node"),
    ],
)
def test_why_it_waits_as_far_as_ray_tells(head: Head, job: Job, usage: Any, words: str):
    head.usage = usage
    assert job.spec().ray is not None
    found = ray_state.pending(job, job.spec().ray or RaySettings())
    assert words in found["meaning"]
    assert found["advice"]
    assert (found["ray_state"], found["ray_says"]) == ("PENDING", "it may be waiting")
    assert found["asked"] == {"CPU": 2.0, "memory": 5e8}
    head.jobs[found["ray_job"]]["status"] = "RUNNING"
    assert ray_state.pending(job, job.spec().ray or RaySettings()) == {}


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["data", "clusterStatus", "loadMetricsReport", "usage", "CPU"]), inner)
        ),
        max_leaves=12,
    )
)
def test_no_answer_on_the_cluster_breaks_the_reason(content: Any):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_api, "_object", lambda *_: content)
        found = ray_api.usage(RaySettings(address="http://127.0.0.1:1"))
    assert all(isinstance(used, float) and isinstance(there, float) for used, there in found.values())


def test_a_supervisor_on_a_node_speaks_for_its_job_while_it_is_heard(head: Head, job: Job):
    head.jobs[f"hone-{job.id}-1"]["status"] = "RUNNING"
    job.put_identity("supervisor", replace(identity.own(), boot="another", host="n1.cluster.example"))
    pulse = state.Pulse("running", "", "tune", time.time(), 1.0, 0, 0)
    files.fill(job.pulse, vars(pulse), final=False)
    head.asked.clear()
    assert (state.look(job).state, state.look(job).step) == ("running", "tune")
    assert head.asked == []
    files.fill(job.pulse, vars(replace(pulse, at=pulse.at - 100)), final=False)
    assert state.look(job).state == "elsewhere"
    assert re.fullmatch(r"on a node of Ray, silent for \d{3,} s", state.look(job).why)


def test_an_older_jobs_file_is_read(job: Job):
    content = json.loads(json.dumps(spec_of.to_json(job.spec())))
    assert spec_of.from_json(content) == job.spec()
    assert not job.spec().is_local
    del content["ray"]
    assert spec_of.from_json(content).is_local


def test_a_start_that_is_no_longer_wanted_leaves_at_once(head: Head, job: Job):
    """Of a job that was stopped while it waited, and of one that was submitted anew since."""
    for taken, words in ((f"hone-{job.id}-0", "was submitted anew since"), (f"hone-{job.id}-1", "has ended already")):
        if taken.endswith("1"):
            verbs.stop(job)
            assert state.settled(job).state == "stopped"
        command = [HONE[0], "-P", "-m", "tuning.jobs.ray_batch", str(job.folder), taken]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
    assert [event["event"] for event in files.read_lines(job.events)] == ["submitted", "stop asked", "ended"]
