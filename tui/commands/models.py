"""`hone models`: what is on this disk, what was tuned, what is live."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui.commands import adapters, garbage, health

if TYPE_CHECKING:
    from assistant.models.registry import Event
    from tui.models.described import Base

app = typer.Typer(
    name="models",
    help="Base models, tuned adapters, and what is live.",
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(adapters.export)
app.command("import")(adapters.import_)
app.command()(adapters.merge)
app.command()(garbage.gc)
app.command()(health.health)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """Base models, tuned adapters, and what is live. Without a command: list them."""
    if context.invoked_subcommand is None:
        _list(as_json)


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List base models, adapters and aliases."""
    _list(as_json)


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="M", help="Base name, path, adapter NAME[@DIGEST] or alias.")],
    as_json: AsJson = False,
) -> None:
    """Show one model: where it is, its digests, and for an adapter what it was tuned on."""
    from assistant.models import store
    from assistant.models.registry import Registry
    from assistant.models.resolve import resolve
    from tui import tables
    from tui.models import described as of

    registry = Registry()
    version = registry.find(model)
    if version:
        described = of.adapter_details(version, registry)
    elif found := store.find(model):
        described = of.base_details(found)
    else:
        catalogued = of.catalogue_details(model)
        if catalogued is None:
            resolve(model, fetch_missing=False)  # says what is wrong with the name
            raise AssertionError("a model that is not on this disk cannot resolve")
        described = catalogued
    tables.print_json(described) if as_json else tables.print_fields(described)


@app.command()
def pull(
    model: Annotated[str, typer.Argument(metavar="M", help="Catalogue name or hub id (org/name, org/name:Q4_K_M).")],
    tuning: Annotated[bool, typer.Option(help="Also make the form that `hone tune` needs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download a model, so that it works without a network from then on."""
    from assistant.models import store
    from assistant.models.resolve import resolve
    from assistant.models.serving_form import serving_gguf
    from tui import tables
    from tui.models.described import base_details
    from tui.progress import transfer_progress

    with transfer_progress() as progress:
        base = resolve(model, progress=progress).base
        if base.gguf:
            serving_gguf(base.gguf, progress)
        folder = store.tuning_form(base, progress) if tuning else None
    described = {**base_details(base), **({"tuning_form": str(folder)} if folder else {})}
    tables.print_json(described) if as_json else tables.print_fields(described)


@app.command()
def promote(
    adapter: Annotated[str, typer.Argument(metavar="NAME[@DIGEST]", help="The adapter version to put to use.")],
    alias: Annotated[str, typer.Option("--as", metavar="ALIAS", help="The name it answers to.")] = "champion",
    evidence: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A gate's decision (JSON). Default: the newest about exactly this version."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although no gate let it pass; the registry records that.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Point an alias to an adapter version that a gate let pass."""
    from tui.models import verbs

    _print_event(verbs.promote(adapter, alias, verbs.read_evidence(evidence), force), as_json)


@app.command()
def rollback(
    alias: Annotated[str, typer.Argument(help="The alias to point back.")] = "champion", as_json: AsJson = False
) -> None:
    """Point an alias back to what it pointed to before."""
    from tui.models import verbs

    _print_event(verbs.rollback(alias), as_json)


@app.command()
def history(
    alias: Annotated[str | None, typer.Argument(help="Only the events of this alias.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was registered, promoted, rolled back and removed, and when."""
    from assistant.models.registry import Registry
    from tui import tables
    from tui.models.described import event_details

    events = Registry().history(alias, brief=not as_json)
    if as_json:
        tables.print_json({"events": [event_details(event) for event in events]})
    elif not events:
        typer.echo(f"no event has touched {alias} yet" if alias else "nothing has been tuned or promoted yet")
    else:
        rows = [
            (event.time[:19].replace("T", " "), event.kind, event.alias, event.target, event.replaced, event.actor)
            for event in events
        ]
        tables.print_table(("time (UTC)", "event", "alias", "version", "replaced", "by"), rows)


@app.command()
def live(
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Then, such as 2026-11-22 or 2026-11-22T14:30; default: now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What each alias points to, or pointed to at a time: since when, and who decided it."""
    from datetime import UTC, datetime

    from assistant.errors import UsageError
    from assistant.models.registry import Registry
    from tui import tables
    from tui.models.described import event_details

    try:
        # Without a zone it is the time on this machine's clock.
        when = datetime.now(UTC) if at is None else datetime.fromisoformat(at).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--at {at}: write a time as 2026-11-22, 2026-11-22T14:30 or 2026-11-22T14:30+01:00"
        ) from error
    found = Registry().live_at(when)
    shown = when.isoformat(timespec="seconds")
    if as_json:
        tables.print_json({"at": shown, "live": [event_details(event) for event in found.values()]})
    elif not found:
        typer.echo(f"nothing was promoted by {shown[:19].replace('T', ' ')} UTC")
    else:
        rows = [
            (alias, event.target, event.time[:19].replace("T", " "), event.kind, event.actor)
            for alias, event in found.items()
        ]
        tables.print_table(("alias", "version", "since (UTC)", "by", "who"), rows)


@app.command("rm")
def remove(
    model: Annotated[str, typer.Argument(metavar="M", help="NAME@DIGEST of an adapter, or a fetched base model.")],
    force: Annotated[
        bool, typer.Option("--force", help="Although adapters need it, or it is the one asked by default.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete an adapter version or a fetched base model from this disk, unless something uses it."""
    from tui import tables
    from tui.models import verbs

    removed = verbs.remove(model, force)
    if as_json:
        tables.print_json({"removed": removed.name, "freed_bytes": removed.freed})
    else:
        typer.echo(f"removed {removed.name}, {removed.freed / 1e6:,.1f} MB freed")


def _list(as_json: bool) -> None:
    from dataclasses import asdict

    from assistant.models.registry import Registry
    from tui import tables
    from tui.models.described import bases, version_details

    registry = Registry()
    aliases = registry.aliases()
    known = bases()
    adapters = [
        {**version_details(version), "aliases": [alias for alias, live in aliases.items() if live == version]}
        for version in registry.versions()
    ]
    if as_json:
        live = {alias: version.id for alias, version in aliases.items()}
        tables.print_json({"bases": [asdict(base) for base in known], "adapters": adapters, "aliases": live})
        return
    rows: list[tuple[Any, ...]] = [
        (base.name, _stored(base), base.licence, _gib(base.serve_gib), _gib(base.tune_gib), base.summary)
        for base in known
    ]
    tables.print_table(("base model", "on disk", "licence", "to serve", "to tune", ""), rows)
    typer.echo()
    if not adapters:
        typer.echo("no adapters yet: `hone tune PATH --name NAME` makes one")
        return
    rows = [
        (adapter["id"], adapter["base"], adapter["created"][:16].replace("T", " "), ", ".join(adapter["aliases"]))
        for adapter in adapters
    ]
    tables.print_table(("adapter", "base", "tuned (UTC)", "live as"), rows)


def _stored(base: "Base") -> str:
    return f"{(base.bytes or 0) / 1e6:,.0f} MB" if base.cached else f"no ({(base.download_bytes or 0) / 1e6:,.0f} MB)"


def _gib(amount: float | None) -> str:
    return f"{amount:g} GiB" if amount else ""


def _print_event(event: "Event", as_json: bool) -> None:
    from tui import tables
    from tui.models.described import event_details

    if as_json:
        tables.print_json(event_details(event))
    else:
        was = f" (was {event.replaced})" if event.replaced else ""
        typer.echo(f"{event.alias} -> {event.target}{was}")
