"""`hone gate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperCommand

from tui.commands import detached, eval_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evals.gate_inputs import Measured, Wanted
    from evals.report.schema import Decision, Report

FAULT = 3
"""Exit code of everything that is no decision; 1 and 2 are decisions."""


class GateCommand(TyperCommand):
    """A command line that cannot be read ends with 3: click's own 2 would say that the measurement was inconclusive."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            error.exit_code = FAULT  # type: ignore[misc]
            raise


def gate(
    context: typer.Context,
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="The model that may be promoted.")],
    against: Annotated[str, typer.Option("--against", metavar="M", help="The model that it would replace.")],
    *,
    tasks: Annotated[
        str,
        typer.Option(metavar="T,...", help="TASK, TASK=BUDGET or TASK:FIGURE=BUDGET. Default: all in the reports."),
    ] = "",
    reports: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="DIR",
            help="Read reports here; what is missing is measured and kept here. Default: a new folder of Hone's.",
        ),
    ] = None,
    max_regression: Annotated[
        float, typer.Option(min=0, help="How much worse a task may get, in its figure's unit (0.02: two points).")
    ] = 0.0,
    max_forgetting: Annotated[
        float | None,
        typer.Option(
            min=0, help="The same for general tasks (humaneval, mbpp, mbpp-plus, infill). Default: --max-regression."
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Level of the tests and of the false-discovery rate.")
    ] = 0.05,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Measure what no report holds.")] = True,
    repository: Annotated[
        Path | None, typer.Option("--repo", metavar="PATH", help="For repository tasks that are measured.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="TASK=PATH", help="Data of a task that is measured. Repeat it.")
    ] = None,
    python: Annotated[
        Path | None,
        typer.Option("--python", metavar="PATH", help="repo-exec: the interpreter that has the repository's packages."),
    ] = None,
    leave_out: Annotated[
        bool,
        typer.Option("--leave-out-unsound", help="Measure without items whose reference fails here (a tenth at most)."),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Items of each task that is measured.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Samples of each item of generation tasks.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, max=2.0, help="Of several samples; 0 is greedy.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses items and resamples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the decision as one JSON object.")] = False,
    detach: detached.Detach = False,
    on: detached.On = "local",
    after: detached.After = None,
    priority: detached.Priority = 0,
    memory_gb: detached.MemoryGb = None,
    cores: detached.Cores = None,
) -> None:
    """Decide whether CANDIDATE may replace M.

    Exit code 0: better or equal, within the budgets; 1: a regression; 2: inconclusive; 3: no decision could be made.
    With --detach, --on slurm or --on ray it is a job whose last step ends so; see `hone jobs`.
    """
    import traceback

    from assistant.errors import HoneError
    from evals import gate_inputs
    from evals.report import runs
    from tui.commands import listed

    folder = reports
    try:
        wishes = detached.Wishes(detach, on, [], after or [], priority, memory_gb, cores)
        if wishes.is_job:
            detached.gate(context, wishes, candidate, as_json)
            return
        wishes.check_unused()
        folder = reports if reports is not None else runs.fresh_folder("gate")
        given = Told(repository, _data(data or []), python, leave_out, limit, samples, temperature, seed)
        measure = _Measure(given) if run else None
        written = _gate(candidate, against, tasks, folder, (max_regression, max_forgetting), alpha, measure, seed)
        decision = written.gate
        assert decision is not None
        _print(decision, folder, as_json)
        command = ("gate", *detached.given_words(context, ("as_json",)))
        listed.record(written, folder / gate_inputs.OUTPUT, command)
    except typer.Exit:
        # Of a job that was followed to its end.
        raise
    except KeyboardInterrupt:
        kept = f"; what was measured is kept, --report {folder} goes on with it" if folder else ""
        typer.echo(f"\nhone: stopped{kept}", err=True)
        raise typer.Exit(130) from None
    except HoneError as error:
        _tell_fault(reports, str(error))
        typer.echo(f"hone: {error}", err=True)
        raise typer.Exit(FAULT) from error
    except Exception as error:
        # Python's own exit code for this is 1, which would say that the candidate is a regression.
        _tell_fault(reports, repr(error))
        traceback.print_exc()
        raise typer.Exit(FAULT) from error
    raise typer.Exit(decision.exit_code)


def _tell_fault(reports: Path | None, line: str) -> None:
    """Where CI looks for the decision, in place of one of an earlier run."""
    from evals import gate_inputs
    from evals.report import fault

    stale = ("decision.json", "report.json", "report.md", "report.html", "review.sarif")
    folder = None if reports is None else reports / gate_inputs.OUTPUT
    if problem := fault.write("hone gate", line, folder, stale):
        typer.echo(f"hone: {problem}", err=True)


