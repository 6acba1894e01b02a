"""Reports as JSON, Markdown, JUnit and SARIF."""

import json
import xml.etree.ElementTree as ET
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import HoneError
from evals.errors import HarnessError
from evals.gate import decide
from evals.gate_inputs import Measured, Wanted
from evals.report import json as json_report
from evals.report import junit, markdown, sarif, words
from evals.report.html import html
from evals.report.schema import Figure, ModelResult, Report, TaskReport, from_json, to_json
from evals.report.write import write
from tests.evals.report_fixtures import HOSTILE, facts, hostile_report, pair, report, row, task

SARIF_SCHEMA = Path(__file__).parent / "data" / "sarif-2.1.0.schema.json"


def gated() -> Report:
    found = pair(90, 12, 3, 51)
    measured = {"humaneval": Measured(report(found), found, "new", "old", Path("report.json"))}
    return report(found, gate=decide(measured, [Wanted("humaneval", None, 0.0)]))


def plain_hostile() -> Report:
    """The hostile report without what JSON files cannot hold as it is."""
    return from_json(json.dumps(to_json(hostile_report()), ensure_ascii=False).encode("utf-8", "replace"))


def test_a_report_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    for number, made in enumerate((gated(), plain_hostile(), report())):
        json_report.write(made, tmp_path / f"{number}.json")
        assert json_report.read(tmp_path / f"{number}.json") == made


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("schema_version",), 3, "schema_version"),
        (("surprise",), 1, "surprise"),
        (("tasks", 0, "surprise"), 1, "tasks.0.surprise"),
        (("tasks", 0, "models", 0, "figures", "pass@1", "value"), "0.5", "tasks.0.models.0.figures.pass@1.value"),
        (("tasks", 0, "comparisons", 0, "outcomes"), [1, 2, 3], "tasks.0.comparisons.0.outcomes"),
        (("gate", "outcome"), "fine", "gate.outcome"),
    ],
)
def test_anything_else_in_a_report_is_refused_by_its_place(path: tuple[Any, ...], value: Any, place: str) -> None:
    found = deepcopy(to_json(gated()))
    inner = found
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(HarnessError, match="no report of schema version 2") as caught:
        from_json(json.dumps(found))
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["created", "tasks", "sandbox"])
def test_a_missing_field_is_refused(name: str) -> None:
    found = to_json(gated())
    del found[name]
    with pytest.raises(HarnessError, match=name):
        from_json(json.dumps(found))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"schema_version": 1}'])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(HarnessError, match=r"report\.json"):
        json_report.read(tmp_path / "report.json")
    with pytest.raises(HarnessError, match="cannot read"):
        json_report.read(tmp_path / "none.json")


def test_markdown_has_the_figures_the_classes_and_the_decision() -> None:
    text = markdown.markdown(gated())
    for fact in (
        "65.4% [",
        "-5.8 [",
        "p = 0.035",
        "right",
        "wrong answer",
        "63 (+9)",
        "REGRESSION",
        "bubblewrap",
        "80 % of cases",
    ):
        assert fact in text, fact
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for rows in tables:
        assert len({line.count("|") for line in rows}) == 1
    assert "humaneval@1" in markdown.plain(gated())


def test_nothing_in_markdown_is_markup_or_breaks_a_table() -> None:
    text = markdown.markdown(hostile_report())
    assert "<script" not in text
    assert "<img" not in text
    for line in text.splitlines():
        if line.startswith("|") and "pass@1" in line:
            assert line.replace("\\|", "").count("|") == 5


def test_junit_has_a_case_for_each_sample_and_xml_can_hold_it() -> None:
    root = ET.fromstring(junit.junit(hostile_report()))
    assert (root.tag, root.get("tests"), root.get("errors")) == ("testsuites", "282", "0")
    suites = root.findall("testsuite")
    assert len(suites) == 3
    failures = root.findall(".//failure")
    assert root.get("failures") == str(len(failures))
    assert {failure.get("type") for failure in failures} == {"wrong answer", "timeout", "no code"}
    assert suites[0].findall("testcase")[1].get("name") == "i000 #2"
    property_ = suites[0].find("properties/property[@name='pass@1']")
    assert property_ is not None
    assert "%" in (property_.get("value") or "")


