"""Whole reviews, and what other programs are given of them."""

import functools
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.skills.review import baseline, formats
from assistant.skills.review.findings import Edit, Evidence, Finding, Fix, Mark, Review
from assistant.skills.review.request import CancelledError, Request
from assistant.skills.review.run import review
from tests.assistant.review_helpers import Delta, FakeClient, model_of
from tests.conftest import git

SARIF_SCHEMA = Path(__file__).parents[1] / "evals" / "data" / "sarif-2.1.0.schema.json"
OLD = "def area(w, h):\n    return w * h\n"
NEW = "def area(w, h):\n    if w is 'wide':\n        return missing\n    return w + h\n"


@pytest.fixture
def root(make_repository, monkeypatch: pytest.MonkeyPatch, hone_home: Path) -> Path:
    folder = make_repository({"x.py": OLD})
    (folder / "x.py").write_text(NEW)
    monkeypatch.chdir(folder)
    return folder


@functools.cache
def validator() -> Any:
    return fastjsonschema.compile(json.loads(SARIF_SCHEMA.read_text("utf-8")))


def rules(done: Review) -> list[tuple[int, str]]:
    return [(one.line, one.rule) for one in done.findings]


def apply(root: Path, patch: str) -> None:
    subprocess.run(["git", "-C", str(root), "apply", "-"], input=patch.encode(), check=True)


def test_analyzers_alone(root: Path):
    done = review(Request(root))
    assert rules(done) == [(2, "ruff/F632"), (3, "ruff/F821")]
    assert (done.files, done.lines, done.hunks, done.model, done.tools) == (("x.py",), 3, 0, None, ("ruff",))
    literal, missing = done.findings
    assert literal.code == ("    if w is 'wide':",)
    assert literal.fix is not None
    assert missing.fix is None
    assert done.worst == "error"
    apply(root, literal.fix.patch)
    assert "if w == 'wide':" in (root / "x.py").read_text()


def test_with_a_reviewer(root: Path):
    client = FakeClient(
        wrong=lambda line: 0.8 if "w + h" in line or "missing" in line else 0.1,
        answers=[{"reason": "adds instead of multiplying", "class": "wrong-operator", "fix": ["return w * h"]}],
    )
    steps: list[tuple[str, int, int]] = []
    done = review(Request(root), model_of(client), lambda *step: steps.append(step))
    assert rules(done) == [(2, "ruff/F632"), (3, "ruff/F821"), (4, "model/wrong-line")]
    assert [one.source for one in done.findings[1].evidence] == ["ruff", "model"]
    found = done.findings[2]
    assert (found.message, found.severity, round(found.confidence, 3)) == (
        "adds instead of multiplying",
        "warning",
        0.8,
    )
    assert found.evidence[0].details["bug_class"] == "wrong-operator"
    assert found.fix is not None
    assert "-    return w + h\n+    return w * h\n" in found.fix.patch
    apply(root, found.fix.patch)
    # Analyzers have said what is wrong with line 3, so only line 4 is explained.
    assert len(client.written) == 1
    assert len(client.asked) == 1
    assert {step[0] for step in steps} >= {"running ruff", "asking the model", "writing findings"}


def test_the_reviewers_own_line_comes_before_the_explained_one(root: Path):
    def found(*rewrites: Delta) -> Any:
        client = FakeClient(
            wrong=lambda line: 0.8 if "w + h" in line else 0.1,
            answers=[{"reason": "adds", "class": "wrong-operator", "fix": ["return w * h"]}],
            rewrites=rewrites,
        )
        return review(Request(root), model_of(client)).findings[-1]

    own = found(Delta("     return h * w", "stop"))
    assert (own.message, own.fix.description) == ("adds", "as the reviewer would write it")
    assert "+    return h * w\n" in own.fix.patch
    # One that does not parse gives way.
    other = found(Delta("     return (h", "stop"))
    assert "+    return w * h\n" in other.fix.patch
    apply(root, own.fix.patch)


def test_a_fix_that_does_not_parse_is_dropped(root: Path):
    client = FakeClient(
        wrong=lambda line: 0.8 if "w + h" in line else 0.1,
        answers=[{"reason": "bad", "class": "other", "fix": ["return w * ("]}],
    )
    done = review(Request(root), model_of(client))
    assert done.findings[-1].rule == "model/wrong-line"
    assert done.findings[-1].fix is None


def test_a_finding_that_its_own_samples_take_back_is_none(root: Path):
    vote = {"reason": "r", "class": "other", "fix": []}
    client = FakeClient(
        wrong=lambda line: 0.8 if "w + h" in line else 0.1,
        answers=[{**vote, "verdict": "fine"}, {**vote, "verdict": "wrong"}, {**vote, "verdict": "fine"}],
    )
    assert "model/wrong-line" not in dict(map(reversed, rules(review(Request(root, samples=3), model_of(client)))))
    client.answers = [{**vote, "verdict": "wrong"}]
    client.written.clear()
    (found,) = [
        one for one in review(Request(root, samples=3), model_of(client)).findings if one.rule.startswith("model")
    ]
    assert found.evidence[0].details["votes"] == {"wrong": 3, "of": 3}


