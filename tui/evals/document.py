"""A report as text for a width: the gate's decision, and of each task figures with intervals, changes and plots."""

from collections.abc import Sequence

from textual.content import Content

from evals.report import markdown, runs, words
from evals.report.plots import extent
from evals.report.schema import Comparison, Decision, ModelResult, Report, TaskDecision, TaskReport
from tui.evals import plots
from tui.evals.lines import one_line
from tui.evals.plots import FAINT, MUTED

TRENDS = {
    "better": ("▲", "$text-success"),
    "worse": ("▼", "$text-error"),
    "unclear": ("≈", "$text-warning"),
}
OUTCOMES = {
    "pass": ("✓", "$text-success"),
    "better": ("✓", "$text-success"),
    "equal": ("✓", "$text-success"),
    "within budget": ("✓", "$text-success"),
    "regression": ("✕", "$text-error"),
    "inconclusive": ("≈", "$text-warning"),
}
_SHARES = ("0%", "25%", "50%", "75%", "100%")
_LEAST_BAR = 10
_PLOT_WIDTH, _PLOT_HEIGHT, _GAP = 44, 9, 4


def document(report: Report, width: int) -> list[Content]:
    """All of it, in lines that are wider only where a sentence is to be wrapped."""
    lines = [*_gate(report.gate, width), Content("")] if report.gate is not None else []
    for task in report.tasks:
        lines += [*_task(task, width), Content("")]
    lines.append(Content("Machine").stylize("bold"))
    return lines + [Content(one_line(fact)).stylize(MUTED) for fact in markdown.machine(report)]


def _gate(decision: Decision, width: int) -> list[Content]:
    sign, style = OUTCOMES[decision.outcome]
    who = f"  {one_line(decision.candidate)} against {one_line(decision.against)}"
    head = Content.assemble((f"{sign} Gate: {decision.outcome}", f"{style} bold"), who)
    lines = [head, Content(one_line(decision.explanation)).stylize(MUTED)]
    for each in decision.tasks:
        lines += [Content(""), *_decision(each, width)]
    return lines


def _decision(task: TaskDecision, width: int) -> list[Content]:
    """The difference with its interval; lines stand at no difference and at the budget."""
    sign, style = OUTCOMES[task.outcome]
    difference = task.difference
    name = f"{one_line(task.task)} {one_line(words.label(task.figure))}"
    change = words.change(difference)
    budget = -task.budget if difference.better == "higher" else task.budget
    ends = [value for value in (difference.low, difference.high, difference.value, budget) if value is not None]
    reach = 1.1 * max(map(abs, ends)) or 1.0
    across, bar = (-reach, reach), max(_LEAST_BAR, width)
    drawn = plots.interval(difference.value, difference.low, difference.high, across, bar, 0, (0.0, budget))
    told = f"{change}; it may be worse by {words.distance(task.budget, difference.unit)}"
    furthest = words.distance(reach, difference.unit)
    return [
        Content.assemble((f"{sign} {task.outcome}", style), f"  {name}  ", (told, MUTED)),
        drawn,
        plots.axis([f"-{furthest}", "0", f"+{furthest}"], bar),
    ]


def _task(task: TaskReport, width: int) -> list[Content]:
    lines = [_ruled(one_line(task.version), width)]
    lines += _figures(task, width)
    lines += _plots(task, width)
    latency = [row for row in markdown.table(task) if row[0].startswith("latency")]
    for row in latency:
        said = " · ".join(f"{plots.mark(number)} {value}" for number, value in enumerate(row[1:]) if value)
        lines.append(Content.assemble((f"{row[0]}  ", MUTED), said))
    notes = [Content(f"· {one_line(note)}").stylize(MUTED) for note in task.notes]
    return [*lines, Content(""), *notes] if notes else lines


def _ruled(title: str, width: int) -> Content:
    return Content.assemble((title, "bold"), (" " + "─" * max(0, width - len(title) - 1), FAINT))


