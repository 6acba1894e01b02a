"""`hone models health`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evals.health import Days, Health


def health(
    alias: Annotated[str, typer.Argument(help="The alias whose version is looked at.")] = "champion",
    days: Annotated[int, typer.Option(min=1, max=365, help="Days that are compared.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare the live version's days in use with its gate evidence and with earlier days; say when to tune again."""
    from dataclasses import asdict

    from assistant.answer_counts import AnswerCounts
    from assistant.feedback import Feedback
    from assistant.models.registry import Registry
    from evals.health import health as look
    from tui import tables

    found = look(alias, days, Registry(), AnswerCounts(), Feedback())
    if as_json:
        tables.print_json(asdict(found))
        return
    typer.echo(f"{found.alias} is {found.version} since {found.promoted[:16].replace('T', ' ')} (UTC)")
    typer.echo(_evidence(found))
    measures = [_column(each) for each in (found.now, *found.before)]
    rows = [(name, *(column[name] for column in measures)) for name in measures[0]]
    tables.print_table(("", *(each.what for each in (found.now, *found.before))), rows)
    for check in found.checks:
        if check.finding == "worse":
            typer.echo(f"worse than {check.against}: {check.measure} {_figure(check.then)} -> {_figure(check.now)}")
    typer.echo(f"{found.verdict}: {found.advice}")


def _evidence(found: "Health") -> str:
    evidence = found.evidence
    if evidence is None:
        return "promoted without a gate's decision"
    tasks = ", ".join(f"{task} {difference:+.3f}" for task, difference in evidence.differences.items())
    which = "" if evidence.for_this_version else " (for another version)"
    return f"the gate said {evidence.outcome} against {evidence.against}{which}" + (f": {tasks}" if tasks else "")


def _column(days: "Days") -> dict[str, str]:
    counted = days.counted
    return {
        "days": f"{days.first} to {days.last}",
        "version": days.version,
        "completions shown": str(days.shown),
        "taken": _share(days.taken, days.shown),
        "answers": str(counted.answers),
        "refusals": _share(counted.refused, counted.answers),
        "repeating": _share(counted.repeating, counted.answers),
        "cut at the limit": _share(counted.cut, counted.answers),
        "seconds (median)": _figure(counted.seconds),
        "tokens (median)": _figure(counted.tokens),
    }


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
