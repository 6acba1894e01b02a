"""Which reports were written here, listed without reading them."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assistant.errors import HoneError
from evals.report import runs
from evals.report.write import write
from tests.evals.report_fixtures import greedy, pair, report, task


@pytest.fixture(autouse=True)
def home(hone_home: Path) -> Path:
    return hone_home


def test_runs_are_listed_newest_first_as_long_as_their_report_is_there(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for day, folder in enumerate(folders, 1):
        made = report(pair(20, 1, 12, 10), created=f"2026-01-0{day}T00:00:00+00:00")
        write(made, folder)
        runs.record(made, folder, ("eval", "humaneval"))
    shutil.rmtree(folders[1])
    assert [run.folder for run in runs.all_runs()] == [folders[2], folders[0]]
    first = runs.all_runs()[0]
    assert first.command == ("eval", "humaneval")
    assert first.summary.tasks == ("humaneval",)
    assert first.summary.models == ("old", "new")
    assert (first.summary.figure, first.summary.values) == ("pass@1", ("48.8%", "74.4%"))
    assert first.summary.change.startswith("+25.6 [")
    assert first.summary.trend == "better"


def test_a_later_report_in_the_same_folder_takes_the_place_of_the_first(tmp_path: Path) -> None:
    for day in (1, 2):
        made = report(pair(9, 1, 1, 0), created=f"2026-01-0{day}T00:00:00+00:00")
        write(made, tmp_path / "out")
        runs.record(made, tmp_path / "out")
    (run,) = runs.all_runs()
    assert run.summary.created.startswith("2026-01-02")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"folder": 1}', '{"folder": "x", "command": 3}'])
def test_a_damaged_entry_hides_no_other(tmp_path: Path, home: Path, damage: str) -> None:
    made = report(pair(9, 1, 1, 0))
    write(made, tmp_path / "out")
    runs.record(made, tmp_path / "out")
    (home / "evals" / "runs" / "damaged.json").write_text(damage)
    assert len(runs.all_runs()) == 1


def test_a_folder_of_its_own_for_each_run_without_one(home: Path) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    found = runs.fresh_folder("../my task[1].py", now)
    assert found == home / "evals" / "reports" / "20260102-030405-678-my-task-1-.py"
    assert not found.exists()


@pytest.mark.parametrize(
    ("outcomes", "trend"), [((20, 1, 12, 10), "better"), ((20, 12, 1, 10), "worse"), ((20, 3, 4, 10), "unclear")]
)
def test_a_change_is_called_what_it_is_only_when_it_is_significant(
    outcomes: tuple[int, int, int, int], trend: str
) -> None:
    assert runs.summarise(report(pair(*outcomes))).trend == trend


def test_less_is_better_where_the_figure_says_so() -> None:
    made = pair(20, 1, 12, 10)
    (changed,) = made.comparisons
    lower = replace(changed, difference=replace(changed.difference, better="lower"))
    assert runs.trend(lower) == "worse"


def test_a_report_of_one_model_has_no_change() -> None:
    summary = runs.summarise(report(task({"old": greedy("old", [True, False])})))
    assert (summary.models, summary.values, summary.change, summary.trend) == (("old",), ("50.0%",), "", "")


def test_a_state_folder_that_cannot_be_written_is_one_line(tmp_path: Path, home: Path) -> None:
    (home / "evals").write_text("a file where the folder should be")
    with pytest.raises(HoneError, match="cannot list the report"):
        runs.record(report(pair(9, 1, 1, 0)), tmp_path)


def test_what_is_kept_of_a_run_is_for_the_user_alone(tmp_path: Path, home: Path) -> None:
    runs.record(report(pair(9, 1, 1, 0)), tmp_path, ("eval", "repo", "--repo", "secret"))
    (file,) = (home / "evals" / "runs").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["command"] == ["eval", "repo", "--repo", "secret"]
