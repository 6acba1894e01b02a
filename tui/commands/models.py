"""`hone models`."""

import typer

app = typer.Typer(help="Base models and adapters.", rich_markup_mode=None)
