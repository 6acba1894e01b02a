"""A job's log as it grows, and how the job stands afterwards."""

import time
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from tuning.jobs.job import Job
    from tuning.jobs.state import Status

_SECONDS = 0.5


def print_log(job: "Job", lines: int, *, follow: bool, err: bool = False) -> None:
    """Prints the log; Ctrl-C leaves it and ends this command alone, with exit code 130.

    Args:
        lines: how many before the end to begin with.
        follow: go on until the job has ended, and tell on standard error what it waits for.
        err: on standard error.
    """
    from tui.inert import inert
    from tuning.jobs import state
    from tuning.jobs.tail import Tail

    tail, told = Tail(job.log, lines), ""
    try:
        while True:
            status = state.settled(job) if follow else None
            active = status is not None and status.is_active
            for line in tail.read_on(whole=active):
                typer.echo(inert(line), err=err)
            if status is None or not active:
                return
            if status.state == "waiting" and status.why != told:
                told = status.why
                typer.echo(f"hone: job {job.id} waits: {inert(told)}", err=True)
            time.sleep(_SECONDS)
    except KeyboardInterrupt:
        typer.echo(f"\nhone: job {job.id} goes on; stop it by `hone jobs stop {job.id}`", err=True)
        raise typer.Exit(130) from None


def to_the_end(job: "Job", as_json: bool) -> int:
    """Follows a job on standard error and tells how it ended; returns 0 when that was well."""
    from tuning.jobs import state

    print_log(job, 1, follow=True, err=True)
    status = state.settled(job)
    tell(status, as_json, "")
    return 0 if status.state == "done" else (status.ended and status.ended.exit_code) or 1


def tell(status: "Status", as_json: bool, meanwhile: str) -> None:
    """How a job stands, on standard output.

    Args:
        meanwhile: what to say of one that has not ended.
    """
    from tui import tables
    from tui.jobs.described import summary

    if as_json:
        tables.print_json(summary(status))
        return
    words = status.why if not status.is_active else meanwhile + (f" ({status.why})" if status.why else "")
    typer.echo(f"job {status.job.id}: {words}")
    if status.ended and status.ended.advice:
        typer.echo(f"  {status.ended.advice}")
