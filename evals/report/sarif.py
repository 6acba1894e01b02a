"""What models found in reviews, as SARIF 2.1.0 (OASIS Standard, 27 March 2020): a run for each model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from assistant import sarif as form
from evals.report.schema import ModelResult, Report, TaskReport

Row = Mapping[str, Any]
"""Of samples.jsonl, or a finding."""


def sarif(report: Report) -> str | None:
    """The findings of every sample whose verdict lists some in `extra`: `path`, and `findings` with `line`, `last`,
    `bug_class`, `reason` and `fix` (lines), and where it is known `confidence` (0 to 1); `findings` is null where an
    answer could not be read.

    What an answer says twice is one result, and so is what several answers to an item say.

    None when no sample lists any, not even an empty list: nothing was reviewed.
    """
    runs = [
        _run(report, task, model)
        for task in report.tasks
        for model in task.models
        if any(_reviewed(row) for row in task.samples)
    ]
    if not runs:
        return None
    return form.log(runs)


def _reviewed(row: Row) -> bool:
    return "findings" in row["verdict"]["extra"]


def _run(report: Report, task: TaskReport, model: ModelResult) -> dict[str, Any]:
    name = model.facts["name"]
    rows = [row for row in task.samples if row["name"] == name and _reviewed(row)]
    found = _found(rows)
    rules = sorted({finding["bug_class"] for _, finding in found})
    return {
        "tool": form.driver(
            report.hone, [{"id": rule, "shortDescription": {"text": rule.replace("-", " ")}} for rule in rules]
        ),
        "automationDetails": {"id": f"hone/{task.name}/{name}/"},
        "invocations": [{"executionSuccessful": True, "endTimeUtc": _utc(report.created)}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(row, finding, rules) for row, finding in found],
        "properties": {"model": name, "digest": model.facts["digest"], "task": task.version},
    }


def _found(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Each finding once, after the row that has it first; of several answers to an item, its confidence is the share of
    them that have it, unless the finding tells one."""
    answers = Counter(row["item"] for row in rows)
    first: dict[tuple[str, int, str], tuple[Row, Row]] = {}
    named: Counter[tuple[str, int, str]] = Counter()
    for row in rows:
        findings = row["verdict"]["extra"]["findings"] or ()
        places = [(row["item"], finding["line"], finding["bug_class"]) for finding in findings]
        named.update(set(places))
        for place, finding in zip(places, findings, strict=True):
            first.setdefault(place, (row, finding))
    shares = {place: count / answers[place[0]] for place, count in named.items() if answers[place[0]] > 1}
    return [
        (row, {"confidence": shares[place], **finding} if place in shares else finding)
        for place, (row, finding) in first.items()
    ]


def _result(row: Row, finding: Row, rules: list[str]) -> dict[str, Any]:
    path, lines = row["verdict"]["extra"]["path"], form.region(finding["line"], finding["last"])
    properties = {"item": row["item"]}
    if finding.get("confidence") is not None:
        properties["confidence"] = finding["confidence"]
    result = {
        "ruleId": finding["bug_class"],
        "ruleIndex": rules.index(finding["bug_class"]),
        "level": "warning",
        "message": {"text": finding["reason"] or finding["bug_class"]},
        "locations": [form.place(path, lines)],
        "partialFingerprints": {"hone/v1": f"{row['item']}:{finding['line']}:{finding['bug_class']}"},
        "properties": properties,
    }
    if finding["fix"]:
        result["fixes"] = [form.fix(path, "Suggested by the model", [(lines, "\n".join(finding["fix"]))])]
    return result


def _utc(created: str) -> str:
    return created.replace("+00:00", "Z")
