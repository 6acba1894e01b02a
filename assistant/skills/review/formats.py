"""A review for other programs: one JSON object, SARIF 2.1.0, annotations of GitHub's workflows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from assistant import sarif as form
from assistant.skills.review.findings import MODEL, SEVERITIES, Edit, Evidence, Finding, Review, Severity

SCHEMA_VERSION = 1

_MODEL_RULE = "The model finds this changed line wrong"
_COMMANDS: Mapping[Severity, str] = {"error": "error", "warning": "warning", "note": "notice"}


def to_json(review: Review) -> str:
    """One object on one line; ends with a newline."""
    made = {
        "schema_version": SCHEMA_VERSION,
        "findings": [_finding(finding) for finding in review.findings],
        "counts": {one: sum(finding.severity == one for finding in review.findings) for one in reversed(SEVERITIES)},
        "files": list(review.files),
        "changed_lines": review.lines,
        "hunks": review.hunks,
        "model": review.model,
        "tools": list(review.tools),
        "skipped": [asdict(one) for one in review.skipped],
        "notes": list(review.notes),
        "accepted": review.accepted,
        "suppressed": review.suppressed,
        "unsure": review.unsure,
        "seconds": round(review.seconds, 3),
    }
    return json.dumps(made, ensure_ascii=False, allow_nan=False) + "\n"


def _finding(finding: Finding) -> dict[str, Any]:
    made = asdict(finding)
    del made["mark"]
    made["confidence"] = round(finding.confidence, 4)
    made["evidence"] = [_evidence(one) for one in finding.evidence]
    return made


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {**asdict(evidence), "confidence": round(evidence.confidence, 4)}


def to_sarif(review: Review, version: str) -> str:
    """A log of one run.

    Args:
        version: Hone's.
    """
    rules: dict[str, Evidence] = {}
    for finding in review.findings:
        rules.setdefault(finding.rule, finding.evidence[0])
    index = {rule: number for number, rule in enumerate(rules)}
    notes = [*review.notes, *(f"{one.path} was not reviewed: {one.reason}" for one in review.skipped)]
    run = {
        "tool": form.driver(version, [_rule(rule, evidence) for rule, evidence in rules.items()]),
        "automationDetails": {"id": "hone/review/"},
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [{"level": "note", "message": {"text": note}} for note in notes],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, index[finding.rule]) for finding in review.findings],
        "properties": {"model": review.model, "tools": list(review.tools)},
    }
    return form.log([run])


def _rule(rule: str, evidence: Evidence) -> dict[str, Any]:
    text = _MODEL_RULE if evidence.source == MODEL else rule
    made: dict[str, Any] = {"id": rule, "shortDescription": {"text": text}}
    if evidence.url:
        made["helpUri"] = evidence.url
    return made


def _result(finding: Finding, rule_index: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": rule_index,
        "level": finding.severity,
        "message": {"text": finding.message or finding.rule},
        "locations": [form.place(finding.path, form.region(finding.line, finding.last))],
        "partialFingerprints": {"hone/v1": finding.id},
        "rank": round(100 * finding.confidence, 2),
        "properties": {
            "category": finding.category,
            "confidence": round(finding.confidence, 4),
            "evidence": [_evidence(one) for one in finding.evidence],
        },
    }
    if finding.fix is not None:
        replacements = [_replacement(edit) for edit in finding.fix.edits]
        made["fixes"] = [form.fix(finding.path, finding.fix.description, replacements)]
    return made


def _replacement(edit: Edit) -> tuple[dict[str, int], str]:
    """A deleted region with the text put there; a region without columns leaves out the last line's end."""
    if edit.last < edit.first:
        start = {"startLine": edit.first, "startColumn": 1, "endLine": edit.first, "endColumn": 1}
        return start, "".join(line + "\n" for line in edit.lines)
    if not edit.lines:
        return {"startLine": edit.first, "startColumn": 1, "endLine": edit.last + 1, "endColumn": 1}, ""
    return form.region(edit.first, edit.last), "\n".join(edit.lines)


def to_github(review: Review) -> str:
    """A workflow command for each finding. What a message holds cannot start another command: line ends, percent signs
    and, in properties, colons and commas are encoded."""
    return "".join(_annotation(finding) for finding in review.findings)


def _annotation(finding: Finding) -> str:
    properties = {"file": finding.path, "line": str(finding.line)}
    if finding.last > finding.line:
        properties["endLine"] = str(finding.last)
    properties["title"] = f"{finding.rule} ({finding.confidence:.0%})"
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_COMMANDS[finding.severity]} {told}::{_data(_message(finding.message, finding.evidence))}\n"


def _message(message: str, evidence: Sequence[Evidence]) -> str:
    others = [f"{one.source}/{one.rule}" for one in evidence[1:]]
    return message + (f" (also {', '.join(others)})" if others else "")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
