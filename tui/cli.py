"""The `hone` command. Heavy imports stay inside the commands, so that every `--help` answers at once."""

import sys

import typer

from assistant.errors import HoneError
from tui import interrupts
from tui.commands import (
    ask,
    chat,
    complete,
    doctor,
    evaluate,
    feedback,
    gate,
    jobs,
    models,
    review,
    scheduled,
    serve,
    tune,
)
from tui.commands.panels import PanelCommand

app = typer.Typer(
    name="hone",
    help="A coding assistant for the terminal whose model you sharpen on your own code.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("chat")(chat.chat)
app.command("ask")(ask.ask)
app.command("complete")(complete.complete)
app.command("review", cls=PanelCommand)(review.review)
app.command("tune", cls=PanelCommand)(tune.tune)
app.command("eval", cls=PanelCommand)(evaluate.evaluate)
app.command("gate", cls=gate.GateCommand)(gate.gate)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(feedback.app, name="feedback")
app.add_typer(jobs.app, name="jobs")
app.add_typer(scheduled.app, name="schedules")


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
