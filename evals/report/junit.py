"""A report as JUnit XML, as CI servers read it: a suite for each task and model, a case for each sample.

The format has no standard; this is the subset that Jenkins, GitLab and GitHub's readers share.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from evals.report import words
from evals.report.schema import Decision, ModelResult, Report, TaskReport

# What XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONGEST = 20_000
"""Characters kept of one text; the whole is in report.json."""


def junit(report: Report) -> str:
    suites = [suite for task in report.tasks for suite in _task_suites(task, report.sandbox)]
    if report.gate is not None:
        suites.append(_gate_suite(report.gate))
    return _text(suites)


def fault(what: str, line: str) -> str:
    """One error, which is no failure: nothing was scored.

    Args:
        what: gave nothing: `hone eval humaneval`.
    """
    suite = ET.Element("testsuite", {"name": _clean(what)})
    case = _add(suite, "testcase", classname=what, name="measured" if "gate" not in what else "decided", time="0.000")
    _add(case, "error", type="fault", message=line)
    suite.attrib |= _counts([suite])
    return _text([suite])


def _text(suites: Sequence[ET.Element]) -> str:
    root = ET.Element("testsuites", {"name": "hone eval", **_counts(suites)})
    root.extend(suites)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _task_suites(task: TaskReport, rung: str | None) -> list[ET.Element]:
    suites = []
    repeated = any(row["attempt"] for row in task.samples)
    for model in task.models:
        rows = [row for row in task.samples if row["name"] == model.facts["name"]]
        suite = ET.Element("testsuite", {"name": _clean(f"{task.version} {model.facts['name']}")})
        properties = ET.SubElement(suite, "properties")
        told = {"sandbox": rung, "digest": model.facts.get("digest"), "served": model.facts.get("served")}
        for name, value in told.items():
            if value is not None:
                _add(properties, "property", name=name, value=str(value))
        for name, figure in model.figures.items():
            _add(properties, "property", name=name, value=words.with_interval(figure))
        suite.extend(_case(task, row, repeated) for row in rows)
        if not task.samples:
            # A suite without a case is taken for a run that did nothing.
            suite.extend(_figure_case(task, model, name) for name in model.figures)
        suite.attrib |= _counts([suite])
        suites.append(suite)
    return suites


def _case(task: TaskReport, row: Mapping[str, Any], repeated: bool) -> ET.Element:
    attempt = f" #{row['attempt'] + 1}" if repeated else ""
    case = ET.Element(
        "testcase",
        {
            "classname": _clean(f"{task.name}.{row['name']}"),
            "name": _clean(f"{row['item']}{attempt}"),
            "time": f"{row['seconds'] or 0.0:.3f}",
        },
    )
    verdict = row["verdict"]
    if verdict["error"] is not None:
        _add(case, "failure", type=verdict["error"], message=verdict["detail"])
        _add(case, "system-out", text=row["extracted"] or row["text"])
    return case


def _figure_case(task: TaskReport, model: ModelResult, name: str) -> ET.Element:
    labels = {"classname": f"{task.name}.{model.facts['name']}", "name": words.label(name), "time": "0.000"}
    case = ET.Element("testcase", {key: _clean(text) for key, text in labels.items()})
    _add(case, "system-out", text=words.with_interval(model.figures[name]))
    return case


def _gate_suite(decision: Decision) -> ET.Element:
    suite = ET.Element("testsuite", {"name": "hone gate"})
    for task in decision.tasks:
        case = _add(suite, "testcase", classname="gate", name=f"{task.task} {task.figure}", time="0.000")
        if task.outcome == "regression":
            _add(case, "failure", type=task.outcome, message=task.reason)
        elif task.outcome == "inconclusive":
            _add(case, "skipped", message=task.reason)
    _add(suite, "system-out", text=decision.explanation)
    suite.attrib |= _counts([suite])
    return suite


def _counts(suites: Sequence[ET.Element]) -> dict[str, str]:
    cases = [case for suite in suites for case in suite.findall("testcase")]
    seconds = sum(float(case.get("time", "0")) for case in cases)
    return {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": str(sum(case.find("error") is not None for case in cases)),
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": f"{seconds:.3f}",
    }


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, {name: _clean(value) for name, value in attributes.items()})
    if text is not None:
        element.text = _clean(text)
    return element


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text[:_LONGEST])
