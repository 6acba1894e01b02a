"""The `hone` command: its commands, and the app without one."""

import sys

import typer

from assistant.errors import HoneError
from tui import interrupts
from tui.commands.program import app

__all__ = ["app", "main"]


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"hone {version('hone-assistant')}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    model: str | None = typer.Option(None, "--model", help="Base name, path, adapter NAME[@DIGEST] or alias."),
    session: str | None = typer.Option(None, "--session", help="Resume this conversation."),
    plain: bool = typer.Option(
        False, "--plain", help="Chat by lines: for screen readers, pipes, and terminals that the app does not fit."
    ),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Without a command: open the assistant in this folder."""
    if context.invoked_subcommand is None and plain:
        from tui.plain import chat as by_lines

        raise typer.Exit(by_lines.run(model=model, session=session))
    if context.invoked_subcommand is None:
        from tui.app import run

        run(model=model, session=session)


def main() -> None:
    """Runs the command line; a HoneError becomes one line on standard error and its exit code."""
    interrupts.keep()
    try:
        app()
    except HoneError as error:
        print(f"hone: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
