"""The task that reads logits: on a tiny model, with the whole way from its name."""

import json
from pathlib import Path

import pytest

from assistant.errors import HoneError, UsageError
from assistant.review_prompt import Finding
from evals import subjects
from evals.evaluation import Options, evaluate
from evals.report.schema import from_json, to_json
from evals.tasks import named, review_lines
from evals.tasks.review_metrics import figures
from evals.tasks.review_scores import Scored
from tests.evals.review_cases import bug, case, hunk
from tests.tuning import tiny_gguf
from tests.tuning.code import module
from tuning.examples.mutate import OPERATORS


def test_lines_of_at_least_the_threshold_are_called_wrong():
    scored = Scored(case("a", bug(2), hunk=hunk(3)), (0.1, 0.5, 0.2))
    assert review_lines.called(scored, 0.5).findings == (Finding(2, 2, "other", ""),)
    assert review_lines.called(scored, 0.51).findings == ()
    found = figures([review_lines.called(scored, 0.2)], 0)
    assert found["line recall"].value == 1
    # The line beside it names the same bug again.
    assert found["duplicates"].value == 0.5


def test_the_best_threshold_is_found():
    scored = [
        Scored(case("a", bug(1), hunk=hunk(1)), (0.7,)),
        Scored(case("b", bug(1), hunk=hunk(1)), (0.4,)),
        Scored(case("c", hunk=hunk(1)), (0.5,)),
        Scored(case("d", hunk=hunk(1)), (0.1,)),
    ]
    best = review_lines.best_f1(scored)
    assert best == {"line_f1": pytest.approx(0.8), "threshold": 0.4}


@pytest.fixture
def subject(hone_home: Path, tmp_path: Path) -> subjects.Subject:
    return subjects.local(str(tiny_gguf.write_base(tmp_path / "tiny.gguf")))


def test_a_repository_is_asked_about_by_the_name_of_the_task(subject: subjects.Subject, make_repository):
    root = make_repository({f"pkg/m{number}.py": module(number) for number in range(12)})
    operators = ("wrong-constant", "early-return", "comparison-boundary", "wrong-variable")
    wanted = named.Wanted(("review-lines",), repository=root, limit=20, operators=operators, local=True)
    named.check(wanted)
    report = evaluate(
        lambda sandbox: named.build(wanted, sandbox), [subject], subjects.connector(1), None, Options(show=False)
    )
    (task,) = report.tasks
    assert task.name == "review-lines"
    assert task.settings["operators"] == sorted(operators)
    (model,) = task.models
    assert next(iter(model.figures)) == "line F1"
    assert {"AUC, change wrong or clean", "top line is the bug", "calibration error"} <= set(model.figures)
    area = model.figures["AUC, change wrong or clean"]
    assert area.low is not None
    assert area.high is not None
    assert area.low <= area.value <= area.high
    assert model.calibration is not None
    assert not model.facts["threshold_stored"]
    assert any("no stored threshold" in note for note in task.notes)
    assert from_json(json.dumps(to_json(report))) == report


def test_review_of_local_models_reads_logits_too(subject: subjects.Subject, make_repository):
    root = make_repository({f"pkg/m{number}.py": module(number) for number in range(12)})
    wanted = named.Wanted(("review",), repository=root, limit=6)
    with named.build(wanted, None) as far:
        assert [type(one).__name__ for one in far] == ["ReviewTask"]
    with named.build(named.Wanted(("review",), repository=root, limit=6, local=True), None) as tasks:
        asked, lines = tasks
    assert isinstance(lines, review_lines.Plan)
    assert lines.cases == asked.cases  # type: ignore[union-attr]


def test_a_server_shows_no_logits(subject: subjects.Subject):
    from dataclasses import replace

    far = replace(subject, endpoint=subjects.Endpoint("http://127.0.0.1:1/v1"))
    with pytest.raises(UsageError, match="does not show"):
        review_lines.measure([far], review_lines.Plan((case("a", bug(1)),)))


def test_flags_that_belong_to_no_task_are_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="--history is for review"):
        named.check(named.Wanted(("humaneval",), history=3))
    with pytest.raises(UsageError, match="--operators is for review"):
        named.check(named.Wanted(("review",), data={"review": "x.jsonl"}, operators=("wrong-key",)))
    with pytest.raises(UsageError, match="review-lines needs --repo"):
        named.check(named.Wanted(("review-lines",)))


def test_unseen_operators_are_those_that_no_model_was_trained_on(make_repository, tmp_path: Path):
    from evals.tasks import review

    root = make_repository({f"pkg/m{number}.py": module(number) for number in range(12)})
    held_out = ["wrong-constant", "early-return"]
    manifest = tmp_path / "manifest.json"
    content = {
        "schema_version": 1,
        "corpus": {"sources": [], "files": []},
        "configuration": {"examples": {"review_rate": 1.0, "held_out_operators": held_out}},
    }
    manifest.write_text(json.dumps(content), "utf-8")
    task = review.of_repository(root, {"own": manifest}, 12, operators=("unseen",))
    assert {one.operator for one in task.cases if one.bugs} <= set(held_out)
    assert any(one.unseen_operator for one in task.cases)
    content["configuration"]["examples"]["held_out_operators"] = []  # type: ignore[index]
    manifest.write_text(json.dumps(content), "utf-8")
    with pytest.raises(HoneError, match="none is unseen"):
        review.of_repository(root, {"own": manifest}, 12, operators=("unseen",))
    every = review.of_repository(root, {}, 12, operators=("unseen",))
    assert set(every.settings["operators"]) == set(OPERATORS)  # type: ignore[index]
