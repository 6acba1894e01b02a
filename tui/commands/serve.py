"""`hone serve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from assistant.gateway.process import Running


def serve(
    model: str | None = typer.Option(None, "--model", help="Base name, path, adapter NAME[@DIGEST] or alias."),
    host: str | None = typer.Option(None, "--host", help="Address to listen on (default 127.0.0.1)."),
    port: int | None = typer.Option(None, "--port", help="Port to listen on; 0 takes a free one (default 8873)."),
    slots: int | None = typer.Option(None, "--slots", help="Requests computed together (default 2)."),
    uds: Annotated[Path | None, typer.Option("--uds", help="Listen on a Unix socket at this path instead.")] = None,
    fleet: bool = typer.Option(
        False, "--fleet", help="Load no model: stand in front of the servers of [fleet] in the configuration file."
    ),
    json_output: bool = typer.Option(False, "--json", help="Print where it listens as one JSON object."),
) -> None:
    """Serve the model to editors and tools by the OpenAI API, until Ctrl-C."""
    from assistant.config import load_settings
    from assistant.errors import UsageError
    from assistant.gateway import fleet_settings, process

    if uds is not None and (host is not None or port is not None):
        raise UsageError("--uds excludes --host and --port")
    if fleet and slots is not None:
        raise UsageError("--slots is of a model that is loaded here, and --fleet loads none")
    settings = load_settings(model=model, host=host, port=port, slots=slots)
    service = fleet_settings.load(settings) if fleet else process.Service.of(settings)

    def announce(running: "Running") -> None:
        if json_output:
            import json
            from dataclasses import asdict

            typer.echo(json.dumps({"schema_version": 1, **asdict(running)}))
        else:
            where = f"Unix socket {running.uds}" if running.uds else f"{running.url}/v1"
            typer.echo(f"{running.model} at {where}\nkey in {running.key_file}")
            typer.echo("Ctrl-C stops it.", err=True)
        import sys

        sys.stdout.flush()

    process.serve(service, settings.host, settings.port, uds, announce)