def test_an_engine_that_enforces_no_schema_leaves_findings_unexplained(root: Path, monkeypatch: pytest.MonkeyPatch):
    client = FakeClient(wrong=lambda line: 0.8)
    (root / "x.py").write_text(OLD.replace("*", "+") + "a = 1\n")

    def refuse(*arguments: Any, **fields: Any) -> Any:
        raise HoneError("this engine enforces no schema")

    monkeypatch.setattr(client, "chat", refuse)
    done = review(Request(root), model_of(client))
    assert rules(done) == [(2, "model/wrong-line"), (3, "model/wrong-line")]
    assert [note for note in done.notes if "explained" in note] == [
        "the model's findings are not explained: this engine enforces no schema"
    ]


def test_who_asks_for_less_confidence_hears_what_the_stored_threshold_keeps_back(root: Path):
    client = FakeClient(wrong=lambda line: 0.4 if "w + h" in line else 0.1)

    def found(minimum: float | None) -> list[tuple[int, str]]:
        return rules(review(Request(root, minimum_confidence=minimum, explain=False), model_of(client)))

    ruff = [(2, "ruff/F632"), (3, "ruff/F821")]
    assert found(None) == ruff
    assert found(0.39) == [*ruff, (4, "model/wrong-line")]
    assert found(0.41) == ruff
    (root / "hone.toml").write_text("[review]\nmin_confidence = 0.39\n")
    assert found(None) == [*ruff, (4, "model/wrong-line")]
    assert found(0.41) == ruff


@pytest.mark.parametrize("value", ["'much'", "true", "1.5", "-0.1", "nan"])
def test_a_wrong_confidence_in_the_configuration_is_named(root: Path, value: str):
    (root / "hone.toml").write_text(f"[review]\nmin_confidence = {value}\n")
    with pytest.raises(HoneError, match=r"hone.toml: review.min_confidence must be a number from 0 to 1, not"):
        review(Request(root))


def test_without_explanations_nothing_is_written(root: Path):
    client = FakeClient(wrong=lambda line: 0.8 if "w + h" in line else 0.1)
    done = review(Request(root, explain=False), model_of(client))
    assert done.findings[-1].message == "this line is probably wrong"
    assert client.written == []


def test_several_samples_without_explanations_contradict_each_other(root: Path):
    with pytest.raises(HoneError, match="ask for explanations"):
        Request(root, explain=False, samples=3)


def test_the_model_is_not_loaded_for_nothing(root: Path):
    git(root, "checkout", "-q", "x.py")

    def connect() -> Any:
        raise AssertionError("there is nothing to ask")

    done = review(Request(root), replace(model_of(FakeClient()), connect=connect))
    assert (done.findings, done.files, done.model) == ((), (), None)


def test_what_is_left_out_is_counted(root: Path, tmp_path: Path):
    (root / "x.py").write_text(NEW.replace("missing", "missing  # hone: ignore[F821] defined by the caller"))
    done = review(Request(root))
    assert (rules(done), done.suppressed) == ([(2, "ruff/F632")], 1)
    file = tmp_path / "accepted.json"
    baseline.write(file, done.findings, (), asked=False)
    (root / "x.py").write_text("import os\n\n\n" + NEW)
    done = review(Request(root, baseline=file))
    assert (rules(done), done.accepted) == ([(6, "ruff/F821")], 1)
    (root / "x.py").write_text("def f(x=[]):\n    return missing\n")
    done = review(Request(root, minimum_confidence=0.9))
    assert (rules(done), done.unsure) == ([(2, "ruff/F821")], 1)


def test_programs_of_a_repository_run_only_when_told(root: Path, tmp_path: Path):
    marker = tmp_path / "ran"
    (root / "hone.toml").write_text(f"[[review.analyzers]]\nname = 'evil'\ncommand = ['touch', '{marker}']\n")
    done = review(Request(root))
    assert not marker.exists()
    assert "evil" in done.notes[0]
    assert "--run-analyzers" in done.notes[0]
    with pytest.raises(HoneError, match="evil wrote no log"):
        review(Request(root, run_repository_analyzers=True))
    assert marker.exists()


