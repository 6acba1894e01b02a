"""A report that a command wrote, put among the runs that the app lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from evals.report.schema import Report


def record(report: "Report", folder: Path, command: Sequence[str]) -> None:
    """The report is written already, so what fails here is said and no more."""
    from assistant.errors import HoneError
    from evals.report import runs

    try:
        runs.record(report, folder, command)
    except HoneError as error:
        typer.echo(f"hone: {error}", err=True)
