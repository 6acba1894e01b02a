"""What is asked of Slurm and what its answers mean, without one: the script, the settings, the codes, no answer."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from tests.conftest import ROOT
from tests.tuning.jobs_here import shell, spec, until
from tuning.jobs import files, identity, slurm, slurm_nodes, slurm_reasons, slurm_settings, slurm_state, state, verbs
from tuning.jobs import job as jobs_of
from tuning.jobs import spec as spec_of
from tuning.jobs.command import HONE, shown
from tuning.jobs.job import Job
from tuning.jobs.pulse import Pulse
from tuning.jobs.slurm_script import placed, script
from tuning.jobs.slurm_settings import SlurmSettings
from tuning.jobs.spec import Step

FULL = SlurmSettings(
    partition="gpu",
    account="lab",
    qos="long",
    time="4:00:00",
    nodes=2,
    cores=8,
    memory_gb=32.0,
    gpus=4,
    modules=("cuda/12.4", "python/3.12"),
    container=("apptainer", "exec", "--nv", "/images/hone.sif"),
    launch=("--use_fsdp", "--fsdp_version", "2"),
    options=("--constraint=a100",),
    requeue=False,
)
TUNE = Step("tune", (*HONE, "tune", "src", "--json"), (*HONE, "tune", "--resume", "--json"), run="shop")


def _options(text: str) -> list[str]:
    return [shlex.split(line)[1] for line in text.splitlines() if line.startswith("#SBATCH ")]


def test_the_batch_script_asks_for_what_is_configured():
    text = script(Path("/jobs/abc"), replace(spec(TUNE), slurm=FULL, stop_seconds=90.0), after=(7, 9))
    assert _options(text) == [
        "--job-name=hone-abc",
        "--output=/jobs/abc/log",
        "--open-mode=append",
        "--chdir=/jobs/abc",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--cpus-per-task=8",
        "--signal=B:USR2@150",
        "--no-requeue",
        "--partition=gpu",
        "--account=lab",
        "--qos=long",
        "--time=4:00:00",
        "--mem=30518M",
        "--gpus-per-node=4",
        "--dependency=afterok:7:9",
        "--constraint=a100",
    ]
    assert text.startswith("#!/bin/bash -l\n")
    assert text.splitlines()[-2:] == [
        "module load cuda/12.4 python/3.12 || exit 1",
        f"exec {shlex.join([sys.executable])} -P -m tuning.jobs.slurm_batch /jobs/abc",
    ]


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters="/"), min_size=1, max_size=30))
def test_no_folder_name_breaks_the_script(name: str):
    folder = Path("/jobs") / name / "abc"
    text = script(folder, replace(spec(TUNE), slurm=SlurmSettings()))
    assert f"--chdir={folder}" in _options(text)
    assert shlex.split(text.splitlines()[-1])[-1] == str(folder)
    checked = subprocess.run(["/bin/sh", "-n"], input=text, text=True, capture_output=True, check=False)
    assert checked.returncode == 0


def test_steps_run_in_the_container_and_a_tuning_run_on_all_nodes():
    inside = ("apptainer", "exec", "--nv", "/images/hone.sif", "python3")
    nodes = ("-P", "-m", "tuning.jobs.slurm_nodes")
    found = placed(TUNE, FULL)
    launch = (*inside, *nodes, "node", "4", "--use_fsdp", "--fsdp_version", "2", "--", "-m", "tui", "tune")
    assert found.argv == (sys.executable, *nodes, "srun", "2", "--", *launch, "src", "--json")
    assert found.resume == (sys.executable, *nodes, "srun", "2", "--", *launch, "--resume", "--json")
    gate = Step("gate", (*HONE, "gate", "x"))
    assert placed(gate, FULL).argv == (*inside, *HONE[1:], "gate", "x")
    assert placed(gate, FULL).resume == ()
    assert placed(TUNE, SlurmSettings()) == TUNE
    assert shown(placed(TUNE, SlurmSettings()).argv) == "hone tune src --json"


def test_the_launcher_is_told_where_the_others_are():
    environment = {"SLURM_NNODES": "2", "SLURM_JOB_ID": "40001", "SLURM_NODEID": "1", "SLURM_LAUNCH_NODE_IPADDR": "::1"}
    words = slurm_nodes.launcher(4, (), ("-m", "tui", "tune"), environment)
    assert words[:4] == [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    told = dict(zip(words[4:-3:2], words[5:-3:2], strict=True))
    assert (told["--num_machines"], told["--machine_rank"], told["--num_processes"]) == ("2", "1", "8")
    assert (told["--main_process_ip"], told["--main_process_port"]) == ("::1", "20001")
    assert words[-3:] == ["-m", "tui", "tune"]
    sharded = slurm_nodes.launcher(4, FULL.launch, ("-m", "tui"), environment)
    assert "--multi_gpu" not in sharded
    assert sharded[-5:] == ["--use_fsdp", "--fsdp_version", "2", "-m", "tui"]


def test_a_report_comes_alone_and_once_from_several_nodes(answers: Callable[..., None]):
    report = '{"schema_version": 1, "adapter": "a@b"}'
    answers("srun", f"[Gloo] Rank 0 is connected to 1 peer ranks\n{report}\n{{}}\n{report}")
    words = [sys.executable, "-P", "-m", "tuning.jobs.slurm_nodes", "srun", "2", "--", "true"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout == report + "\n"
    assert done.stderr == "[Gloo] Rank 0 is connected to 1 peer ranks\n{}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partitoin = 'x'", "unknown key slurm.partitoin; the nearest known one is 'partition'"),
        ("nodes = 0", "slurm.nodes = 0 is not possible; allowed: 1 to 1024"),
        ("nodes = true", "slurm.nodes = True must be a whole number"),
        ("cores = 1.5", "slurm.cores = 1.5 must be a whole number"),
        ("memory_gb = 'x'", "slurm.memory_gb = 'x' must be a number"),
        ("requeue = 1", "slurm.requeue = 1 must be true or false"),
        ('account = "a\\nb"', "must be a text of one line"),
        ("modules = 'cuda'", "must be a list of texts"),
        ("container = ['']", "must be a list of texts"),
        ("options = ['-p x']", "each must be a long one"),
        ("options = ['--output=/x']", "this one is set by Hone"),
    ],
)
def test_settings_that_are_none(text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _configure(tmp_path, monkeypatch, text)
    with pytest.raises(HoneError) as refused:
        slurm_settings.load()
    assert words in str(refused.value)


def test_settings_are_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _configure(tmp_path, monkeypatch, "partition = 'gpu'\nmemory_gb = 4\noptions = ['--exclusive']\nrequeue = false")
    ours = slurm_settings.load()
    assert ours == SlurmSettings(partition="gpu", memory_gb=4.0, options=("--exclusive",), requeue=False)
    (tmp_path / "hone.toml").write_text("[slurm]\ncontainer = ['rm']\n")
    with pytest.raises(HoneError, match="cannot be set by a repository"):
        slurm_settings.load()


def _configure(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    (folder / "config" / "hone").mkdir(parents=True)
    (folder / "config" / "hone" / "config.toml").write_text(f"[slurm]\n{text}\n")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("Resources", "are taken"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", "maintenance"),
        ("AssocGrpCPUMinutesLimit", "hours granted"),
        ("QOSGrpCpuLimit", "your group"),
        ("QOSMaxJobsPerUserLimit", "as many jobs"),
        ("MaxJobsPerAccount", "as many jobs"),
        ("QOSMaxCpuPerUserLimit", "your jobs together"),
        ("AssocMaxCpuPerJobLimit", "more than one job may have"),
        ("QOSMinGRES", "less than its QOS takes"),
        ("BurstBufferStageIn", "burst buffer"),
        ("SomethingNew", "does not know"),
    ],
)
def test_codes_in_words(code: str, words: str):
    found = slurm_reasons.explained(code)
    assert words in found.meaning
    assert found.advice


@pytest.fixture
def answers(hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts commands of Slurm on the path that answer as they are told."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(slurm, "_FRESH_SECONDS", -1.0)

    def answer(name: str, text: str, code: int = 0) -> None:
        stream = ">&2" if code else ""
        file = programs / name
        file.write_text(f"#!/bin/sh\n/bin/cat <<'END' {stream}\n{text}\nEND\nexit {code}\n")
        file.chmod(0o755)

    return answer


@pytest.fixture
def job(hone_home: Path) -> Job:
    jobs = jobs_of.folder()
    with jobs_of.changing(jobs):
        made = jobs_of.create(jobs, replace(spec(TUNE), slurm=SlurmSettings()))
    slurm.keep_number(made, 12)
    return made


def test_a_job_is_stopped_on_a_full_disk(answers: Callable[..., None], job: Job, tmp_path: Path):
    answers("squeue", _line(job, "RUNNING"))
    answers("scancel", "")
    job.events.unlink()
    job.events.mkdir()
    verbs.stop(job)


def test_on_a_full_disk_slurm_still_learns_that_a_job_left(hone_home: Path, tmp_path: Path):
    jobs = jobs_of.folder()
    full = f"rm $HONE_JOB/events.jsonl && mkdir $HONE_JOB/events.jsonl && touch {tmp_path}/full; exec sleep 600"
    with jobs_of.changing(jobs):
        job = jobs_of.create(jobs, replace(spec(shell("a", full)), slurm=SlurmSettings()))
    slurm.keep_number(job, 12)
    command = [sys.executable, "-P", "-m", "tuning.jobs.slurm_batch", str(job.folder)]
    batch = subprocess.Popen(command, env={**os.environ, "SLURM_JOB_ID": "12"})
    until((tmp_path / "full").exists)
    batch.terminate()
    assert batch.wait(60) == 143
    assert job.ended() is None


def test_the_settings_alone_say_what_is_asked(
    answers: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answers("sbatch", "12")
    for name in ("SBATCH_TIMELIMIT", "SBATCH_PARTITION", "SLURM_JOB_ID", "SLURM_CONF"):
        monkeypatch.setenv(name, "else")
    given: dict[str, str] = {}
    run = subprocess.run

    def noted(command: list[str], **options: Any) -> Any:
        given.update(options["env"])
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", noted)
    assert slurm.submit(tmp_path / "script") == 12
    assert {name for name in given if name.startswith(("SBATCH_", "SLURM_"))} == {"SLURM_CONF", "SLURM_TIME_FORMAT"}


def _line(job: Job, state: str, reason: str = "None", number: int = 12) -> str:
    return f"{number}|hone-{job.id}|{state}|N/A|n[1-2]|{reason}"


@pytest.mark.parametrize(
    ("told", "reason", "stands", "words"),
    [
        ("PENDING", "Resources", "waiting", "it is first in line"),
        ("CONFIGURING", "None", "waiting", "its nodes n[1-2] are being prepared"),
        ("RUNNING", "None", "waiting", "it begins on n[1-2]"),
        ("COMPLETING", "None", "stopping", "Slurm ends it on n[1-2]"),
        ("SUSPENDED", "None", "elsewhere", "suspended"),
        ("TIMEOUT", "TimeLimit", "died", "its time limit came (job 12 of Slurm: TIMEOUT)"),
        ("OUT_OF_MEMORY", "OutOfMemory", "died", "more memory than it had asked for"),
        ("CANCELLED", "None", "stopped", "it was cancelled in Slurm"),
    ],
)
def test_what_slurm_says_of_a_job(
    answers: Callable[..., None], job: Job, told: str, reason: str, stands: str, words: str
):
    other = f"13|hone-other|RUNNING|N/A|n1|None\n11|hone-{job.id}|FAILED|N/A|n1|None\n"
    answers("squeue", other + _line(job, told, reason))
    seen = state.settled(job)
    assert seen.state == stands
    assert words in seen.why
    assert (seen.ended is None) == seen.is_active
    assert [one.id for one in jobs_of.active(jobs_of.folder())] == ([job.id] if seen.is_active else [])


def test_no_answer_is_no_end(answers: Callable[..., None], job: Job):
    assert (state.settled(job).state, state.settled(job).ended) == ("waiting", None)
    assert "there is no squeue here" in state.settled(job).why
    answers("squeue", "slurm_load_jobs error: Unable to contact slurm controller", 1)
    assert state.settled(job).why == "Slurm says: slurm_load_jobs error: Unable to contact slurm controller"
    with pytest.raises(slurm.NoAnswer):
        slurm_state.pending(job)


def test_a_job_that_slurm_has_forgotten_is_looked_up_in_its_accounts(answers: Callable[..., None], job: Job):
    answers("squeue", "13|hone-other|RUNNING|N/A|n1|None")
    answers("sacct", "NODE_FAIL|n1")
    assert "a node of it went down (job 12 of Slurm: NODE_FAIL)" in state.look(job).why
    answers("sacct", "CANCELLED by 1000|n1")
    assert state.look(job).state == "stopped"
    answers("sacct", "Slurm accounting storage is disabled", 1)
    assert state.settled(job).why == "Slurm knows nothing of its job 12 any more"


def test_a_supervisor_on_a_node_speaks_for_its_job_while_it_is_heard(answers: Callable[..., None], job: Job):
    own = identity.own()
    job.put_identity("supervisor", replace(own, boot="another", host="n1.cluster.example"))
    pulse = Pulse("running", "", "tune", time.time(), 1.0, 0, 0)
    files.fill(job.pulse, vars(pulse), final=False)
    assert (state.look(job).state, state.look(job).step) == ("running", "tune")
    files.fill(job.pulse, vars(replace(pulse, at=time.time() - 100)), final=False)
    answers("squeue", _line(job, "RUNNING"))
    assert state.look(job).state == "elsewhere"
    assert state.look(job).why.startswith("on n[1-2], silent for 100 s")
    answers("squeue", _line(job, "PENDING", "BeginTime"))
    assert state.look(job).state == "waiting"


def test_an_older_jobs_file_is_read(job: Job):
    content = spec_of.to_json(spec(TUNE))
    del content["slurm"]
    assert spec_of.from_json(json.loads(json.dumps(content))).slurm is None
    assert job.spec().slurm == SlurmSettings()