def test_junit_tells_the_rung_the_model_and_each_figure_of_a_task_without_samples() -> None:
    models = (
        ModelResult(
            facts("m") | {"served": "as it is"},
            {"peak memory": Figure(4e8, None, None, 1, "bytes", "lower", "VmHWM")},
            {},
            None,
            (),
        ),
    )
    root = ET.fromstring(junit.junit(report(TaskReport("speed", "speed@1", {}, models, (), (), ()))))
    (suite,) = root.findall("testsuite")
    told = {each.get("name"): each.get("value") for each in suite.findall("properties/property")}
    assert told == {"sandbox": "bubblewrap", "digest": "digest-m", "served": "as it is", "peak memory": "400 MB"}
    (case,) = suite.findall("testcase")
    assert (case.get("name"), case.findtext("system-out")) == ("peak memory", "400 MB")
    assert root.get("tests") == "1"


def test_classes_that_moved_are_counted_from_each_to_each() -> None:
    old = [row("old", name, error=error, value=float(error is None)) for name, error in BEFORE.items()]
    new = [row("new", name, error=error, value=float(error is None)) for name, error in AFTER.items()]
    made = task({"old": old, "new": new})
    assert markdown.moves(made) == [
        ["from", "to", "new"],
        ["timeout", "right", "2"],
        ["right", "syntax", "1"],
        ["syntax", "timeout", "1"],
    ]
    assert "| timeout | right | 2 |" in markdown.markdown(report(made))
    assert "<td>right</td>" in html(report(made))
    assert markdown.moves(task({"old": old})) == []
    assert markdown.moves(task({"old": old, "new": [one | {"name": "new"} for one in old]})) == []


BEFORE = {"a": "timeout", "b": "timeout", "c": None, "d": "syntax", "e": "syntax"}
AFTER = {"a": None, "b": None, "c": "syntax", "d": "timeout", "e": "syntax"}


def test_every_form_for_people_tells_the_rung() -> None:
    for made in (markdown.plain(gated()), markdown.markdown(gated()), html(gated())):
        assert "untrusted code ran in: bubblewrap" in made


@given(st.text(max_size=60))
def test_any_text_fits_into_a_fault(line: str) -> None:
    root = ET.fromstring(junit.fault("hone eval words", line).encode("utf-8"))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("1", "0", "1")
    assert root.find("testsuite/testcase/error") is not None


@given(st.text(max_size=60))
def test_any_text_fits_into_junit(text: str) -> None:
    wrong = row("m", text or "x", value=0.0, error="wrong answer", text=text, extracted=text)
    wrong["verdict"]["detail"] = text
    made = junit.junit(report(task({"m": [wrong]})))
    case = ET.fromstring(made.encode("utf-8")).find("testsuite/testcase")
    assert case is not None
    assert case.find("failure") is not None


def test_sarif_is_valid_by_the_standards_schema() -> None:
    validate = fastjsonschema.compile(json.loads(SARIF_SCHEMA.read_text("utf-8")))
    text = sarif.sarif(hostile_report())
    assert text is not None
    validate(json.loads(text))
    for place, value in (("level", "fatal"), ("surprise", 1), ("message", {})):
        broken = json.loads(text)
        broken["runs"][0]["results"][0][place] = value
        with pytest.raises(fastjsonschema.JsonSchemaException):
            validate(broken)


