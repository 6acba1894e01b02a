"""`hone tune --every` and `hone schedules`, run as a user runs them; and a scheduled command that finds no news."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.small_models import write_gguf
from tests.tuning import schedulers
from tui import cli


@pytest.fixture
def hone(hone_home: Path, make_repository: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs `hone` in this process, in a repository; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(make_repository({"a.py": "a = 1\n"}))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hone", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


ASKED = ("tune", ".", "--name", "shop", "--steps", "3", "--when", "new-commits", "--then", "gate")


def test_prints_the_line_and_the_units_and_installs_on_request(
    hone: Any, hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedulers.put(tmp_path / "bin", monkeypatch, "crontab", "systemctl")
    code, out, err = hone(*ASKED, "--every", "week")
    assert (code, err) == (0, "")
    words = "tune --detach --name shop --steps 3 --then gate --when new-commits ."
    assert f"HONE_HOME={hone_home} " in out
    assert f"-P -m tui {words} ; }} >>" in out
    assert "OnCalendar=Mon *-*-* 03:00:00" in out
    assert hone("schedules")[1].startswith("nothing is scheduled")
    code, out, _ = hone(*ASKED, "--every", "day", "--install", "cron", "--json")
    told = json.loads(out)
    assert (code, told["schema_version"], told["installed"], told["replaced"]) == (0, 1, "cron", [])
    assert told["command"] == f"hone {words}"
    code, out, _ = hone(*ASKED, "--every", "day", "--install", "systemd")
    assert "in place of: { cd " in out
    (listed,) = json.loads(hone("schedules", "--json")[1])["schedules"]
    assert (listed["name"], listed["by"], listed["every"]) == ("shop", "systemd", "day")
    assert hone("schedules", "rm", "shop")[1] == "shop is not tuned by systemd any more\n"
    assert json.loads(hone("schedules", "list", "--json")[1])["schedules"] == []


def test_what_makes_no_schedule_is_refused_in_one_line(
    hone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedulers.put(tmp_path / "bin", monkeypatch)
    for options, status, said in (
        (("--every", "year"), 2, "there are hour, day, week, month"),
        (("--every", "week", "--when", "full-moon"), 2, "there is new-commits"),
        (("--install", "cron"), 2, "say how often by --every"),
        (("--every", "week", "--install", "at"), 2, "there are cron and systemd"),
        (("--every", "week", "--after", "x"), 2, "--after names one job"),
        (("--every", "week", "--dry-run"), 2, "--every starts a run"),
        (("--every", "week", "--then", "promote"), 2, "a promotion needs evidence"),
        (("--every", "week", "--install", "cron"), 1, "neither crontab nor a systemd"),
        (("--every", "week", "--rank", "many"), 2, "many"),
    ):
        code, out, err = hone("tune", ".", "--name", "shop", *options)
        assert (code, out) == (status, ""), (options, out, err)
        assert said in err
    assert "not scheduled here" in hone("schedules", "rm", "shop")[2]


def test_a_scheduled_command_submits_a_job_when_there_are_commits_and_else_says_why_not(
    hone: Any, hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.tuning.jobs_here import end_all
    from tests.tuning.test_schedules import tuned

    schedulers.put(tmp_path / "bin", monkeypatch, "crontab")
    repository = Path.cwd()
    # A base that no run gets far with: nothing is downloaded, nothing trained.
    base = write_gguf(tmp_path / "base.gguf")
    told = json.loads(hone(*ASKED[:-2], "--base", str(base), "--every", "hour", "--json")[1])
    command = told["crontab"].split(" ", 5)[5].replace("\\%", "%")
    # cron's environment has no PYTHONPATH; where Hone is installed it needs none.
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}

    subprocess.run(["/bin/sh", "-c", command], env=bare, check=True, capture_output=True)
    first = (hone_home / "schedules" / "shop.log").read_text("utf-8")
    try:
        assert "hone: there is no version of shop yet" in first
        assert "it goes on when this terminal closes" in first
        (job,) = (each for each in (hone_home / "jobs").iterdir() if each.name[0] != ".")
        spec = json.loads((job / "spec.json").read_text("utf-8"))
        assert spec["folder"] == str(repository)
        assert "--when" in spec["command"]
        # The step itself must not ask again: its own version would be the newest then.
        assert "--when" not in spec["steps"][0]["argv"]
    finally:
        end_all(hone_home)
    version = tuned(tmp_path / "version", repository, repository)
    code, out, _ = hone(*ASKED[:-2], "--base", str(base), "--detach")
    assert (code, out.startswith(f"not tuned: nothing was committed since {version.id}")) == (0, True)
    told = json.loads(hone(*ASKED[:-2], "--base", str(base), "--json")[1])
    assert (told["tuned"], told["why"]) == (False, out.strip().removeprefix("not tuned: "))
    assert len([each for each in (hone_home / "jobs").iterdir() if each.name[0] != "."]) == 1
