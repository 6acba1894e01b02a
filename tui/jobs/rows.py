"""The list of jobs: one line each, with as many columns as the terminal has room for."""

from textual.content import Content

from tui.columns import Column, fit, joined
from tui.inert import inert
from tui.jobs.described import duration
from tuning.jobs.metrics import Point
from tuning.jobs.pulse import State
from tuning.jobs.state import Status

SIGNS: dict[State, tuple[str, str]] = {
    "waiting": ("◌", "$text-warning"),
    "running": ("▶", "$text-primary"),
    "stopping": ("■", "$text-warning"),
    "orphaned": ("!", "$text-error"),
    "elsewhere": ("▷", "$foreground 60%"),
    "done": ("✓", "$text-success"),
    "failed": ("✕", "$text-error"),
    "stopped": ("■", "$foreground 60%"),
    "died": ("✕", "$text-error"),
}
_BAR = 10

_COLUMNS = (
    Column("state", 10, 0),
    Column("step", 8, 60),
    Column("progress", _BAR + 5, 70),
    Column("ETA", 7, 0, right=True),
    Column("tok/s", 6, 76, right=True),
)
_NAME = Column("  name", 18, 0)
_WIDE = 110
_LEAST_WHY = 24


def header(width: int) -> Content:
    """The titles of the columns."""
    cells = [_cell(_NAME.title, _name_width(width))]
    cells += [_cell(column.title, column.width, column.right) for column in _columns(width)]
    cells += [Content("job       ")] if width >= _WIDE else []
    return joined(cells, width).stylize("$foreground 60%")


def line(status: Status, point: Point | None, width: int) -> Content:
    """One job; what it waits for or how it ended comes last, where there is room."""
    sign, style = SIGNS[status.state]
    active = status.is_active and status.state != "waiting"
    texts = {
        "state": Content.assemble((status.state, style)),
        "step": Content(status.step),
        "progress": bar(point.share) if point else Content(""),
        "ETA": Content(duration(point.eta_seconds) if point and active else ""),
        "tok/s": Content(f"{point.tokens_per_second:,.0f}" if point and active else ""),
    }
    name = Content.assemble((sign, style), " ", inert(status.spec.name))
    cells = [fit(name, _name_width(width))]
    cells += [fit(texts[column.title], column.width, column.right) for column in _columns(width)]
    if width >= _WIDE:
        cells.append(Content(f"{status.job.id}  ").stylize("$foreground 60%"))
    why = "" if status.state in ("done", "running") else inert(status.why)
    whole = joined(cells, width)
    # A word or two of it would say nothing.
    if width - whole.cell_length < _LEAST_WHY:
        return whole
    return joined([whole, Content(why).stylize("$foreground 60%")], width)


def steps(status: Status) -> Content:
    """The job's steps and how far they are."""
    names = [step.name for step in status.spec.steps]
    place = names.index(status.step) if status.step in names else -1
    parts = []
    for number, name in enumerate(names):
        sign, style = ("✓", "$text-success") if number < place or status.state == "done" else ("·", "$foreground 60%")
        if number == place and status.state != "done":
            sign, style = SIGNS[status.state]
        parts.append(Content.assemble((f"{sign} {name}", style)))
    return Content("  ").join(parts)


def bar(share: float) -> Content:
    """Ten cells and the share in percent."""
    full = round(share * _BAR)
    return Content.assemble(("━" * full, "$primary"), ("━" * (_BAR - full), "$foreground 30%"), f" {share:4.0%}")


def _columns(width: int) -> list[Column]:
    return [column for column in _COLUMNS if width >= column.least]


def _name_width(width: int) -> int:
    return _NAME.width if width < _WIDE else 2 * _NAME.width - 4


def _cell(text: str, width: int, right: bool = False) -> Content:
    return fit(Content(text), width, right)