def test_an_analyzer_and_ruff_agree_on_one_finding(root: Path):
    log = {
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "T"}},
                "results": [
                    {
                        "ruleId": "T1",
                        "level": "error",
                        "message": {"text": "never defined"},
                        "locations": [
                            {"physicalLocation": {"artifactLocation": {"uri": "x.py"}, "region": {"startLine": 3}}}
                        ],
                    }
                ],
            }
        ],
    }
    (root / "log.json").write_text(json.dumps(log))
    script = root / "tool.sh"
    script.write_text('#!/bin/sh\ncat "$1"\n')
    script.chmod(0o755)
    (root / "hone.toml").write_text(
        f"[[review.analyzers]]\nname = 'tool'\ncommand = ['./tool.sh', '{root / 'log.json'}']\n"
        "[[review.analyzers]]\nname = 'js'\ncommand = ['false']\nlanguages = ['javascript']\n"
    )
    done = review(Request(root, paths=("x.py",), run_repository_analyzers=True))
    assert [[one.rule for one in finding.evidence] for finding in done.findings] == [["F632"], ["F821", "T1"]]
    assert done.tools == ("ruff", "tool")


def test_a_review_can_be_cancelled(root: Path):
    with pytest.raises(CancelledError):
        review(Request(root), cancelled=lambda: True)


def test_a_diff_without_its_files_is_reviewed_by_the_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hone_home: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    diff = b"--- a/x.py\n+++ b/x.py\n@@ -40,1 +40,2 @@\n keep = 1\n+value = missing\n"
    client = FakeClient(wrong=lambda line: 0.9, answers=[{"reason": "r", "class": "other", "fix": ["value = 1"]}])
    done = review(Request(tmp_path, "diff", diff=diff), model_of(client))
    assert rules(done) == [(41, "model/wrong-line")]
    assert done.findings[0].fix is None
    assert done.tools == ()


def test_sarif_follows_the_schema_and_keeps_each_rule(root: Path):
    client = FakeClient(
        wrong=lambda line: 0.8 if "missing" in line else 0.1, answers=[{"reason": "r", "class": "other", "fix": []}]
    )
    (root / "made.py").write_text("# @generated\n")
    done = review(Request(root), model_of(client))
    log = json.loads(formats.to_sarif(done, "0.1"))
    # A copy, since the validator writes defaults into what it is given.
    validator()(json.loads(json.dumps(log)))
    (run,) = log["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["ruff/F632", "ruff/F821"]
    literal, missing = run["results"]
    assert [one["rule"] for one in missing["properties"]["evidence"]] == ["F821", "wrong-line"]
    assert literal["fixes"][0]["artifactChanges"][0]["replacements"] == [
        {"deletedRegion": {"startLine": 2}, "insertedContent": {"text": "    if w == 'wide':"}}
    ]
    assert "made.py" in json.dumps(run["invocations"])


TEXT = st.text(max_size=30)


@st.composite
def reviews(draw: st.DrawFn) -> Review:
    """Findings with any text in them."""
    findings = []
    for number in range(draw(st.integers(0, 3))):
        evidence = Evidence(draw(TEXT) or "t", draw(TEXT) or "r", draw(TEXT), 0.5, None, {})
        first = draw(st.integers(1, 5))
        edits = draw(st.sampled_from([(Edit(2, 1, ("a",)),), (Edit(1, 2, ()),), (Edit(1, 1, ("a", "b")),)]))
        findings.append(
            Finding(
                id=str(number),
                mark=Mark("", "", "", ""),
                path=draw(TEXT) or "x",
                line=first,
                last=first + draw(st.integers(0, 2)),
                severity=draw(st.sampled_from(["error", "warning", "note"])),
                category="correctness",
                rule=f"{evidence.source}/{evidence.rule}",
                message=draw(TEXT),
                confidence=0.5,
                evidence=(evidence,),
                code=(draw(TEXT),),
                fix=draw(st.none() | st.just(Fix("t", "d", "p", edits))),
            )
        )
    return Review(tuple(findings), (), 0, 0, (), (draw(TEXT),), None, (), 0, 0, 0, 0.1)


@given(reviews())
def test_any_text_is_told_safely(done: Review):
    assert json.loads(formats.to_json(done))["schema_version"] == 1
    validator()(json.loads(formats.to_sarif(done, "0.1")))
    told = formats.to_github(done)
    lines = told.split("\n")
    assert len(lines) == len(done.findings) + 1
    assert "\r" not in told
    for line, finding in zip(lines, done.findings, strict=False):
        head, _, data = line.removeprefix("::").partition("::")
        kind, _, properties = head.partition(" ")
        assert kind == {"error": "error", "warning": "warning", "note": "notice"}[finding.severity]
        fields = dict(one.partition("=")[::2] for one in properties.split(","))
        assert set(fields) <= {"file", "line", "endLine", "title"}
        assert decoded(fields["file"]) == finding.path
        assert decoded(data) == finding.message


def decoded(text: str) -> str:
    for code, character in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, character)
    return text
