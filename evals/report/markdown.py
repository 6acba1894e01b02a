"""A report as Markdown, and as what a terminal shows."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from evals.report import words
from evals.report.schema import RIGHT, Decision, ModelResult, Report, TaskReport

Rows = list[list[str]]


def table(task: TaskReport) -> Rows:
    """Cells, the header first: one column a model, and what each comparison says of the figure."""
    pairs = list(dict.fromkeys((each.before, each.after) for each in task.comparisons))
    found = {(each.before, each.after, each.figure): each for each in task.comparisons}
    names = list(dict.fromkeys(name for model in task.models for name in model.figures))
    heads = ["change" if len(pairs) == 1 else f"change to {after}" for _, after in pairs]
    rows = [["", *(str(model.facts["name"]) for model in task.models), *heads]]
    for name in names:
        shown = [words.with_interval(model.figures[name]) if name in model.figures else "" for model in task.models]
        changes = [words.compared(found[(*pair, name)]) if (*pair, name) in found else "" for pair in pairs]
        rows.append([words.label(name), *shown, *changes])
    latency = [_latency(model) for model in task.models]
    if any(latency):
        rows.append(["latency p50 / p95", *latency, *("" for _ in pairs)])
    return rows


def classes(task: TaskReport) -> Rows:
    """Samples of each error class; with two models or more, how the last column's counts moved from the first's."""
    found = error_classes(task)
    if not found:
        return []
    rows = [["samples", *(str(model.facts["name"]) for model in task.models)]]
    first = task.models[0].classes
    for name in found:
        counts = [model.classes.get(name, 0) for model in task.models]
        moved = [f"{count} ({count - first.get(name, 0):+d})" for count in counts[1:]]
        rows.append([name, str(counts[0]), *moved])
    return rows


def moves(task: TaskReport) -> Rows:
    """From which class to which the answers to the same items went, the most frequent moves first; empty where nothing
    moved or there is nothing to compare."""
    first, *others = (str(model.facts["name"]) for model in task.models)
    found: dict[str, dict[tuple[str, int], str]] = {}
    for row in task.samples:
        place = str(row["item"]), int(row["attempt"])
        found.setdefault(str(row["name"]), {})[place] = row["verdict"]["error"] or RIGHT
    if not others or not error_classes(task):
        return []
    counted = {
        name: Counter((found[first][place], after) for place, after in found.get(name, {}).items()) for name in others
    }
    pairs = sum(counted.values(), Counter[tuple[str, str]]())
    rows = [
        [before, after, *(str(counted[name][before, after]) for name in others)]
        for (before, after), _ in sorted(pairs.items(), key=lambda each: (-each[1], each[0]))
        if before != after
    ]
    return [["from", "to", *others], *rows] if rows else []


def error_classes(task: TaskReport) -> list[str]:
    """Right first, then by how many samples of all models are in it."""
    total: dict[str, int] = {}
    for model in task.models:
        for name, count in model.classes.items():
            total[name] = total.get(name, 0) + count
    return sorted(total, key=lambda name: (name != RIGHT, -total[name], name))


def plain(report: Report) -> str:
    """Tables in aligned columns, and what they were measured on."""
    parts = []
    for task in report.tasks:
        parts += [task.version, _aligned(table(task))]
        if found := classes(task):
            parts.append(_aligned(found))
        parts.append("\n".join([*task.notes, *_detectable(task)]))
    if report.sandbox:
        parts.append(_sandboxed(report))
    if report.gate is not None:
        parts.append(report.gate.explanation)
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(report: Report) -> str:
    """GitHub's dialect; nothing that a model wrote is in it."""
    lines = ["# Evaluation", ""]
    if report.gate is not None:
        lines += _gate(report.gate)
    for task in report.tasks:
        lines += [f"## {_escape(task.version)}", "", *_rows(table(task)), ""]
        lines += ["Brackets hold 95 % intervals; changes are paired, against the first model.", ""]
        if found := classes(task):
            lines += [*_rows(found), ""]
        if found := moves(task):
            lines += [f"Answers of another class than {_escape(str(task.models[0].facts['name']))}'s to the same:", ""]
            lines += [*_rows(found), ""]
        if calibrated := _calibration(task):
            lines += [*_rows(calibrated), ""]
        lines += [*(f"- {_escape(note)}" for note in [*task.notes, *_detectable(task)]), ""]
        lines += ["<details><summary>Models</summary>", "", *_models(task), "", "</details>", ""]
    lines += ["## Machine", "", *(f"- {_escape(fact)}" for fact in machine(report)), ""]
    return "\n".join(lines)


