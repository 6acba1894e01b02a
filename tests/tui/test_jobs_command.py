"""`hone jobs`, and `--detach` of the commands that become jobs."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from assistant.models import store
from assistant.models.identity import base_identity
from assistant.models.registry import AdapterVersion, Registry
from tests.conftest import git
from tests.small_models import write_gguf
from tests.tuning.jobs_here import end_all, ended, expected, shell, submit, tune_step, until
from tui import cli
from tui.commands import detached
from tuning import checkpoint, unfinished
from tuning.checkpoint import Checkpoint
from tuning.corpus.sources import parse, resolve
from tuning.jobs import job as jobs_of
from tuning.jobs import state
from tuning.jobs.command import HONE
from tuning.jobs.job import Job
from tuning.plan import Plan
from tuning.position import Position
from tuning.unfinished import Asked

Hone = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hone(
    hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Hone]:
    """Runs `hone` in this process, in a folder with a repository `src`; returns (exit code, output, errors)."""
    (tmp_path / "src").mkdir()
    git(tmp_path / "src", "init", "-q", "-b", "main")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hone", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    yield run
    end_all(hone_home)


@pytest.fixture
def first(hone: Hone) -> Job:
    """A job that others can be made to wait for."""
    return submit(shell("wait", "sleep 600"), name="first")


def test_without_jobs(hone: Hone):
    assert hone("jobs") == (0, "there is no job yet; start one by `hone tune ... --detach`\n", "")
    assert json.loads(hone("jobs", "--json")[1]) == {"schema_version": 1, "jobs": [], "left_out": 0}
    assert hone("jobs", "show", "x")[2] == "hone: there is no job yet; start one by `hone tune ... --detach`\n"


def test_a_detached_run_is_the_command_that_was_given(hone: Hone, first: Job, tmp_path: Path):
    given = ("src", "--name", "shop", "--rank", "4", "--no-rslora", "--include", "*.py", "--include", "*.go")
    options = ("--after", first.id, "--priority", "3", "--memory-gb", "0.5", "--cores", "1")
    code, out, err = hone("tune", *given, "--detach", *options, "--restart", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    job = Job(Path(told["folder"]))
    spec = job.spec()
    assert told["job"] == job.id
    assert (spec.name, spec.folder, spec.after, spec.priority, spec.cores) == ("shop", str(tmp_path), (first.id,), 3, 1)
    assert spec.memory == 500_000_000
    step = spec.steps[0]
    words = [
        "--name",
        "shop",
        "--restart",
        "--include",
        "*.py",
        "--include",
        "*.go",
        "--rank",
        "4",
        "--no-rslora",
        "src",
    ]
    assert step.argv == (*HONE, "tune", *words, "--json")
    assert step.resume == (*HONE, "tune", "--name", "shop", "--resume", "--json")
    assert step.run == "shop"
    assert spec.command[0] == "tune"
    assert "--detach" in spec.command
    until(lambda: state.look(job).why == f"it comes after {first.id}")
    assert "is tuning shop already" in hone("tune", "src", "--name", "shop", "--detach")[2]
    assert "hone jobs logs" in hone("tune", "src", "--name", "other", "--detach", "--after", first.id)[1]


def test_a_pipeline_promotes_exactly_what_was_measured(hone: Hone, first: Job):
    follow = ("--then", "eval --limit 20", "--then", "gate --max-regression 0.01", "--then", "promote --as live")
    code, out, err = hone("tune", "src", "--name", "shop", "--detach", "--after", first.id, *follow, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["steps"] == ["tune", "eval", "gate", "promote"]
    lines = [" ".join(step.argv[len(HONE) :]) for step in Job(Path(told["folder"])).spec().steps]
    models = "--model smollm2-135m --model {tune.adapter}"
    assert lines[1:] == [
        f"eval repo --limit 20 --repo src {models} --out {{job}}/reports/eval --json",
        "gate {tune.adapter} --report {job}/reports --no-run --max-regression 0.01 --against smollm2-135m --json",
        "models promote {tune.adapter} --evidence {job}/reports/gate/decision.json --as live --json",
    ]


def test_a_pipeline_compares_with_what_is_live_on_the_same_base(hone: Hone, first: Job, tmp_path: Path):
    registry = Registry()
    registry.register(AdapterVersion("old", "a" * 64, "smollm2-135m", "b" * 64, tmp_path, "2026-01-01T00:00:00+00:00"))
    registry.promote("old", "champion", actor=None, evidence={})
    out = hone("tune", "src", "--name", "shop", "--detach", "--after", first.id, "--then", "gate", "--json")[1]
    gate = " ".join(Job(Path(json.loads(out)["folder"])).spec().steps[1].argv)
    assert f"--against old@{'a' * 12} --tasks repo --repo src" in gate


def test_a_local_base_is_known_however_its_path_is_written(hone: Hone, first: Job, tmp_path: Path):
    base = store.find(str(write_gguf(tmp_path / "tiny.gguf")))
    assert base is not None
    registry = Registry()
    for name, alias in (("old", "champion"), ("strict", "live")):
        digest = name[0].encode().hex() * 32
        identity = base_identity(base).digest
        registry.register(AdapterVersion(name, digest, base.name, identity, tmp_path, "2026-01-01T00:00:00+00:00"))
        registry.promote(name, alias, actor=None, evidence={})
    asked = ("src", "--base", "./tiny.gguf", "--detach", "--after", first.id, "--then", "gate")
    out = hone("tune", *asked, "--name", "shop", "--json")[1]
    assert "--against old@" in " ".join(Job(Path(json.loads(out)["folder"])).spec().steps[1].argv)
    out = hone("tune", *asked, "--name", "other", "--then", "promote --as live", "--json")[1]
    assert "--against strict@" in " ".join(Job(Path(json.loads(out)["folder"])).spec().steps[1].argv)


@pytest.mark.parametrize("changed", [False, True])
def test_a_schedule_goes_on_with_what_was_cut_short_or_begins_anew(
    hone: Hone, first: Job, hone_home: Path, tmp_path: Path, changed: bool
):
    git(tmp_path / "src", "commit", "-q", "--allow-empty", "-m", "one")
    source = resolve(parse("src"))
    kept = hone_home / "unfinished" / "shop" / "step-00000007"
    unfinished.begin("shop", Asked((source,), "smollm2-135m", "b" * 64, Plan(), "float32", {}))
    at = Position(step=7, tokens=1, spent=1.0, elapsed=1.0, share=0.5, checks=0, before=None, best=None)
    checkpoint.write(kept.parent, Checkpoint(at, {"weight/a": torch.zeros(1)}))
    if changed:
        git(tmp_path / "src", "commit", "-q", "--allow-empty", "-m", "two")
    asked = ("tune", "src", "--name", "shop", "--detach", "--after", first.id)
    assert "an unfinished run of shop stands at step 7" in hone(*asked)[2]
    code, out, err = hone(*asked, "--when", "new-commits", "--json")
    assert code == 0, err
    argv = " ".join(Job(Path(json.loads(out)["folder"])).spec().steps[0].argv[len(HONE) :])
    if changed:
        assert "the sources have changed: anew" in err
        assert argv == "tune --restart --name shop src --json"
    else:
        assert "this goes on with it" in err
        assert argv == "tune --name shop --resume --json"


def test_old_jobs_are_removed_by_their_age(hone: Hone):
    job = submit(shell("a", "true"))
    ended(job)
    assert hone("jobs", "rm", "--older-than", "1") == (0, "no job is so old\n", "")
    assert hone("jobs", "rm", "--older-than", "0") == (0, f"removed 1 job: {job.id}\n", "")
    assert "say which job to remove" in hone("jobs", "rm")[2]


@pytest.mark.parametrize(("limit", "share"), [(1, 8), (2, 4), (16, 1)])
def test_jobs_that_may_run_at_once_share_the_cores(
    hone: Hone, first: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, share: int
):
    monkeypatch.setattr(detached, "usable", lambda: 8)
    (tmp_path / "config" / "hone").mkdir(parents=True)
    (tmp_path / "config" / "hone" / "config.toml").write_text(f"[jobs]\nlimit = {limit}\n")
    out = hone("tune", "src", "--name", "shop", "--detach", "--after", first.id, "--json")[1]
    made = Job(Path(json.loads(out)["folder"])).spec()
    assert (made.cores, made.threads) == (share, None if limit == 1 else share)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tune", "src", "--name", "x", "--then", "eval"], "are of jobs: add --detach"),
        (["tune", "src", "--name", "x", "--detach", "--dry-run"], "--detach starts a run"),
        (["tune", "src", "--name", "x", "--detach", "--then", "promote"], "put --then gate before --then promote"),
        (["tune", "src", "--name", "x", "--detach", "--then", "gate", "--then", "eval"], "in this order"),
        (["tune", "src", "--name", "x", "--detach", "--then", "deploy"], "there is no such step"),
        (["tune", "src", "--name", "x", "--detach", "--then", "eval 'a"], "No closing quotation"),
        (["tune", "src", "--name", "x", "--detach", "--then", "eval --limt 3"], "No such option"),
        (["tune", "src", "--name", "x", "--detach", "--then", "eval --samples 3"], "--samples means nothing to repo"),
        (["tune", "src", "--name", "x", "--detach", "--then", "eval --model y"], "--model is set by the job"),
        (["tune", "nowhere", "--name", "x", "--detach"], "nowhere is not a folder or file"),
        (["tune", "src", "--name", "x", "--detach", "--after", "none"], "there is no job"),
        (["tune", "src", "--name", "a/b", "--detach"], "cannot be an adapter's name"),
        (["tune", "src", "--detach"], "Give it a --name"),
        (["tune", "src", "--name", "x", "--detach", "--memory-gb", "1e9"], "of memory and this machine has"),
        (["eval", "mbpp", "--detach", "--key", "secret"], "set HONE_API_KEY"),
        (["eval", "mbpp", "--priority", "3"], "add --detach"),
    ],
)
def test_what_is_refused_is_one_line_and_no_job(hone: Hone, hone_home: Path, arguments: list[str], words: str):
    code, out, err = hone(*arguments)
    assert code != 0
    assert out == ""
    assert words in err
    assert err.startswith("hone: ")
    assert err.count("\n") == 1
    assert jobs_of.all_jobs(jobs_of.folder()) == []


def test_a_detached_evaluation_and_a_detached_gate(hone: Hone, first: Job):
    given = ("humaneval", "--model", "smollm2-135m", "--limit", "3", "--out", "-odd")
    code, out, err = hone("eval", *given, "--detach", "--after", first.id, "--json")
    assert (code, err) == (0, "")
    spec = Job(Path(json.loads(out)["folder"])).spec()
    assert spec.name == "eval humaneval"
    words = ["--model", "smollm2-135m", "--limit", "3", "--out", "-odd", "humaneval"]
    assert spec.steps[0].argv == (*HONE, "eval", *words, "--json")
    given = ("--against", "smollm2-135m", "--tasks", "repo", "--repo", "src", "shop")
    code, out, err = hone("gate", *given, "--detach", "--after", first.id, "--json")
    assert (code, err) == (0, "")
    spec = Job(Path(json.loads(out)["folder"])).spec()
    assert (spec.name, spec.after) == ("gate shop", (first.id,))
    assert spec.steps[0].argv == (*HONE, "gate", *given, "--json")


def test_list_show_logs_stop_resume_and_remove(hone: Hone):
    job = submit(tune_step("one", "--steps", "400", "--every", "1000"), shell("after", "echo fine >&2"), name="shop")
    until(job.metrics.exists)
    listed = json.loads(hone("jobs", "--json")[1])["jobs"]
    assert [(one["job"], one["state"], one["step"], one["name"]) for one in listed] == [
        (job.id, "running", "tune", "shop")
    ]
    assert 0 < listed[0]["progress"]["share"] < 1
    assert listed[0]["progress"]["tokens_per_second"] == 90
    table = hone("jobs", "list")[1]
    assert table.split()[:3] == ["job", "name", "state"]
    assert all(word in table for word in (job.id, "shop", "running", "tune", "90"))
    stopped = hone("jobs", "stop", job.id[:7])[1]
    assert "stopped as told, in tune at step" in stopped
    assert f"`hone jobs resume {job.id}` goes on from there" in stopped
    words = hone("jobs", "show", "shop")[1]
    assert "stopped" in words
    assert "checkpoint" in words
    assert "not done" in words
    assert json.loads(hone("jobs", "resume", job.id, "--json")[1])["state"] in ("running", "waiting")
    code, out, _ = hone("jobs", "logs", job.id, "--follow")
    assert code == 0
    assert out.count("$ ") == 3
    assert out.rstrip().endswith("fine")
    assert hone("jobs", "logs", job.id, "-n", "1")[1] == "fine\n"
    shown = json.loads(hone("jobs", "show", job.id, "--json")[1])
    assert (shown["state"], shown["attempt"]) == ("done", 2)
    assert [(one["name"], one["exit_code"]) for one in shown["steps"]] == [("tune", 0), ("after", 0)]
    assert f"one@{expected(400):012x}" in hone("jobs", "show", job.id)[1]
    assert hone("jobs", "rm", job.id)[1] == f"removed job {job.id}\n"
    assert not job.folder.exists()


def test_a_death_is_told(hone: Hone):
    job = submit(shell("tune", "echo '\x1b[31mred' >&2; kill -9 $$"), name="shop")
    ended(job)
    assert "tune was killed by SIGKILL" in hone("jobs")[1]
    words = hone("jobs", "show", job.id)[1]
    assert "signal" in words
    assert "SIGKILL" in words
    assert "does the step again" in words
    assert "\x1b" not in hone("jobs", "logs", job.id)[1]
    assert "\x1b" not in words
    told = json.loads(hone("jobs", "show", job.id, "--json")[1])
    assert told["exit"]["signal"] == "SIGKILL"


def test_old_jobs_are_left_out_of_the_list(hone: Hone):
    jobs = [submit(shell("a", "true"), name=f"job {number}") for number in range(3)]
    for job in jobs:
        ended(job)
    listed = json.loads(hone("jobs", "--json")[1])
    assert [one["name"] for one in listed["jobs"]] == ["job 2", "job 1", "job 0"]
    assert "could be" in hone("jobs", "show", jobs[0].id[:1])[2]


def test_of_many_jobs_that_ended_the_newest_are_shown_and_those_that_run(hone: Hone, first: Job):
    from tests.tuning.jobs_here import spec
    from tuning.jobs.record import Record, now

    jobs = jobs_of.folder()
    for number in range(20):
        job = jobs_of.create(jobs, spec(shell("a", "true"), name=f"job {number}"))
        state.write_record(job, Record("done", "all steps ended well", "", now(), "a", 0))
    listed = json.loads(hone("jobs", "--json")[1])
    assert [one["name"] for one in listed["jobs"]] == ["first", *(f"job {number}" for number in range(19, 4, -1))]
    assert listed["left_out"] == 5
    assert "and 5 that ended earlier (--all)" in hone("jobs")[1]
    everything = json.loads(hone("jobs", "--all", "--json")[1])
    assert (len(everything["jobs"]), everything["left_out"]) == (21, 0)
