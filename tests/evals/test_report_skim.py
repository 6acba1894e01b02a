"""A report read without its samples, and its samples one at a time."""

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.errors import HarnessError
from evals.gate import decide
from evals.gate_inputs import Measured, Wanted
from evals.report import json as json_report
from evals.report import skim
from evals.report.schema import Report, to_json
from evals.report.skim import ReportFile, StoppedError
from tests.evals.report_fixtures import HOSTILE, greedy, hostile_report, pair, report, row, task


def gated() -> Report:
    measured = pair(90, 3, 4, 55)
    made = report(measured)
    decision = decide(
        {"humaneval": Measured(made, measured, "new", "old", Path("x"))}, [Wanted("humaneval", None, 0.0)]
    )
    return replace(made, gate=decision)


def detailed() -> Report:
    """With a report of the task's own, that holds what looks like samples."""
    made = pair(2, 1, 1, 0)
    details = {"tasks": [{"samples": [{"x": "]}"}]}], "samples": [1, 2], "deep": [[[{"a": {}}]]]}
    return report(replace(made, details=details), task({"old": greedy("old", [True])}, name="mbpp"))


@pytest.mark.parametrize("made", [gated(), hostile_report(), detailed()], ids=["gate", "hostile", "details"])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_all_but_samples_and_details_is_read_and_every_sample_is_found(
    made: Report, chunk: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skim, "_CHUNK", chunk)
    if chunk == 1:
        made = replace(made, tasks=tuple(replace(one, samples=one.samples[:3]) for one in made.tasks))
    path = tmp_path / "report.json"
    text = json.dumps(to_json(made), indent=indent, ensure_ascii=False)
    path.write_bytes(text.encode("utf-8", "replace"))
    whole = json_report.read(path)
    file = ReportFile(path)
    assert file.report == replace(whole, tasks=tuple(replace(one, samples=(), details=None) for one in whole.tasks))
    assert [[file.row(span) for span in spans] for spans in file.samples] == [list(one.samples) for one in whole.tasks]


@given(text=st.text(alphabet='{}[]",:\\ab\n\u2028é漢', max_size=40), chunk=st.integers(1, 40))
def test_no_text_of_a_model_is_taken_for_structure(
    text: str, chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("skim") / "report.json"
    rows = [row("old", text or "x", text=text), row("old", "second", text='"samples": [{')]
    json_report.write(report(task({"old": rows}, notes=(text,))), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skim, "_CHUNK", chunk)
        file = ReportFile(path)
    (spans,) = file.samples
    assert {file.row(span)["text"] for span in spans} == {text, '"samples": [{'}
    assert file.report.tasks[0].notes == (text,)


def test_items_are_told_with_the_answer_of_every_model(tmp_path: Path) -> None:
    json_report.write(report(pair(150, 30, 40, 50)), tmp_path / "report.json")
    file = ReportFile(tmp_path / "report.json")
    found = list(file.places(0))
    assert [len(places) for places in found] == [200, 270, 270]
    last = found[-1]
    assert all(answer is not None for place in last for answer in place.answers)
    outcomes = [tuple(answer is not None and answer.is_right for answer in place.answers) for place in last]
    assert outcomes.count((True, False)) == 30
    assert outcomes.count((False, True)) == 40
    assert last[-1].answers[0] is not None
    assert last[-1].answers[0].error == "wrong answer"
    assert HOSTILE not in str(last)


def test_big_samples_stay_on_disk(tmp_path: Path) -> None:
    rows = [row("old", f"i{number}", text="x" * 200_000) for number in range(100)]
    json_report.write(report(task({"old": rows})), tmp_path / "report.json")
    tracemalloc.start()
    try:
        file = ReportFile(tmp_path / "report.json")
        *_, places = file.places(0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(places) == 100
    assert peak < 10e6


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"schema_version": 2, "tasks": [',
        '{"schema_version": 1, "task": "repo"}',
        "[" * 5_000,
    ],
)
def test_what_is_no_report_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(HarnessError) as found:
        ReportFile(tmp_path / "report.json")
    assert "report.json" in str(found.value)
    assert "\n" not in str(found.value)


def test_a_report_that_ends_in_the_middle_is_refused_wherever_that_is(tmp_path: Path) -> None:
    json_report.write(report(pair(1, 1, 0, 0)), tmp_path / "report.json")
    data = (tmp_path / "report.json").read_bytes()
    for end in range(0, len(data) - 3, 97):
        (tmp_path / "report.json").write_bytes(data[:end])
        with pytest.raises(HarnessError):
            ReportFile(tmp_path / "report.json")


def test_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot read"):
        ReportFile(tmp_path / "report.json")


def test_damaged_samples_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    made = to_json(report(pair(1, 0, 0, 1)))
    made["tasks"][0]["samples"][1].pop("verdict")
    path.write_text(json.dumps(made))
    with pytest.raises(HarnessError, match="sample 2 is none"):
        list(ReportFile(path).places(0))


def test_a_file_that_is_replaced_is_read_on_and_one_changed_in_its_place_is_told(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    json_report.write(report(pair(3, 0, 0, 1)), path)
    file = ReportFile(path)
    span = file.samples[0][0]
    json_report.write(report(pair(1, 0, 0, 0)), path)
    assert file.row(span)["item"] == "i000"
    again = ReportFile(path)
    path.write_text("short")
    with pytest.raises(HarnessError, match="was changed while it was read"):
        again.row(again.samples[0][0])


def test_reading_ends_when_nobody_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skim, "_CHUNK", 100)
    json_report.write(report(pair(3, 0, 0, 1)), tmp_path / "report.json")
    told: Iterator[bool] = iter([False, False, True])
    with pytest.raises(StoppedError):
        ReportFile(tmp_path / "report.json", lambda: next(told))