def _gate(
    candidate: str,
    against: str,
    tasks: str,
    folder: Path,
    budgets: tuple[float, float | None],
    alpha: float,
    measure: "_Measure | None",
    seed: int,
) -> "Report":
    from assistant.errors import HoneError, UsageError
    from evals import gate_inputs
    from evals.gate import decide
    from evals.report.write import write

    one, other = gate_inputs.known(candidate), gate_inputs.known(against)
    if one.digest is not None and one.digest == other.digest:
        raise UsageError(f"{candidate} and {against} are the same model")
    found = gate_inputs.reports(folder)
    text = tasks or ",".join(gate_inputs.compared(found, one, other))
    if not text:
        raise UsageError(f"no report in {folder} compares {candidate} with {against}; name what to measure by --tasks")
    wanted = gate_inputs.wanted(text, *budgets)
    measured: dict[str, Measured] = {}
    if measure is not None:
        for each in wanted:
            # A mistyped last task must not come out after the others were measured for an hour.
            if gate_inputs.find(found, each.task, one, other) is None:
                measure.check(each)
    for each in wanted:
        present = gate_inputs.find(found, each.task, one, other)
        if present is None and measure is not None:
            measure.run(each, candidate, against, folder / gate_inputs.folder_name(each.task))
            present = gate_inputs.find(gate_inputs.reports(folder), each.task, one, other)
        if present is None:
            # A file's task has the file's name there, and one that is asked by chat is called so.
            others = ", ".join(gate_inputs.compared(found, one, other))
            raise HoneError(
                f"no report in {folder} compares {candidate} with {against} on {each.task}, in the versions that they "
                "are now, as they are served now" + (f"; there are such of {others}" if others else "")
            )
        measured[each.task] = present
    decision = decide(measured, wanted, alpha, seed)
    whole = _whole(list(measured.values()), decision)
    write(whole, folder / gate_inputs.OUTPUT)
    return whole


def _whole(measured: "list[Measured]", decision: "Decision") -> "Report":
    """One report of all tasks with the decision, on the newest report's machine."""
    from dataclasses import replace
    from datetime import UTC, datetime

    newest = max((each.report for each in measured), key=lambda report: report.created)
    rungs = sorted({each.report.sandbox for each in measured if each.report.sandbox})
    return replace(
        newest,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sandbox=", ".join(rungs) or None,
        tasks=tuple(each.task for each in measured),
        gate=decision,
    )


@dataclass(frozen=True)
class Told:
    """What the user says of measuring; each goes to the tasks that read it."""

    repository: Path | None
    data: "Mapping[str, str]"
    python: Path | None
    leave_out: bool
    limit: int | None
    samples: int | None
    temperature: float | None
    seed: int

    def options(self, task: str) -> list[str]:
        """Of `hone eval`, for one task."""
        given: dict[str, tuple[str, object]] = {
            "seed": ("--seed", self.seed),
            "repository": ("--repo", self.repository),
            "data": ("--data", self.data.get(task)),
            "python": ("--python", self.python),
            "limit": ("--limit", self.limit),
            "samples": ("--samples", self.samples),
            "temperature": ("--temperature", None if self.temperature is None else f"{self.temperature:g}"),
        }
        words = [
            word
            for name, (flag, value) in given.items()
            if value is not None and eval_options.reads(task, name)
            for word in (flag, str(value))
        ]
        return [*words, *(["--leave-out-unsound"] if self.leave_out and eval_options.reads(task, "leave_out") else [])]


class _Measure:
    """Measures a task with `hone eval`, in a process of its own; says which command that is."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def check(self, wanted: "Wanted") -> None:
        """
        Raises:
            UsageError: there is no such task, or it lacks what it is measured on.
        """
        from assistant.errors import UsageError
        from evals.tasks import named

        if wanted.task.endswith(named.FILES) and not Path(wanted.task).is_file():
            raise UsageError(f"there is no file {wanted.task}, which is to be a task")
        if wanted.task != "repo":
            named.check(named.Wanted((wanted.task,), data=self._told.data, repository=self._told.repository))
        elif self._told.repository is None:
            raise UsageError("repo needs --repo PATH")

    def run(self, wanted: "Wanted", candidate: str, against: str, out: Path) -> None:
        """
        Raises:
            HarnessError: it failed, and why.
            KeyboardInterrupt: it was interrupted.
        """
        import os
        import shlex
        import subprocess
        import sys

        from evals.errors import HarnessError
        from evals.report import fault

        arguments = ["eval", wanted.task, "--model", against, "--model", candidate, "--out", str(out)]
        arguments += self._told.options(wanted.task)
        typer.echo(f"$ hone {shlex.join(arguments)}", err=True)
        # The step summary gets the whole report once, from the gate.
        environment = {name: value for name, value in os.environ.items() if name != "GITHUB_STEP_SUMMARY"}
        # -P: a folder `tui` where the user stands is not this program.
        command = [sys.executable, "-P", "-m", "tui", *arguments]
        # Of an earlier run; what is there afterwards tells why this one failed.
        fault.forget(out)
        done = subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=False)
        if done.returncode == 130:
            raise KeyboardInterrupt
        if done.returncode:
            # CI shows the decision's own line, without what stands above it in the log.
            why = f": {reason}" if (reason := fault.read(out)) else ""
            raise HarnessError(f"{wanted.task} could not be measured: hone eval ended with {done.returncode}{why}")


def _data(given: list[str]) -> dict[str, str]:
    from assistant.errors import UsageError

    found = {}
    for each in given:
        task, equals, path = each.partition("=")
        if not task or not equals or not path:
            raise UsageError(f"--data {each!r}: write TASK=PATH, such as mbpp=mbpp.jsonl")
        found[task] = path
    return found


def _print(decision: "Decision", folder: Path, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from assistant import atomic
    from evals.gate_inputs import OUTPUT
    from evals.report.schema import SCHEMA_VERSION

    told = {"schema_version": SCHEMA_VERSION, "exit_code": decision.exit_code, **asdict(decision)}
    atomic.write_json(folder / OUTPUT / "decision.json", told)
    typer.echo(f"report: {folder / OUTPUT / 'report.html'}", err=True)
    typer.echo(json.dumps(told, ensure_ascii=False) if as_json else decision.explanation)
