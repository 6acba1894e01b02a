"""Whole evaluations: several tasks and models to one report, by the function and by the command line."""

import inspect
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from typer.testing import CliRunner

from assistant.errors import HoneError, UsageError
from evals.errors import HarnessError
from evals.evaluation import Options, evaluate
from evals.report import json as json_report
from evals.report.schema import Report, from_json, to_json
from evals.sandbox.outcome import DEFAULT_LIMITS, Limits
from evals.subjects import connector, remote
from evals.tasks import speed
from evals.tasks.base import Answer, Item, Verdict
from tests.evals.eval_fixtures import samples_of
from tests.evals.fake_openai import Body, by_seed, question, serve
from tests.evals.test_reports import SARIF_SCHEMA
from tests.evals.words_task import Words
from tui.cli import app
from tui.commands import eval_options
from tui.commands.evaluate import evaluate as evaluate_command

TWO = ({"id": "small"}, {"id": "large"})


def better(body: Body) -> str:
    return "right" if body["model"] == "large" else by_seed(body)


def newline_matters(body: Body) -> str:
    return "right" if question(body).endswith("\n") and "prompt" in body else "wrong"


def run(url: str, tasks: Sequence[Any], names: Sequence[str] = (), **options: Any) -> Report:
    @contextmanager
    def build(sandbox: Any) -> Iterator[Sequence[Any]]:
        yield tasks

    return evaluate(build, remote(url, None, names), connector(2), None, Options(**{"show": False} | options))


def test_a_report_compares_every_later_model_with_the_first(tmp_path: Path) -> None:
    with serve(models=TWO, answer=better) as server:
        report = run(server.url, [Words(count=8, samples_per_item=1)], ["small", "large"], out=tmp_path)
    assert from_json(json.dumps(to_json(report))) == report
    (task,) = report.tasks
    small, large = task.models
    assert large.figures["pass@1"].value == 1.0
    assert 0 < small.figures["pass@1"].value < 1
    (comparison,) = task.comparisons
    assert (comparison.before, comparison.after) == ("small", "large")
    assert comparison.difference.value == pytest.approx(1 - small.figures["pass@1"].value)
    assert small.classes["wrong answer"] == 8 - small.classes["right"]
    assert task.settings["style"] == "completion"
    assert report.sandbox is None
    assert "8 of 8 items, 1 sample each, temperature 0.8, seed 0." in task.notes
    assert any("8 known good answers scored 100 % and 8 known bad ones 0 %" in note for note in task.notes)
    assert {row["key"] for row in task.samples} == {row["key"] for row in samples_of(tmp_path)}


def test_as_many_samples_as_were_asked_for_have_a_figure_of_their_own(tmp_path: Path) -> None:
    with serve() as server:
        report = run(server.url, [Words(samples_per_item=4)], out=tmp_path)
    assert list(report.tasks[0].models[0].figures) == ["pass@1", "pass@4"]


def test_a_resumed_evaluation_gives_the_same_report(tmp_path: Path) -> None:
    with serve(models=TWO, answer=better) as server:
        first = run(server.url, [Words(), Words(name="again", version="again@1")], ["small"], out=tmp_path)
        rows = (tmp_path / "samples.jsonl").read_text().splitlines(keepends=True)
        answers = [row for row in rows if "verdict" not in json.loads(row)]
        judged = {json.loads(row)["key"]: row for row in rows if "verdict" in json.loads(row)}
        assert len(answers) == len(judged) == 24
        # Of seven answers three were judged.
        kept = answers[:7] + [judged[json.loads(answer)["key"]] for answer in answers[:3]]
        (tmp_path / "samples.jsonl").write_text("".join(kept) + answers[7][:20])
        before = len(server.asked())
        again = run(server.url, [Words(), Words(name="again", version="again@1")], ["small"], out=tmp_path)
        assert len(server.asked()) - before == 24 - 7
    assert untimed(again) == untimed(first)


def untimed(report: Report) -> Any:
    tasks = to_json(report)["tasks"]
    for task in tasks:
        for model in task["models"]:
            del model["latency_seconds"]
        for row in task["samples"]:
            del row["seconds"], row["first_token_seconds"]
    return tasks


@dataclass
class Timed(Words):
    """Its known good answers take as many CPU seconds as their items' numbers."""

    limits: Limits = DEFAULT_LIMITS
    given: dict[str, float] = field(default_factory=dict)
    """Item -> CPU seconds that a program of a model was given."""

    def judge(self, item: Item, answer: Answer, sandbox: Any) -> Verdict:
        if answer.seconds:
            self.given[item.id] = self.limits.cpu_seconds
        took = {"cpu_seconds": float(item.data["number"]), "wall_seconds": 0.0}
        return replace(super().judge(item, answer, sandbox), extra=took)