def _figures(task: TaskReport, width: int) -> list[Content]:
    """Every figure: a row for each model, below it what changed."""
    models = list(enumerate(task.models))
    names = [str(model.facts["name"]) for model in task.models]
    figures = list(dict.fromkeys(name for model in task.models for name in model.figures))
    values = {name: [words.with_interval(model.figures[name]) for _, model in _with(models, name)] for name in figures}
    room = max((len(value) for each in values.values() for value in each), default=0)
    labels = {name: one_line(words.label(name)) for name in figures}
    longest = max((*map(len, names), *(len(label) - 2 for label in labels.values())), default=0)
    called = min(longest, max(8, width // 4))
    bar = max(_LEAST_BAR, width - called - room - 6)
    lines = []
    for name in figures:
        present = _with(models, name)
        across = extent([model.figures[name] for _, model in present])
        unit = present[0][1].figures[name].unit
        ends = _SHARES if unit == "share" else [words.quantity(end, unit) for end in across]
        head = Content(labels[name]).stylize("bold")
        if head.cell_length > called + 3:
            lines.append(head)
            head = Content("")
        lines.append(head.pad_right(called + 4 - head.cell_length) + plots.axis(ends, bar))
        for (number, model), value in zip(present, values[name], strict=True):
            figure = model.figures[name]
            shown = Content(one_line(names[number])).truncate(called, ellipsis=True)
            drawn = plots.interval(figure.value, figure.low, figure.high, across, bar, number)
            sign = (f"{plots.mark(number)} ", plots.colour(number))
            padded = shown.pad_right(called - shown.cell_length)
            lines.append(Content.assemble(sign, padded, "  ", drawn, f"  {value}"))
        lines += [_change(each, several=len(names) > 2) for each in task.comparisons if each.figure == name]
        lines.append(Content(""))
    return lines


def _with(models: Sequence[tuple[int, ModelResult]], figure: str) -> list[tuple[int, ModelResult]]:
    return [(number, model) for number, model in models if figure in model.figures]


def _change(comparison: Comparison, several: bool) -> Content:
    trend = runs.trend(comparison)
    sign, style = TRENDS[trend]
    told = f"{sign} {trend if trend != 'unclear' else 'no clear difference'}: {words.compared(comparison)}"
    more = [f"to {one_line(comparison.after)}"] if several else []
    if comparison.outcomes is not None:
        both, lost, won, neither = comparison.outcomes
        more.append(f"both {both}, lost {lost}, won {won}, neither {neither}")
    if comparison.detectable is not None:
        more.append(f"finds from {words.distance(comparison.detectable, comparison.difference.unit)}")
    return Content.assemble((told, style), ("".join(f" · {each}" for each in more), MUTED))


def _plots(task: TaskReport, width: int) -> list[Content]:
    """Error classes, calibration and latency, as many side by side as there is room for."""
    drawings = [found for made in (_classes, _calibration, _latency) if (found := made(task, min(width, _PLOT_WIDTH)))]
    columns = max(1, (width + _GAP) // (_PLOT_WIDTH + _GAP))
    if len(drawings) <= columns and drawings:
        # What there is may use all of the width, up to where it would look empty.
        each = min((width - _GAP * (len(drawings) - 1)) // len(drawings), 2 * _PLOT_WIDTH)
        drawings = [found for made in (_classes, _calibration, _latency) if (found := made(task, each))]
    else:
        each = min(width, _PLOT_WIDTH)
    lines = []
    for start in range(0, len(drawings), columns):
        lines += [*plots.beside(drawings[start : start + columns], each, _GAP), Content("")]
    return lines


def _classes(task: TaskReport, width: int) -> list[Content]:
    found = markdown.error_classes(task)
    if not found:
        return []
    most = max(model.classes.get(name, 0) for model in task.models for name in found)
    called = min(max(map(len, found)), width // 3)
    room = max(1, width - called - len(str(most)) - 5)
    lines = [Content("Samples by verdict").stylize("bold")]
    for name in found:
        for number, model in enumerate(task.models):
            count = model.classes.get(name, 0)
            label = Content(one_line(name) if number == 0 else "").truncate(called, ellipsis=True)
            drawn = plots.bar(count, most, room, number)
            sign = (f"  {plots.mark(number)} ", plots.colour(number))
            lines.append(Content.assemble(label.pad_right(called - label.cell_length), sign, drawn, f" {count}"))
    return lines


def _calibration(task: TaskReport, width: int) -> list[Content]:
    found = [(number, model.calibration) for number, model in enumerate(task.models) if model.calibration]
    if not found:
        return []
    points = [(number, [(each.stated, each.observed) for each in made.bins]) for number, made in found]
    errors = ", ".join(f"{plots.mark(number)} {made.expected_error:.3f}" for number, made in found)
    head = Content.assemble(("Calibration", "bold"), (f"  expected error {errors}", MUTED)).truncate(width)
    return [head, *plots.reliability(points, width, _PLOT_HEIGHT)]


def _latency(task: TaskReport, width: int) -> list[Content]:
    found = [(number, model.latency_seconds) for number, model in enumerate(task.models) if model.latency_seconds]
    drawn = plots.cumulative(found, width, _PLOT_HEIGHT, lambda seconds: words.quantity(seconds, "seconds"))
    head = Content.assemble(("Latency", "bold"), ("  share answered within", MUTED)).truncate(width)
    return [head, *drawn] if drawn else []
