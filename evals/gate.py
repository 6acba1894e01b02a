"""Decides from paired comparisons whether a candidate may replace another model.

Per task, with `budget` the tolerated loss and every difference turned so that more is better:

- regression: the loss is shown to exceed the budget. p-values of all tasks together are adjusted by Benjamini-Hochberg,
  since one regression among many tasks is enough to fail.
- within budget: the loss is shown not to exceed the budget (better: the candidate is shown to be better than the
  other model at all). All tasks must be within their budgets to pass, and a rule that needs all of several tests
  keeps its level without adjustment (Berger 1982), so none is made.
- equal: no item differs. Nothing was lost.
- inconclusive: neither was shown.

A test is exact McNemar (for a budget: Tango's score test) where every item is independent and asked once, else the
paired cluster bootstrap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from evals import statistics
from evals.errors import HarnessError
from evals.gate_inputs import Measured, Wanted, comparison_of
from evals.report import words
from evals.report.schema import Comparison, Decision, TaskDecision, TaskOutcome


def decide(measured: Mapping[str, Measured], wanted: Sequence[Wanted], alpha: float = 0.05, seed: int = 0) -> Decision:
    """The gate's decision.

    Args:
        measured: what was found of each wanted task.
        alpha: level of every test, two-sided, and of the false-discovery rate.

    Raises:
        HarnessError: a report does not hold what the decision needs.
    """
    if not wanted:
        raise HarnessError("the gate was given no task")
    compared = [_comparison(measured[each.task], each.figure) for each in wanted]
    tested = [_test(each, comparison, alpha, seed) for each, comparison in zip(wanted, compared, strict=True)]
    adjusted = statistics.benjamini_hochberg([each.p_regression for each in tested])
    tasks = tuple(
        _judged(replace(each, p_adjusted=p), comparison, alpha)
        for each, p, comparison in zip(tested, adjusted, compared, strict=True)
    )
    outcomes = {each.outcome for each in tasks}
    outcome: Literal["pass", "regression", "inconclusive"] = "pass"
    if "regression" in outcomes:
        outcome = "regression"
    elif "inconclusive" in outcomes:
        outcome = "inconclusive"
    models = measured[wanted[0].task]
    made = Decision(outcome, models.candidate, models.against, alpha, tasks, "")
    return replace(made, explanation=words.explanation(made))


def _comparison(measured: Measured, figure: str | None) -> Comparison:
    found = comparison_of(measured, figure)
    if found is not None:
        return found
    names = ", ".join(dict.fromkeys(each.figure for each in measured.task.comparisons))
    what = f"no figure {figure!r}; it has: {names}" if figure and names else "no comparison of the two models"
    raise HarnessError(f"the report {measured.file} of {measured.task.name} has {what}")


def _test(wanted: Wanted, comparison: Comparison, alpha: float, seed: int) -> TaskDecision:
    better = comparison.difference.better
    if better == "neither":
        raise HarnessError(
            f"{wanted.task}: more {comparison.figure} is neither better nor worse; gate on another figure"
        )
    # A tolerated loss lies below zero where more is better, above where less is.
    margin = -wanted.budget if better == "higher" else wanted.budget
    found, method, detectable = _paired(wanted.task, comparison, margin, alpha, seed)
    worse, kept = (found.p_below, found.p_above) if better == "higher" else (found.p_above, found.p_below)
    difference = replace(
        comparison.difference,
        value=found.difference.value,
        low=found.difference.low,
        high=found.difference.high,
        method=f"{method}, {1 - alpha:.0%} interval",
    )
    return TaskDecision(
        task=wanted.task,
        figure=comparison.figure,
        outcome="inconclusive",
        difference=difference,
        budget=wanted.budget,
        p=found.p,
        p_regression=worse,
        p_adjusted=worse,
        p_within=kept,
        detectable=detectable,
        method=method,
        reason="",
    )


def _paired(
    task: str, comparison: Comparison, margin: float, alpha: float, seed: int
) -> tuple[statistics.Paired, str, float | None]:
    """The test, what it is called, and the difference that it finds at this level."""
    outcomes, clusters = comparison.outcomes, comparison.clusters
    items = sum(outcomes) if outcomes is not None else 0
    if outcomes is not None and items and len(clusters) in (0, items):
        method = "exact McNemar" if margin == 0 else "Tango's score test"
        found = statistics.compare_shares(*outcomes, alpha=alpha, margin=margin)
        return found, method, statistics.detectable_share(items, (outcomes[1] + outcomes[2]) / items, alpha)
    if not clusters:
        raise HarnessError(
            f"the report of {task} keeps no paired values of {comparison.figure}; measure it again with this version"
        )
    found = statistics.compare_clusters(clusters, seed, alpha, margin)
    # Draws that never differ have no spread to tell it from.
    detectable = statistics.detectable(found.standard_error, alpha) or None
    return found, f"paired bootstrap over {len(clusters)} groups", detectable


def _judged(tested: TaskDecision, comparison: Comparison, alpha: float) -> TaskDecision:
    outcome = _outcome(tested, comparison, alpha)
    return replace(tested, outcome=outcome, reason=words.reason(tested, outcome, _units(comparison), alpha))


def _outcome(tested: TaskDecision, comparison: Comparison, alpha: float) -> TaskOutcome:
    if _units(comparison) < statistics.smallest_decisive(alpha):
        return "inconclusive"
    if tested.p_adjusted <= alpha:
        return "regression"
    if _identical(comparison):
        return "equal"
    if tested.p_within > alpha:
        return "inconclusive"
    gained = tested.difference.value * (1 if tested.difference.better == "higher" else -1) > 0
    return "better" if gained and tested.p is not None and tested.p <= alpha else "within budget"


def _units(comparison: Comparison) -> int:
    """Groups, or items that each are one."""
    return len(comparison.clusters) or sum(comparison.outcomes or ())


def _identical(comparison: Comparison) -> bool:
    """No group's figure and no item's verdict differs."""
    discordant = comparison.outcomes is not None and comparison.outcomes[1] + comparison.outcomes[2] > 0
    return not discordant and all(row[:2] == row[2:] for row in comparison.clusters)