def test_limits_follow_the_references_of_the_same_problem(tmp_path: Path) -> None:
    task = Timed(samples_per_item=1)
    with serve() as server:
        report = run(server.url, [task], out=tmp_path, ablate=True)
    # Four times the slowest of its group, and never less than the task's own.
    assert [task.given[f"words/{number}"] for number in range(6)] == [4.0, 4.0, 12.0, 12.0, 20.0, 20.0]
    assert report.tasks[0].settings["limits"]["cpu_seconds"] == 20.0


class OneIsUnsound(Words):
    """The known good answer to its third item is judged as wrong."""

    def judge(self, item: Item, answer: Answer, sandbox: Any) -> Verdict:
        verdict = super().judge(item, answer, sandbox)
        return Verdict(0.0, "timeout", "2 s", answer.text) if item.id == "words/2" else verdict


def test_items_without_a_sound_reference_are_left_out_only_when_asked_and_named(tmp_path: Path) -> None:
    with serve() as server:
        with pytest.raises(HarnessError, match="no model was asked: a known good answer to words/2 scores 0"):
            run(server.url, [OneIsUnsound(count=10)], out=tmp_path)
        assert server.asked() == []
        report = run(server.url, [OneIsUnsound(count=10)], out=tmp_path, leave_out=True, ablate=True)
        plain, ablation = report.tasks
        assert {row["item"] for row in (*plain.samples, *ablation.samples)} == {f"words/{n}" for n in range(10)} - {
            "words/2"
        }
        assert plain.settings["left_out"] == ["words/2"]
        assert plain.settings["items"] == 9
        why = "a known good answer to words/2 scores 0 (timeout: 2 s)"
        assert f"Left out, as its reference does not hold here: {why}." in plain.notes
        assert any("9 known good answers scored 100 % and 9 known bad" in note for note in plain.notes)
        # One of nine is more than a tenth.
        with pytest.raises(HarnessError, match="at most 10% of the items may be left out"):
            run(server.url, [OneIsUnsound(count=9)], out=tmp_path, leave_out=True)


@pytest.mark.parametrize(("name", "what"), [("items", "items"), ("references", "known answers"), ("ask", "questions")])
def test_what_a_task_of_ones_own_raises_is_a_line_and_no_score(tmp_path: Path, name: str, what: str) -> None:
    def fail(*_: Any) -> Any:
        raise KeyError("lost")

    task = Words()
    setattr(task, name, fail)
    with serve() as server:
        with pytest.raises(HarnessError, match=f"words cannot give its {what}: KeyError") as caught:
            run(server.url, [task], out=tmp_path)
        assert caught.value.exit_code == 3
        assert server.asked() == []


def test_without_a_folder_samples_are_kept_in_the_state_folder(hone_home: Path) -> None:
    with serve() as server:
        run(server.url, [Words()])
        run(server.url, [Words()])
        assert len(server.asked()) == 12
    (folder,) = (hone_home / "evals").iterdir()
    assert folder.name.startswith("words@1-")


def test_the_ways_of_asking_are_models_of_a_report_of_their_own(tmp_path: Path) -> None:
    with serve(answer=newline_matters) as server:
        report = run(server.url, [Words(samples_per_item=1)], out=tmp_path, ablate=True)
    plain, ablation = report.tasks
    assert plain.models[0].figures["pass@1"].value == 1.0
    values = {model.facts["variant"]: model.figures["pass@1"].value for model in ablation.models}
    assert values == {"as asked": 1.0, "stripped newline": 0.0, "other template": 0.0}
    assert ablation.notes == (
        "pass@1 of small lies between 0.0 (stripped newline) and 100.0 (as asked) in 3 ways of asking: "
        "a spread of 100.0 points",
    )
    assert [comparison.difference.value for comparison in ablation.comparisons] == [-1.0, -1.0]
    assert {row["name"] for row in ablation.samples} == {f"small ({way})" for way in values}


def test_ways_are_compared_on_the_items_that_all_of_them_ask(tmp_path: Path) -> None:
    class WithExample(Words):
        def variants(self) -> dict[str, Words]:
            return {"after an example": Rest(samples_per_item=1)}

    class Rest(Words):
        def items(self) -> Sequence[Any]:
            return super().items()[1:]

    with serve() as server:
        report = run(server.url, [WithExample(samples_per_item=1)], out=tmp_path, ablate=True)
    assert [model.figures["pass@1"].n for model in report.tasks[0].models] == [6]
    assert [model.figures["pass@1"].n for model in report.tasks[1].models] == [5, 5]


def test_a_way_that_the_server_does_not_have_is_left_out(tmp_path: Path) -> None:
    with serve(chat_only=True) as server:
        report = run(server.url, [Words(chat=True)], out=tmp_path, ablate=True)
    assert [model.facts["variant"] for model in report.tasks[1].models] == ["as asked", "stripped newline"]


