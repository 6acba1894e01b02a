"""The commands of `hone`, and their parsers for what writes command lines.

Heavy imports stay inside the commands, so that every `--help` answers at once.
"""

from typing import Any

import typer

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


def parser(*names: str) -> Any:
    """The click command of that name, such as `parser("models", "promote")`."""
    found: Any = typer.main.get_command(app)
    for name in names:
        found = found.commands[name]
    return found