def fault(what: str, line: str) -> str:
    """Of a run that gave nothing."""
    return f"# Evaluation\n\n**No result** of {_escape(what)}: {_escape(line)}\n"


def gate_table(decision: Decision) -> Rows:
    rows = [["task", "figure", "decision", "change", "budget", "p of a regression", "adjusted", "p of none"]]
    for task in decision.tasks:
        p_values = [words.p_value(p) for p in (task.p_regression, task.p_adjusted, task.p_within)]
        shown = [words.change(task.difference), words.distance(task.budget, task.difference.unit), *p_values]
        rows.append([task.task, words.label(task.figure), task.outcome, *shown])
    return rows


def _gate(decision: Decision) -> list[str]:
    return ["## Gate", "", _escape(decision.explanation), "", *_rows(gate_table(decision)), ""]


def _detectable(task: TaskReport) -> list[str]:
    """A line for each pair of models."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in task.comparisons:
        if each.detectable is not None:
            size = words.distance(each.detectable, each.difference.unit)
            found.setdefault((each.after, each.before), []).append(f"{words.label(each.figure)} {size}")
    return [
        f"{after} against {before}, the smallest true differences that are found in 80 % of cases: {', '.join(sizes)}"
        for (after, before), sizes in found.items()
    ]


def _latency(model: ModelResult) -> str:
    from evals.metrics import percentile

    seconds = model.latency_seconds
    if not seconds:
        return ""
    return " / ".join(words.quantity(percentile(seconds, share), "seconds") for share in (0.5, 0.95))


def _calibration(task: TaskReport) -> Rows:
    found = [(model, model.calibration) for model in task.models if model.calibration]
    if not found:
        return []
    rows = [["calibration", "expected error", "stated -> observed (samples)"]]
    for model, calibration in found:
        bins = ", ".join(f"{each.stated:.0%} -> {each.observed:.0%} ({each.count})" for each in calibration.bins)
        rows.append([str(model.facts["name"]), f"{calibration.expected_error:.3f}", bins])
    return rows


def _models(task: TaskReport) -> list[str]:
    return [f"- {_escape(', '.join(_flat(model.facts)))}" for model in task.models]


def machine(report: Report) -> list[str]:
    """What ran the evaluation, a fact a line."""
    return [f"hone {report.hone}, {report.created}", _sandboxed(report), *_flat(report.environment)]


def _sandboxed(report: Report) -> str:
    return f"untrusted code ran in: {report.sandbox}" if report.sandbox else "no untrusted code was run"


def _flat(facts: Mapping[str, object], prefix: str = "") -> list[str]:
    found = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name} ")
        elif value is not None:
            found.append(f"{prefix}{words.label(name)}: {value}")
    return found


def _aligned(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _rows(rows: Rows) -> list[str]:
    head, *body = [[_escape(cell) for cell in row] for row in rows]
    return [_row(head), _row(["---"] * len(head)), *map(_row, body)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    """One line that Markdown shows as it is: no markup, no link, no HTML, no further cell."""
    one_line = re.sub(r"[\x00-\x08\x0e-\x1b\x7f]", "\ufffd", re.sub(r"\s+", " ", text))
    one_line = one_line.replace("&", "&amp;")
    one_line = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", one_line)
    return re.sub(r"([\\`*|]|(?<=\])\()", r"\\\1", one_line)
