"""The list of runs: one line each, with as many columns as the terminal has room for."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from evals.report.runs import Summary
from tui.evals.document import OUTCOMES, TRENDS
from tui.evals.lines import one_line
from tui.evals.plots import MUTED
from tui.jobs import rows as job_rows
from tuning.jobs.state import Status


@dataclass(frozen=True)
class Column:
    title: str
    share: int
    """Of the width that is left, in comparison with the others."""
    least: int
    """The list's width from which on it is shown."""


_WHEN = 11
_COLUMNS = (
    Column("task", 3, 0),
    Column("models", 4, 70),
    Column("figure", 5, 0),
    Column("change", 6, 96),
)


def header(width: int) -> Content:
    cells = {column.title: Content(column.title) for column in _COLUMNS}
    return _line(Content("  "), Content("when (UTC)"), cells, width).stylize(MUTED)


def line(summary: Summary, width: int) -> Content:
    """A run; its sign says what the gate decided, or what the last model changed."""
    sign, style = OUTCOMES.get(summary.decision) or TRENDS.get(summary.trend) or ("●", MUTED)
    when = summary.created[5:16].replace("T", " ")
    values = [value or "–" for value in summary.values]
    tasks = ", ".join(map(one_line, summary.tasks))
    cells = {
        "task": Content(f"gate: {tasks}" if summary.decision else tasks),
        "models": Content(one_line(" → ".join(summary.models))),
        "figure": Content.assemble((f"{one_line(summary.figure)} ", MUTED), one_line(" → ".join(values))),
        "change": _change(summary),
    }
    return _line(Content.assemble((f"{sign} ", style)), Content(when), cells, width)


def job_line(status: Status, width: int) -> Content:
    """A job that has no report yet, or will have none."""
    sign, style = job_rows.SIGNS[status.state]
    why = one_line(status.why) or ("its report will stand here" if status.is_active else "")
    return Content.assemble(
        (f"{sign} ", style), f"{one_line(status.spec.name)}  ", (status.state, style), (f"  {why}", MUTED)
    ).truncate(max(width, 1), ellipsis=True)


def _change(summary: Summary) -> Content:
    if summary.decision:
        return Content.assemble((f"gate: {summary.decision}", OUTCOMES[summary.decision][1]))
    style = TRENDS[summary.trend][1] if summary.trend else ""
    return Content.assemble((one_line(summary.change), style))


def _line(sign: Content, when: Content, cells: dict[str, Content], width: int) -> Content:
    columns = [column for column in _COLUMNS if width >= column.least]
    widths = _widths(columns, width - 2 - _WHEN - 2)
    fitted = [_fit(cells[each.title], room) for each, room in zip(columns, widths, strict=True)]
    parts = [sign + _fit(when, _WHEN), *fitted]
    return Content("  ").join(parts).truncate(max(width, 1), ellipsis=True)


def _widths(columns: Sequence[Column], room: int) -> list[int]:
    free = max(0, room - 2 * (len(columns) - 1))
    whole = sum(column.share for column in columns)
    return [max(4, free * column.share // whole) for column in columns]


def _fit(text: Content, width: int) -> Content:
    cut = text.truncate(width, ellipsis=True)
    return cut.pad_right(width - cut.cell_length)
