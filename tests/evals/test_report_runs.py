"""Which reports were written here, listed without reading them."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assistant.errors import HoneError
from assistant.models.registry import AdapterVersion, Registry
from evals.report import removal, runs
from evals.report.runs import Run
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


def _kept(home: Path, name: str, inside: str = "", day: int = 1) -> Run:
    folder = home / "evals" / "reports" / name / inside
    made = report(pair(9, 1, 1, 0), created=f"2026-01-0{day}T00:00:00+00:00")
    write(made, folder)
    runs.record(made, folder)
    return next(run for run in runs.all_runs() if run.folder == folder)


def _promoted(home: Path, name: str, digest: str, evidence: Path) -> None:
    registry = Registry()
    version = AdapterVersion(name, digest * 32, "smollm2-135m", "b" * 64, home / "adapters" / name, "2026-01-01", {})
    registry.register(version)
    registry.promote(version.id, evidence={"file": str(evidence), "sha256": "", "report": {}})


def test_a_kept_report_is_deleted_with_its_folder_and_nothing_else(home: Path) -> None:
    first, second = _kept(home, "one"), _kept(home, "two", day=2)
    assert removal.use_of(first).bytes > 100
    removal.remove(first)
    assert runs.all_runs() == [second]
    assert [each.name for each in (home / "evals" / "reports").iterdir()] == ["two"]
    task_of_gate = _kept(home, "gate", "humaneval")
    removal.remove(task_of_gate)
    assert [each.name for each in (home / "evals" / "reports").iterdir()] == ["two"]


def test_a_report_in_a_users_folder_is_only_taken_off_the_list(home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    made = report(pair(9, 1, 1, 0))
    write(made, mine)
    (home / "evals" / "reports").mkdir(parents=True)
    (home / "evals" / "reports" / "link").symlink_to(mine)
    for folder in (mine, home / "evals" / "reports" / "link", home / "evals" / "reports" / ".." / ".." / ".." / "mine"):
        runs.record(made, folder)
        run = next(run for run in runs.all_runs() if run.folder == folder)
        assert not removal.use_of(run).kept_here
        removal.remove(run)
        assert run not in runs.all_runs()
        assert (mine / "report.json").is_file()


def test_a_report_that_a_model_is_live_on_stays(home: Path) -> None:
    measured, gate, other = (
        _kept(home, "gate", "humaneval"),
        _kept(home, "gate", "gate", 2),
        _kept(home, "other", "", 3),
    )
    _promoted(home, "shop", "1a", gate.folder / "decision.json")
    for run in (measured, gate):
        with pytest.raises(HoneError, match=r"shop@1a1a1a1a1a1a is live as champion"):
            removal.remove(run)
        assert run.file.is_file()
    assert removal.use_of(other).rests == ()
    # Once another one is live the report is history, which is told and may go.
    _promoted(home, "till", "2b", other.folder / "decision.json")
    assert [(rests.version, rests.live) for rests in removal.use_of(gate).rests] == [("shop@1a1a1a1a1a1a", False)]
    removal.remove(gate)
    removal.remove(measured)
    assert runs.all_runs() == [other]
    Registry().rollback()
    removal.remove(other)


def test_reports_inside_of_a_folder_are_told(home: Path) -> None:
    outer = _kept(home, "eval")
    _kept(home, "eval", "gate", 2)
    assert removal.use_of(outer).within == 1
    removal.remove(outer)
    assert runs.all_runs() == []