def test_sarif_places_each_finding() -> None:
    (run,) = json.loads(sarif.sarif(hostile_report()) or "")["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["off-by-one", "wrong-name"]
    first, second = run["results"]
    place = first["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "pkg/a%20b.py"}, "region": {"startLine": 3, "endLine": 4}}
    assert first["message"]["text"] == HOSTILE
    assert first["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"] == {"text": "x = 1"}
    assert first["properties"] == {"item": "pkg/a b.py@1", "confidence": 0.5}
    assert "fixes" not in second


def test_what_several_answers_say_is_one_result_with_its_share() -> None:
    def said(attempt: int, *lines: int) -> dict[str, Any]:
        findings = [{"line": n, "last": n, "bug_class": "wrong-key", "reason": "x", "fix": []} for n in lines]
        extra = {"path": "a.py", "findings": findings}
        return row("m", "a", attempt=attempt, verdict={"value": 1.0, "error": None, "detail": "", "extra": extra})

    made = report(task({"m": [said(0, 3, 3), said(1, 7, 3), said(2), said(3)]}, name="review"))
    (run,) = json.loads(sarif.sarif(made) or "")["runs"]
    told = [
        (each["locations"][0]["physicalLocation"]["region"]["startLine"], each["properties"]["confidence"])
        for each in run["results"]
    ]
    assert told == [(3, 0.5), (7, 0.25)]
    alone = report(task({"m": [said(0, 3, 3)]}, name="review"))
    (result,) = json.loads(sarif.sarif(alone) or "")["runs"][0]["results"]
    assert "confidence" not in result["properties"]


def test_without_a_review_there_is_no_sarif(tmp_path: Path) -> None:
    assert sarif.sarif(gated()) is None
    assert {file.name for file in write(gated(), tmp_path)} == {"report.json", "report.md", "report.html", "junit.xml"}
    assert (tmp_path / "report.html").is_file()


def test_a_silent_review_is_a_run_without_results() -> None:
    silent = row(
        "m", "a", verdict={"value": 1.0, "error": None, "detail": "", "extra": {"path": "a.py", "findings": []}}
    )
    (run,) = json.loads(sarif.sarif(report(task({"m": [silent]}, name="review"))) or "")["runs"]
    assert run["results"] == []


def test_all_forms_are_written_and_the_step_summary_is_appended_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    files = write(hostile_report(), tmp_path / "out")
    assert {file.name for file in files} == {"report.json", "report.md", "report.html", "junit.xml", "review.sarif"}
    assert summary.read_text() == "before\n" + (tmp_path / "out" / "report.md").read_text()
    assert write(report(), None) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HoneError, match="cannot write the report"):
        write(report(), tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.125, "share", "12.5%"),
        (0.2514, "seconds", "251 ms"),
        (2.5, "seconds", "2.50 s"),
        (1234.5, "", "1,234"),
        (412_876_800.0, "bytes", "413 MB"),
        (2_050_000_000.0, "bytes", "2,050 MB"),
        (812.0, "bytes", "812 bytes"),
        (0.25, "joules", "250 mJ"),
        (3.5, "joules", "3.50 J"),
        (44.94, "tokens per second", "44.9"),
    ],
)
def test_quantities_are_shown_in_their_unit(value: float, unit: str, shown: str) -> None:
    assert words.quantity(value, unit) == shown


def test_a_size_has_its_unit_once() -> None:
    assert words.distance(0.25, "seconds") == "250 ms"
    assert words.distance(-3e6, "bytes") == "3 MB"
    assert words.distance(0.25, "bits per byte") == "0.250 bits per byte"
    assert words.distance(3.14, "tokens per second") == "3.1 tokens per second"


def test_each_figure_of_speed_shows_its_unit_in_every_form() -> None:
    figures = {
        "time to first token at 1": Figure(0.0514, 0.05, 0.06, 8, "seconds", "lower", "mean"),
        "answer tokens per second at 1": Figure(44.94, 39.42, 49.68, 8, "tokens per second", "higher", "mean"),
        "energy per answer token at 1": Figure(0.25, None, None, 8, "joules", "lower", "RAPL"),
        "peak memory": Figure(412_876_800.0, None, None, 1, "bytes", "lower", "VmHWM"),
    }
    models = (ModelResult(facts("m"), figures, {}, None, (0.2, 1.4)),)
    made = report(TaskReport("speed", "speed@1", {}, models, (), (), ()))
    shown = {
        "time to first token at 1": "51 ms [50 ms, 60 ms]",
        "answer tokens per second at 1": "44.9 [39.4, 49.7]",
        "energy per answer token at 1": "250 mJ",
        "peak memory": "413 MB",
    }
    rows = [line.split("  ") for line in markdown.plain(made).splitlines()]
    for name, value in shown.items():
        assert any(row[0] == name and row[-1].strip() == value for row in rows), name
        assert f"| {name} | {value} |" in markdown.markdown(made)
        assert f'name="{name}" value="{value}"' in junit.junit(made)
        page = html(made)
        assert f"<td>{value}</td>" in page
        # The plot writes it beside its mark.
        assert f">{value}</text>" in page


def test_changes_are_shown_in_points_or_relative() -> None:
    difference = pair(90, 12, 3, 51).comparisons[0].difference
    assert words.change(difference).startswith("-5.8 [-")
    assert words.change(difference).endswith("] points")
    assert words.change(replace(difference, low=None)) == "-5.8 points"