def test_speed_stands_beside_other_tasks(tmp_path: Path) -> None:
    def long(body: Body) -> str:
        return "right" if body["max_tokens"] == 16 else "one two three four"

    plan = speed.Plan(levels=(1,), requests=2)
    with serve(answer=long) as server:
        report = run(server.url, [plan, Words()], out=tmp_path)
    assert [task.name for task in report.tasks] == ["speed", "words"]
    assert from_json(json.dumps(to_json(report))) == report


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"samples": 2, "temperature": 0.0}, "2 samples at temperature 0 would all be the same"),
        ({"temperature": 0.0}, "2 samples at temperature 0 would all be the same"),
    ],
)
def test_samples_that_would_be_equal_are_refused(tmp_path: Path, options: dict[str, Any], complaint: str) -> None:
    with serve() as server:
        with pytest.raises(UsageError, match=complaint):
            run(server.url, [Words()], out=tmp_path, **options)
        assert server.asked() == []


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    with serve() as server, pytest.raises(UsageError, match="same name"):
        run(server.url, [Words(), Words()], out=tmp_path)


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hone_home: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "questions.jsonl"
    lines = [{"id": f"q{n}", "prompt": f"Question {n}\n", "reference": "right"} for n in range(6)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def command(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["eval", *arguments], catch_exceptions=True)


def test_the_command_prints_one_report_and_writes_every_form(questions: Path) -> None:
    with serve(models=TWO, answer=better) as server:
        models = ["--model", "small", "--model", "large"]
        done = command("questions.jsonl", "--url", server.url, *models, "--out", "out", "--json", "--limit", "4")
    assert done.exit_code == 0, done.output
    report = from_json(done.stdout)
    (task,) = report.tasks
    assert [model.facts["name"] for model in task.models] == ["small", "large"]
    assert task.settings["items"] == 4
    written = {file.name for file in (questions.parent / "out").iterdir()}
    assert {"samples.jsonl", "report.json", "report.md", "report.html", "junit.xml"} <= written
    with serve(models=TWO, answer=better) as other:
        plain = command("questions.jsonl", "--url", other.url, "--model", "small")
    assert plain.exit_code == 0, plain.output
    assert "pass@1" in plain.stdout or "score" in plain.stdout
    # Its texts were compared, and no program was run.
    assert (report.sandbox, "no untrusted code was run" in (questions.parent / "out" / "report.md").read_text()) == (
        None,
        True,
    )


def test_the_command_tells_how_far_the_asking_moves_a_score(questions: Path) -> None:
    with serve(answer=newline_matters) as server:
        done = command("questions.jsonl", "--url", server.url, "--out", "out", "--ablate")
    assert done.exit_code == 0, done.output
    told = "pass@1 of small lies between 0.0 (stripped newline) and 100.0 (as asked) in 3 ways of asking"
    assert f"{told}: a spread of 100.0 points" in done.stdout
    assert told in (questions.parent / "out" / "report.md").read_text()


def test_labelled_changes_are_reviewed_and_the_findings_are_sarif(questions: Path) -> None:
    labelled = [
        {"path": "a.py", "before": "a = 1\nb = 1\n", "after": "a = 2\nb = 2\n", "bug_lines": [2], "bug_class": "other"},
        {"path": "b.py", "before": "c = 1\n", "after": "c = 2\n", "bug_lines": []},
    ]
    file = questions.parent / "labelled.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in labelled))
    said = "2 wrong-constant: it was 1 before\n= b = 1\n"
    with serve(answer=lambda body: said if "b.py" not in question(body) else "ok\n") as server:
        done = command("review", "--data", str(file), "--url", server.url, "--out", "out", "--json")
    assert done.exit_code == 0, done.output
    (task,) = from_json(done.stdout).tasks
    figures = {name: figure.value for name, figure in task.models[0].figures.items()}
    assert (figures["line F1"], figures["clean diffs with a false alarm"], figures["parse failures"]) == (1.0, 0.0, 0.0)
    found = json.loads((questions.parent / "out" / "review.sarif").read_text())
    fastjsonschema.compile(json.loads(SARIF_SCHEMA.read_text("utf-8")))(found)
    (result,) = found["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("a.py", 2)
    assert result["ruleId"] == "wrong-constant"
    assert result["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"] == {"text": "b = 1"}


def test_a_fault_is_an_error_and_no_failure_where_ci_looks(questions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = questions.parent / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    with serve(fail=lambda body, number: (400, {}) if "Question 1" in question(body) else None) as server:
        done = command("questions.jsonl", "--url", server.url, "--out", "out")
    assert isinstance(done.exception, HarnessError)
    assert done.exception.exit_code == 3
    line = str(done.exception)
    assert "1 of 6 samples of small were lost" in line
    root = ET.parse(questions.parent / "out" / "junit.xml").getroot()
    assert (root.get("tests"), root.get("errors"), root.get("failures")) == ("1", "1", "0")
    error = root.find("testsuite[@name='hone eval questions.jsonl']/testcase/error")
    assert error is not None
    assert error.get("message") == line
    assert "1 of 6 samples of small were lost" in summary.read_text()
    assert not (questions.parent / "out" / "report.json").exists()
    # A command line that cannot be read is no fault of a run.
    summary.unlink()
    assert isinstance(command("humaneval", "--style", "loud", "--out", "other").exception, UsageError)
    assert not summary.exists()
    assert not (questions.parent / "other").exists()


def test_what_a_server_does_not_take_and_what_failed_on_the_way_is_told(questions: Path) -> None:
    def once(body: Body, number: int) -> tuple[int, dict[str, str]] | None:
        return (500, {}) if number == 1 and "Question 2" in question(body) else None

    with serve(refuses=("seed", "stream_options"), fail=once) as server:
        given = ("--url", server.url, "--out", "out", "--samples", "2", "--temperature", "0.8", "--concurrency", "1")
        done = command("questions.jsonl", *given)
    assert done.exit_code == 0, done.output
    (task,) = json_report.read(questions.parent / "out" / "report.json").tasks
    assert task.settings["top_p"] == 0.95
    assert {row["ask"]["top_p"] for row in task.samples} == {0.95}
    assert [row["ask"]["refused"] for row in task.samples] == [["seed"]] * 12
    assert sum(row["retries"] for row in task.samples) == 1
    notes = " ".join(task.notes)
    assert "The server of small does not take seed" in notes
    assert "1 request to small failed and was sent again" in notes


def test_a_chat_only_server_is_asked_by_chat_and_this_is_said(questions: Path) -> None:
    with serve(chat_only=True) as server:
        done = command("speed", "--url", server.url)
        assert "small has chat only, so every model is asked by chat" in done.stderr
        refused = command("questions.jsonl", "--url", server.url)
        assert isinstance(refused.exception, UsageError)


def test_an_option_is_taken_where_one_of_the_tasks_reads_it(questions: Path) -> None:
    """And every option that a task may be refused is one of the command."""
    for parameter in {*eval_options.ONLY, *eval_options.ALL_BUT}:
        assert parameter in inspect.signature(evaluate_command).parameters
    with serve(answer=lambda body: "one two three four") as server:
        given = ["--samples", "2", "--temperature", "0.5", "--limit", "1", "--json"]
        done = command("speed", "questions.jsonl", "--url", server.url, *given)
    assert done.exit_code == 0, done.output
    report = from_json(done.stdout)
    timed, asked = report.tasks
    assert timed.settings["requests"] == 1
    assert timed.settings["requests_at_a_time"] == [1, 2, 4]
    assert (asked.settings["items"], asked.settings["samples_per_item"]) == (1, 2)
    # What serves is not ours.
    assert report.environment["engine"] == f"server {server.url}/v1"
    assert eval_options.reads("questions.jsonl", "samples")
    assert not eval_options.reads("speed", "samples")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["humanevil"], "there is no evaluation 'humanevil'"),
        (["mbpp"], "mbpp needs its problems: --data PATH"),
        (["infill", "humaneval", "--data", "humaneval=x"], "infill needs its problems"),
        (["review"], "review needs --repo PATH"),
        (["repo-exec"], "repo-exec needs --repo PATH"),
        (["repo", "humaneval", "--repo", ".", "--model", "m"], "repo runs apart"),
        (["repo", "--model", "m"], "repo needs --repo PATH"),
        (["repo", "--repo", ".", "--url", "http://localhost:1"], "repo runs apart"),
        (["repo", "--repo", ".", "--model", "m", "--engine", "steam"], "there is no engine 'steam'"),
        (["humaneval", "humaneval"], "named twice"),
        (["humaneval", "--url", "localhost"], "no address of a server"),
        (["humaneval", "--model", "m", "--style", "loud"], "there is no style 'loud'"),
        # What no named task reads would be ignored.
        (["repo", "--repo", ".", "--model", "m", "--ablate"], "--ablate means nothing to repo; leave it out"),
        (["repo", "--samples", "2", "--temperature", "1"], "--samples, --temperature mean nothing to repo; leave them"),
        (["humaneval", "speed", "--folds", "3"], "--folds means nothing to humaneval and speed"),
        (["humaneval", "--python", "python3", "--detach"], "--python means nothing to humaneval"),
        (["speed", "--leave-out-unsound"], "--leave-out-unsound means nothing to speed"),
    ],
)
def test_what_cannot_be_measured_is_one_line(questions: Path, arguments: list[str], complaint: str) -> None:
    done = command(*arguments)
    assert isinstance(done.exception, HoneError)
    assert complaint in str(done.exception)
    assert "\n" not in str(done.exception)
