"""What `hone eval` and `hone gate` leave for the Evals screen."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evals.report import json as json_report
from evals.report import runs
from tests.evals.fake_openai import serve
from tests.evals.report_fixtures import pair, report
from tui.cli import app


@pytest.fixture(autouse=True)
def home(hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [{"id": f"q{number}", "prompt": f"Question {number}\n", "reference": "right"} for number in range(3)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return hone_home


def hone(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_run_without_a_folder_is_kept_and_listed_without_its_key(home: Path) -> None:
    with serve() as server:
        done = hone("eval", "questions.jsonl", "--url", server.url, "--key", "secret", "--model", "small", "--json")
    assert done.exit_code == 0, done.output
    (run,) = runs.all_runs()
    assert run.folder.parent == home / "evals" / "reports"
    assert {"report.json", "report.html", "report.md"} <= {file.name for file in run.folder.iterdir()}
    assert run.command == ("eval", "--model", "small", "--url", server.url, "questions.jsonl")
    assert "secret" not in "".join(file.read_text() for file in (home / "evals" / "runs").iterdir())


def test_a_run_with_a_folder_is_listed_where_it_is(tmp_path: Path, home: Path) -> None:
    with serve() as server:
        done = hone("eval", "questions.jsonl", "--url", server.url, "--model", "small", "--out", "out")
    assert done.exit_code == 0, done.output
    (run,) = runs.all_runs()
    assert run.folder == tmp_path / "out"
    assert not (home / "evals" / "reports").exists()


def test_a_gate_is_listed_with_its_decision(tmp_path: Path) -> None:
    json_report.write(report(pair(90, 0, 9, 55)), tmp_path / "out" / "humaneval" / "report.json")
    done = hone("gate", "new", "--against", "old", "--report", "out", "--no-run")
    assert done.exit_code == 0, done.output
    (run,) = runs.all_runs()
    assert run.folder == tmp_path / "out" / "gate"
    assert run.summary.decision == "pass"
    assert run.command[:1] == ("gate",)


def test_a_list_that_cannot_be_written_loses_no_report(tmp_path: Path, home: Path) -> None:
    json_report.write(report(pair(90, 9, 0, 55)), tmp_path / "out" / "humaneval" / "report.json")
    (home / "evals").write_text("a file where the folder should be")
    done = hone("gate", "new", "--against", "old", "--report", "out", "--no-run")
    assert done.exit_code == 1
    assert "cannot list the report among the runs" in done.stderr
    assert (tmp_path / "out" / "gate" / "decision.json").is_file()
