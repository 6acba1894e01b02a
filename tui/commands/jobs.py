"""`hone jobs`: what runs, waits and ended, on this machine, on Slurm and on Ray."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tuning.jobs.job import Job

app = typer.Typer(
    name="jobs",
    help="Jobs: tuning and evaluation that outlive the terminal.",
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="Its id, the beginning of it, or its name.")]
Force = Annotated[bool, typer.Option("--force", help="Also of another machine that has been silent for 10 minutes.")]
All = Annotated[bool, typer.Option("--all", help="Also the older ones that have ended.")]

_SHOWN_ENDED = 15
_MARGIN_SECONDS = 15.0
"""After a step was killed for not leaving in time."""


@app.callback()
def jobs(context: typer.Context, every: All = False, as_json: AsJson = False) -> None:
    """Jobs: tuning and evaluation that outlive the terminal. Without a command: list them."""
    if context.invoked_subcommand is None:
        _list(every, as_json)


@app.command("list")
def list_jobs(every: All = False, as_json: AsJson = False) -> None:
    """List jobs: what runs and waits, and what ended last."""
    _list(every, as_json)


@app.command()
def show(job: Identifier, as_json: AsJson = False) -> None:
    """Show one job: its steps and their evidence, where it is, and how it ended."""
    from tui import tables
    from tui.jobs.described import details, in_words
    from tuning.jobs import state

    status = state.settled(_find(job))
    if as_json:
        tables.print_json(details(status))
    else:
        tables.print_fields(in_words(status))


@app.command()
def logs(
    job: Identifier,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Begin so many lines before the end.")] = 200,
) -> None:
    """Print what a job's steps said."""
    from tui.commands.following import print_log

    print_log(_find(job), lines, follow=follow)


@app.command("why-pending")
def why_pending(job: Identifier, as_json: AsJson = False) -> None:
    """Tell why a job waits, in words, and what can be done."""
    from tui import tables
    from tui.jobs.described import harmless
    from tuning.jobs import ray_state, slurm_state, state

    found = _find(job)
    status = state.settled(found)
    told: dict[str, Any] = {"job": found.id, "state": status.state, "why": status.why}
    if status.is_active and status.spec.slurm is not None:
        told |= slurm_state.pending(found)
    if status.is_active and status.spec.ray is not None:
        told |= ray_state.pending(found, status.spec.ray)
    if as_json:
        tables.print_json(told)
    elif "meaning" in told:
        tables.print_fields(harmless({key: value for key, value in told.items() if key != "why" and value}))
    else:
        words = told["why"] or "nothing is in its way"
        typer.echo(f"job {found.id} is {status.state}" + (f": {words}" if status.state != "done" else ""))


@app.command()
def stop(
    job: Identifier,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has ended.")] = True,
    as_json: AsJson = False,
) -> None:
    """Stop a job; a training run leaves a checkpoint first, and `resume` goes on from it."""
    from tuning.jobs import verbs

    found = _find(job)
    seen = verbs.stop(found)
    if wait:
        seen = verbs.wait(found, seen.spec.stop_seconds + _MARGIN_SECONDS)
    _tell(found, as_json, "is stopping")


@app.command()
def resume(job: Identifier, force: Force = False, as_json: AsJson = False) -> None:
    """Go on with a job that failed, died or was stopped: from the last checkpoint of the step that is not done."""
    from tuning.jobs import verbs

    found = _find(job)
    verbs.resume(found, force)
    _tell(found, as_json, "goes on")


@app.command("rm")
def remove(
    job: Annotated[str | None, typer.Argument(metavar="[ID]", help="Its id, the beginning of it, or its name.")] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, max=36500, metavar="DAYS", help="All that ended longer ago than that.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Remove what a job that has ended kept: its log, figures and reports. Adapters and checkpoints stay."""
    from assistant.errors import UsageError
    from tui import tables
    from tuning.jobs import job as jobs_of
    from tuning.jobs import verbs

    if (job is None) == (older_than is None):
        raise UsageError("say which job to remove: an ID, or --older-than DAYS")
    if older_than is not None:
        removed = verbs.remove_older(jobs_of.folder(), older_than)
        ids = [one.id for one in removed]
        words = f"removed {len(ids)} job{'' if len(ids) == 1 else 's'}: {', '.join(ids)}" if ids else "no job is so old"
        tables.print_json({"removed": ids}) if as_json else typer.echo(words)
        return
    found = _find(job or "")
    verbs.remove(found, force)
    tables.print_json({"removed": found.id}) if as_json else typer.echo(f"removed job {found.id}")


def _list(every: bool, as_json: bool) -> None:
    from tui import tables
    from tui.jobs.described import HEADER, row, summary
    from tuning.jobs import job, state

    jobs = job.folder()
    marked = job.active(jobs)
    active = {one.id for one in marked}
    # Of thousands that have ended only those that are shown are read.
    ended = [one for one in job.all_jobs(jobs) if one.id not in active]
    left_out = [] if every else ended[:-_SHOWN_ENDED]
    seen = state.statuses(sorted([*marked, *ended[len(left_out) :]], key=lambda one: one.id, reverse=True))
    shown = [one for one in seen if one.is_active] + [one for one in seen if not one.is_active]
    if as_json:
        tables.print_json({"jobs": [summary(one) for one in shown], "left_out": len(left_out)})
    elif not shown:
        typer.echo("there is no job yet; start one by `hone tune ... --detach`")
    else:
        tables.print_table(HEADER, [row(one) for one in shown])
        if left_out:
            typer.echo(f"and {len(left_out)} that ended earlier (--all)")


def _find(identifier: str) -> "Job":
    from tuning.jobs import job

    return job.find(job.folder(), identifier)


def _tell(job: "Job", as_json: bool, meanwhile: str) -> None:
    """How a job stands after a verb."""
    from tui.commands.following import tell
    from tuning.jobs import state

    tell(state.settled(job), as_json, meanwhile)
