"""The gate: decisions from reports, and `hone gate` as CI runs it."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from assistant.errors import UsageError
from evals import gate_inputs
from evals.errors import HarnessError
from evals.gate import decide
from evals.gate_inputs import Measured, Model, Wanted, turned, wanted
from evals.report import json as json_report
from evals.report import words
from evals.report.results import Measure
from evals.report.schema import Decision, TaskReport
from evals.tasks import infill
from tests.evals.report_fixtures import pair, report, row, task
from tui.cli import app
from tui.commands.gate import Told

BITS = Measure(
    name="bits_per_byte",
    parts=lambda row: (row["verdict"]["extra"]["bits"], 100.0),
    unit="bits per byte",
    better="lower",
)


def gate(*asked: tuple[TaskReport, float], figure: str | None = None, alpha: float = 0.05) -> Decision:
    named = {f"t{number}": found for number, (found, _) in enumerate(asked)}
    measured = {name: Measured(report(found), found, "new", "old", Path("r.json")) for name, found in named.items()}
    return decide(measured, [Wanted(name, figure, asked[n][1]) for n, name in enumerate(named)], alpha)


def bits(change: float, files: int = 40) -> TaskReport:
    """`new` needs `change` more bits a file, give or take."""

    def rows(model: str, more: float) -> list[dict[str, Any]]:
        return [
            row(
                model,
                f"f{n}",
                verdict={
                    "value": 1.0,
                    "error": None,
                    "detail": "",
                    "extra": {"bits": 60.0 + n + more * (0.5 + n % 3)},
                },
            )
            for n in range(files)
        ]

    return task({"old": rows("old", 0.0), "new": rows("new", change)}, name="repo", measures=[BITS])


@pytest.mark.parametrize(
    ("outcomes", "budget", "outcome", "code"),
    [
        # 6:0 is the smallest loss that exact McNemar shows, 10:2 is shown, 20:9 is not.
        ((100, 6, 0, 58), 0.0, "regression", 1),
        ((100, 5, 0, 59), 0.0, "inconclusive", 2),
        ((100, 10, 2, 52), 0.0, "regression", 1),
        ((100, 20, 9, 35), 0.0, "inconclusive", 2),
        ((100, 0, 6, 58), 0.0, "better", 0),
        ((100, 0, 0, 64), 0.0, "equal", 0),
        ((100, 0, 0, 64), 0.05, "equal", 0),
        ((100, 4, 4, 56), 0.05, "within budget", 0),
        ((100, 6, 0, 58), 0.1, "within budget", 0),
        ((100, 6, 0, 58), 0.05, "inconclusive", 2),
        ((60, 40, 0, 64), 0.05, "regression", 1),
        ((4, 0, 0, 1), 0.0, "inconclusive", 2),
    ],
)
def test_greedy_tasks(outcomes: tuple[int, int, int, int], budget: float, outcome: str, code: int) -> None:
    decision = gate((pair(*outcomes), budget))
    assert (decision.tasks[0].outcome, decision.exit_code) == (outcome, code)


@pytest.mark.parametrize(
    ("change", "budget", "outcome"),
    [
        (-3.0, 0.0, "better"),
        (3.0, 0.0, "regression"),
        (3.0, 0.1, "within budget"),
        (3.0, 0.045, "inconclusive"),
        (0.0, 0.0, "equal"),
    ],
)
def test_figures_of_which_less_is_better(change: float, budget: float, outcome: str) -> None:
    decision = gate((bits(change), budget))
    assert decision.tasks[0].outcome == outcome
    assert "paired bootstrap over 40 groups" in decision.tasks[0].method


def test_a_few_files_cannot_decide() -> None:
    assert gate((bits(30.0, files=5), 0.0)).outcome == "inconclusive"
    assert gate((bits(30.0, files=8), 0.0)).outcome == "regression"


def test_many_tasks_do_not_make_a_regression_of_chance() -> None:
    """p = 0.039 alone is a regression, among twenty tasks without one it is not."""
    unlucky, even = (pair(100, 10, 2, 52), 0.0), (pair(100, 5, 5, 54), 0.0)
    assert gate(unlucky).outcome == "regression"
    among = gate(unlucky, *[even] * 19)
    assert among.outcome == "inconclusive"
    assert among.tasks[0].p_regression == pytest.approx(0.0386, abs=1e-4)
    assert among.tasks[0].p_adjusted > 0.05


def test_one_regression_is_enough_and_one_open_task_too() -> None:
    better, worse, open_ = (pair(100, 0, 9, 55), 0.0), (pair(90, 20, 0, 54), 0.0), (pair(100, 3, 2, 59), 0.0)
    assert gate(better, better).exit_code == 0
    assert gate(better, open_).exit_code == 2
    assert gate(better, open_, worse).exit_code == 1


def test_the_paragraph_says_what_was_decided_and_why() -> None:
    decision = gate((pair(100, 4, 4, 56), 0.05), (pair(90, 20, 0, 54), 0.01), (pair(100, 3, 2, 59), 0.0))
    text = decision.explanation
    assert "\n" not in text
    assert text.startswith(
        "REGRESSION: new must not replace old. On t1 (pass@1) it is worse by more than the budget of 1.0"
    )
    for part in (
        "-12.2",
        "Tango's score test",
        "within the budget of 5.0 points",
        "t2",
        "find differences from",
        "alpha 0.05",
    ):
        assert part in text
    passed = gate((pair(100, 0, 9, 55), 0.0)).explanation
    assert passed.startswith("PASS: new may replace old. On t0 (pass@1) it is better: +5.5")
    few = gate((pair(3, 0, 0, 1), 0.0)).explanation
    assert few.startswith("INCONCLUSIVE")
    assert "4 groups are too few" in few


def test_the_budget_that_would_have_passed_does() -> None:
    text = gate((pair(100, 8, 6, 50), 0.0)).explanation
    needed = float(text.split("a budget of ")[1].split(" points")[0]) / 100
    assert gate((pair(100, 8, 6, 50), needed + 0.001)).outcome == "pass"
    assert gate((pair(100, 8, 6, 50), needed - 0.002)).outcome == "inconclusive"


def test_what_can_be_found_is_told_at_the_gates_own_level() -> None:
    for found in (pair(100, 8, 6, 50), bits(0.01)):
        usual, strict = gate((found, 0.0)), gate((found, 0.0), alpha=0.001)
        one, other = usual.tasks[0].detectable, strict.tasks[0].detectable
        assert one == pytest.approx(found.comparisons[0].detectable, rel=0.02)
        assert one is not None
        assert other is not None
        assert other > 1.2 * one
    strict = gate((pair(100, 8, 6, 50), 0.0), alpha=0.001)
    assert f"differences from {words.distance(strict.tasks[0].detectable or 0, 'share')}" in strict.explanation


def test_a_repositorys_bits_whose_report_has_no_p_are_tested_by_their_files() -> None:
    found = bits(-3.0)
    bare = replace(found, comparisons=(replace(found.comparisons[0], p=None, detectable=None),))
    (told,) = gate((bare, 0.0)).tasks
    assert told.outcome == "better"
    assert told.p is not None
    assert told.p < 0.001
    assert told.detectable is not None


@settings(max_examples=30)
@given(st.tuples(*[st.integers(0, 30)] * 4).filter(lambda counts: sum(counts) > 5), st.floats(0, 0.3))
def test_a_larger_budget_never_makes_it_worse(counts: tuple[int, int, int, int], budget: float) -> None:
    order = {"pass": 0, "inconclusive": 1, "regression": 2}
    made = pair(*counts)
    small, large = gate((made, budget)), gate((made, budget + 0.1))
    # At no budget the test is exact McNemar, which is stricter than Tango's: both ways of failing stay open.
    if budget > 0 or small.outcome == "pass":
        assert order[large.outcome] <= order[small.outcome]


def test_a_report_the_other_way_round_is_turned() -> None:
    there = pair(90, 20, 3, 51)
    back = replace(there, comparisons=tuple(turned(each) for each in there.comparisons))
    (comparison,) = back.comparisons
    assert (comparison.before, comparison.after, comparison.outcomes) == ("new", "old", (90, 3, 20, 51))
    assert comparison.difference.low is not None
    assert comparison.difference.low < comparison.difference.value < (comparison.difference.high or 0)
    assert gate((back, 0.0)).tasks[0].p_regression == gate((there, 0.0)).tasks[0].p_regression


def test_a_figure_may_be_named_without_blanks() -> None:
    found = pair(100, 6, 0, 58)
    named = replace(found, comparisons=(replace(found.comparisons[0], figure="bugs fixed, by tests"),))
    assert gate((named, 0.0), figure="bugs-fixed-by-tests").tasks[0].figure == "bugs fixed, by tests"


def test_what_cannot_be_decided_on_is_a_fault() -> None:
    found = pair(100, 6, 0, 58)
    bare = replace(found.comparisons[0], clusters=(), outcomes=None)
    neither = replace(found.comparisons[0], difference=replace(found.comparisons[0].difference, better="neither"))
    with pytest.raises(HarnessError, match="keeps no paired values"):
        gate((replace(found, comparisons=(bare,)), 0.0))
    with pytest.raises(HarnessError, match="neither better nor worse"):
        gate((replace(found, comparisons=(neither,)), 0.0))
    with pytest.raises(HarnessError, match="has no figure 'f1'; it has: pass@1"):
        gate((found, 0.0), figure="f1")
    with pytest.raises(HarnessError, match="no comparison of the two models"):
        gate((replace(found, comparisons=()), 0.0))


def test_tasks_are_read_with_figures_and_budgets() -> None:
    assert wanted("repo, humaneval:pass@1=0.03,mbpp", 0.01, 0.05) == [
        Wanted("repo", None, 0.01),
        Wanted("humaneval", "pass@1", 0.03),
        Wanted("mbpp", None, 0.05),
    ]
    assert wanted("mbpp", 0.01, None) == [Wanted("mbpp", None, 0.01)]
    general = wanted("humaneval,mbpp,mbpp-plus,infill", 0.01, 0.05)
    assert {each.budget for each in general} == {0.05}
    # As reports call them, whose names are taken where none are given.
    named = ",".join(["humaneval-chat", "mbpp-plus-chat", *(f"infill-{kind}" for kind in infill.KINDS.values())])
    assert {each.budget for each in wanted(named, 0.01, 0.05)} == {0.05}
    assert {each.budget for each in wanted("humaneval-mine,infill.py,repo-exec,review-fix", 0.01, 0.05)} == {0.01}


@pytest.mark.parametrize("text", ["", ",", "a,a", "a=x", "a=", "a:=1", "=0.1", ":f", "a=-1", "a=nan", "a,speed=1"])
def test_bad_tasks_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        wanted(text, 0.0, None)


@given(st.text(max_size=30))
def test_any_text_of_tasks_is_read_or_refused(text: str) -> None:
    told = ""
    try:
        found = wanted(text, 0.0, 0.1)
    except UsageError as error:
        told = str(error)
        found = []
    assert "\n" not in told
    assert all(each.task and each.budget >= 0 for each in found)


def test_reports_are_found_by_digest_and_the_newest_is_taken(tmp_path: Path) -> None:
    json_report.write(report(pair(9, 1, 0, 0), created="2026-01-01T00:00:00+00:00"), tmp_path / "report.json")
    json_report.write(report(pair(8, 2, 0, 0), created="2026-01-03T00:00:00+00:00"), tmp_path / "b" / "report.json")
    json_report.write(report(pair(7, 3, 0, 0), created="2026-01-09T00:00:00+00:00"), tmp_path / "gate" / "report.json")
    found = gate_inputs.reports(tmp_path)
    old, new = Model("o", "old", "digest-old"), Model("new", "new", None)
    measured = gate_inputs.find(found, "humaneval", new, old)
    assert measured is not None
    assert measured.file == tmp_path / "b" / "report.json"
    assert (measured.candidate, measured.against) == ("new", "old")
    assert gate_inputs.find(found, "mbpp", new, old) is None
    assert gate_inputs.compared(found, new, old) == ["humaneval"]
    assert gate_inputs.compared(found, new, Model("x", "x", None)) == []
    # A name that means another version now is not what the report measured.
    assert gate_inputs.find(found, "humaneval", Model("new", "new", "digest-newer"), old) is None


@pytest.mark.parametrize(
    ("served", "counts"), [("Q8_0 copy, form 1", True), (None, True), ("as it is", False), ("", False)]
)
def test_a_report_of_another_serving_form_is_no_evidence(tmp_path: Path, served: str | None, counts: bool) -> None:
    found = pair(9, 1, 0, 0)
    # Empty: of a report from before forms were told.
    told = {} if served == "" else {"served": served}
    models = tuple(replace(model, facts={**model.facts, **told}) for model in found.models)
    json_report.write(report(replace(found, models=models)), tmp_path / "report.json")
    old, new = (Model(name, name, f"digest-{name}", "Q8_0 copy, form 1") for name in ("old", "new"))
    measured = gate_inputs.find(gate_inputs.reports(tmp_path), "humaneval", new, old)
    assert (measured is not None) == counts


def hone(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "HONE_HOME": str(folder / "home"), **environment}
    command = [sys.executable, "-m", "tui", "gate", *arguments]
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(("outcomes", "code"), [((90, 0, 9, 55), 0), ((90, 9, 0, 55), 1), ((90, 3, 4, 55), 2)])
def test_the_command_ends_with_the_decisions_code_and_writes_every_report(
    tmp_path: Path, outcomes: tuple[int, int, int, int], code: int
) -> None:
    json_report.write(report(pair(*outcomes)), tmp_path / "out" / "humaneval" / "report.json")
    summary = tmp_path / "summary.md"
    done = hone(
        tmp_path, "new", "--against", "old", "--report", "out", "--no-run", "--json", GITHUB_STEP_SUMMARY=str(summary)
    )
    assert done.returncode == code, done.stderr
    told = json.loads(done.stdout)
    assert (told["schema_version"], told["exit_code"]) == (2, code)
    written = tmp_path / "out" / "gate"
    assert {file.name for file in written.iterdir()} == {
        "report.json", "report.md", "report.html", "junit.xml", "decision.json"
    }  # fmt: skip
    assert json.loads((written / "decision.json").read_text()) == told
    read = json_report.read(written / "report.json")
    assert read.gate is not None
    assert read.gate.explanation == told["explanation"]
    assert told["explanation"].split(":")[0] in summary.read_text()
    gated = ET.parse(written / "junit.xml").getroot().find("testsuite[@name='hone gate']")
    assert gated is not None
    assert (gated.get("failures"), gated.get("skipped")) == (str(int(code == 1)), str(int(code == 2)))


@pytest.mark.parametrize(
    "arguments",
    [
        ["new", "--against", "old", "--no-run", "--report", "out"],
        ["new", "--against", "old", "--no-run", "--report", "out", "--tasks", "humaneval=much"],
        ["new", "--against", "old", "--no-run", "--report", "out", "--tasks", "mbpp"],
        ["new"],
        ["new", "--against", "old", "--alpha", "7"],
        ["new", "--against", "old", "--bogus"],
    ],
)
def test_whatever_is_no_decision_ends_with_3(
    hone_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["gate", *arguments])
    assert done.exit_code == 3, done.output
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_report_ends_with_3(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text('{"schema_version": 2}')
    done = hone(tmp_path, "new", "--against", "old", "--report", "out")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "report.json: this is no report" in done.stderr


def test_the_names_that_reports_have_are_told(tmp_path: Path) -> None:
    json_report.write(report(pair(90, 0, 9, 55, name="own")), tmp_path / "out" / "report.json")
    done = hone(tmp_path, "new", "--against", "old", "--report", "out", "--no-run", "--tasks", "own.jsonl")
    assert done.returncode == 3
    assert done.stderr.endswith(
        "on own.jsonl, in the versions that they are now, as they are served now; there are such of own\n"
    )


def test_a_fault_takes_the_place_of_an_earlier_decision(tmp_path: Path) -> None:
    json_report.write(report(pair(90, 0, 9, 55)), tmp_path / "out" / "report.json")
    summary = tmp_path / "summary.md"
    given = ("new", "--against", "old", "--report", "out", "--no-run")
    assert hone(tmp_path, *given).returncode == 0
    written = tmp_path / "out" / "gate"
    assert (written / "decision.json").exists()
    done = hone(tmp_path, *given, "--tasks", "mbpp", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 3
    line = done.stderr.strip().removeprefix("hone: ")
    assert {file.name for file in written.iterdir()} == {"junit.xml"}
    root = ET.parse(written / "junit.xml").getroot()
    error = root.find("testsuite[@name='hone gate']/testcase/error")
    assert error is not None
    assert error.get("message") == line
    assert (root.get("errors"), root.get("failures")) == ("1", "0")
    assert line in summary.read_text()


def test_a_task_that_cannot_be_measured_ends_with_3(tmp_path: Path) -> None:
    given = ["--tasks", "repo", "--repo", ".", "--report", "out", "--samples", "3", "--leave-out-unsound"]
    done = hone(tmp_path, "nobody", "--against", "nothing", *given)
    assert done.returncode == 3
    command, *_, last = done.stderr.splitlines()
    # What `repo` does not read is not handed on.
    assert command == "$ hone eval repo --model nothing --model nobody --out out/repo --seed 0 --repo ."
    # With the reason, which CI shows without the log.
    assert last.startswith("hone: repo could not be measured: hone eval ended with 1: . is in no git repository")


@pytest.mark.parametrize(
    ("last", "complaint"),
    [
        ("humanevall", "there is no evaluation 'humanevall'"),
        ("mbpp", "mbpp needs its problems: --data PATH"),
        ("review", "review needs --repo PATH"),
        ("repo", "repo needs --repo PATH"),
        ("own.py", "there is no file own.py"),
    ],
)
def test_no_task_is_measured_when_another_one_cannot_be(tmp_path: Path, last: str, complaint: str) -> None:
    done = hone(tmp_path, "nobody", "--against", "nothing", "--tasks", f"humaneval,{last}", "--report", "out")
    assert done.returncode == 3
    # No command line of a measurement came before.
    assert done.stderr.startswith(f"hone: {complaint}")
    assert done.stderr.count("\n") == 1


def test_each_task_is_measured_with_what_it_reads() -> None:
    told = Told(Path("shop"), {"mbpp": "m.jsonl"}, Path("python3"), True, 20, 4, 0.8, 7)
    asked = ["--limit", "20", "--samples", "4", "--temperature", "0.8"]
    assert told.options("mbpp") == ["--seed", "7", "--data", "m.jsonl", *asked, "--leave-out-unsound"]
    repository = ["--seed", "7", "--repo", "shop"]
    assert told.options("repo-exec") == [*repository, "--python", "python3", *asked, "--leave-out-unsound"]
    assert told.options("repo") == [*repository, "--limit", "20"]
    assert told.options("review") == [*repository, *asked, "--leave-out-unsound"]
    # Its bugs are seeded into HumanEval.
    assert "--repo" not in told.options("review-fix")
    assert Told(None, {}, None, False, None, None, None, 0).options("humaneval") == ["--seed", "0"]
