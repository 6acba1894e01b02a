"""The `hone` command: its commands, and the app without one."""

import sys

import typer

from assistant.errors import HoneError, UsageError
from tui import encodings, interrupts
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
    debug: bool = typer.Option(
        False, "--debug", help="Write what the assistant does to a log; nothing that is typed or answered is in it."
    ),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Without a command: open the assistant in this folder."""
    if (command := context.invoked_subcommand) is not None:
        given = {"--model": model, "--session": session, "--plain": plain, "--debug": debug}
        lost = next((flag for flag, value in given.items() if value), None)
        if lost is not None:
            raise UsageError(f"{lost} in front of {command} is for the assistant; see `hone {command} --help`")
        return
    from tui import faults

    log = faults.start_log() if debug else None
    if plain:
        from tui.plain import chat as by_lines

        raise typer.Exit(by_lines.run(model=model, session=session, log=log))
    from tui.app import run

    run(model=model, session=session, log=log)


def main() -> None:
    """Runs the command line; a HoneError becomes one line on standard error and its exit code."""
    interrupts.keep()
    encodings.tolerate(sys.stdout, sys.stderr)
    try:
        app()
    except HoneError as error:
        print(f"hone: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
