"""Figures and decisions as people read them."""

from evals.report.schema import Comparison, Decision, Figure, TaskDecision, TaskOutcome
from evals.statistics import smallest_decisive

NAMED = ("bits per byte", "tokens per second")
"""Units that stand in the name of each figure that has them, and not beside its value."""


def label(name: str) -> str:
    """A figure's name as words."""
    return name.replace("_", " ")


def quantity(value: float, unit: str) -> str:
    """With its unit, but for the units of `NAMED`."""
    if unit == "share":
        return f"{value:.1%}"
    if unit == "seconds":
        return f"{1000 * value:.0f} ms" if abs(value) < 1 else f"{value:.2f} s"
    if unit == "bytes":
        return f"{value / 1e6:,.0f} MB" if abs(value) >= 1e6 else f"{value:,.0f} bytes"
    if unit == "joules":
        return f"{1000 * value:.0f} mJ" if abs(value) < 1 else f"{value:.2f} J"
    if unit == "tokens per second":
        return f"{value:,.1f}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def with_interval(figure: Figure) -> str:
    shown = quantity(figure.value, figure.unit)
    if figure.n == 0:
        return "-"
    if figure.low is None or figure.high is None:
        return shown
    return f"{shown} [{quantity(figure.low, figure.unit)}, {quantity(figure.high, figure.unit)}]"


def change(difference: Figure) -> str:
    """A difference of shares in points, others in their unit, with their signs."""
    if difference.n == 0:
        return "-"
    interval = ""
    if difference.low is not None and difference.high is not None:
        interval = f" [{_signed(difference.low, difference.unit)}, {_signed(difference.high, difference.unit)}]"
    points = " points" if difference.unit == "share" else ""
    return _signed(difference.value, difference.unit) + interval + points


def relative(figure: Figure) -> str:
    interval = "" if figure.low is None or figure.high is None else f" [{figure.low:+.1%}, {figure.high:+.1%}]"
    return f"{figure.value:+.1%}{interval}"


def compared(comparison: Comparison) -> str:
    """The change, relative where that is told, with its interval, and p where there is one."""
    found = comparison.relative
    shown = relative(found) if found else change(comparison.difference)
    return shown if comparison.p is None else f"{shown}, {p_value(comparison.p)}"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def distance(value: float, unit: str) -> str:
    """A size without a sign: `3.7 points`."""
    if unit == "share":
        return f"{100 * abs(value):.1f} points"
    shown = quantity(abs(value), unit)
    return f"{shown} {unit}" if unit in NAMED else shown


def reason(tested: TaskDecision, outcome: TaskOutcome, units: int, alpha: float) -> str:
    """One sentence on one task."""
    unit, budget = tested.difference.unit, distance(tested.budget, tested.difference.unit)
    where = f"{tested.task} ({label(tested.figure)})"
    tail = f"{change(tested.difference)} by {tested.method}"
    if outcome == "equal":
        return f"On {where} nothing differs in any of {units} groups."
    if outcome == "better":
        shown = "" if tested.p is None else f", {p_value(tested.p)} of no difference"
        return f"On {where} it is better: {change(tested.difference)}{shown}."
    if outcome == "within budget":
        allowed = f"the budget of {budget}" if tested.budget else "what is allowed, which is nothing"
        return f"On {where} any loss is within {allowed}: {tail}, {p_value(tested.p_within)}."
    if outcome == "regression":
        over = f"by more than the budget of {budget}" if tested.budget else "and no loss is allowed"
        return f"On {where} it is worse {over}: {tail}, {p_value(tested.p_adjusted)} after adjustment for all tasks."
    if units < smallest_decisive(alpha):
        few = f"{units} group is" if units == 1 else f"{units} groups are"
        return f"On {where} {few} too few to show anything at alpha {alpha:g}: {tail}."
    found = "" if tested.detectable is None else f"; it can find differences from {distance(tested.detectable, unit)}"
    question = f"any loss is within the budget of {budget}" if tested.budget else "it is worse or better"
    return f"On {where} it stays open whether {question}: {tail}{found}{_needed(tested)}."


def explanation(decision: Decision) -> str:
    """One paragraph: what was decided and why."""
    openings = {
        "pass": f"PASS: {decision.candidate} may replace {decision.against}.",
        "regression": f"REGRESSION: {decision.candidate} must not replace {decision.against}.",
        "inconclusive": f"INCONCLUSIVE: it is not shown that {decision.candidate} may replace {decision.against}.",
    }
    order = {"regression": 0, "inconclusive": 1}
    tasks = sorted(decision.tasks, key=lambda each: order.get(each.outcome, 2))
    closings = {
        "pass": "Every task is within its budget, and no regression was shown.",
        "regression": "One task with a regression is enough to fail"
        + (", and the false-discovery rate over all tasks is held at alpha." if len(decision.tasks) > 1 else "."),
        "inconclusive": "No regression was shown, but neither that there is none: measure more items or samples, or "
        "allow a larger budget.",
    }
    sentences = [openings[decision.outcome], *(each.reason for each in tasks), closings[decision.outcome]]
    return " ".join([*sentences, f"All tests are two-sided at alpha {decision.alpha:g}."])


def _needed(tested: TaskDecision) -> str:
    """The budget with which the same measurement would pass."""
    difference = tested.difference
    worst = difference.low if difference.better == "higher" else difference.high
    if worst is None:
        return ""
    loss = -worst if difference.better == "higher" else worst
    return f"; a budget of {distance(loss, difference.unit)} would have passed" if loss > tested.budget else ""


def _signed(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:+.1f}"
    shown = quantity(value, unit)
    return shown if value < 0 else f"+{shown}"
