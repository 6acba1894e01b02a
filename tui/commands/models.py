"""`hone models`: what is on this disk, what was tuned, what is live."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.errors import HoneError, UsageError
from tui.commands import adapters

if TYPE_CHECKING:
    from assistant.models.registry import AdapterVersion, Event
    from assistant.models.store import BaseModel

app = typer.Typer(
    name="models",
    help="Base models, tuned adapters, and what is live.",
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(adapters.export)
app.command()(adapters.merge)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_EVIDENCE_LIMIT = 1 << 20


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

    registry = Registry()
    version = registry.find(model)
    if version:
        described = _adapter_details(version, registry)
    elif found := store.find(model):
        described = _base_details(found)
    else:
        catalogued = _catalogue_details(model)
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
    from tui import tables
    from tui.progress import transfer_progress

    with transfer_progress() as progress:
        base = resolve(model, progress=progress).base
        folder = store.tuning_form(base, progress) if tuning else None
    described = {**_base_details(base), **({"tuning_form": str(folder)} if folder else {})}
    tables.print_json(described) if as_json else tables.print_fields(described)


@app.command()
def promote(
    adapter: Annotated[str, typer.Argument(metavar="NAME[@DIGEST]", help="The adapter version to put to use.")],
    alias: Annotated[str, typer.Option("--as", metavar="ALIAS", help="The name it answers to.")] = "champion",
    evidence: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A JSON report to keep with the promotion.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias to an adapter version."""
    from assistant.models.registry import Registry
    from assistant.models.resolve import resolve

    registry = Registry()
    if registry.find(adapter):
        # Refuses, before it is live, an adapter that could not be served: wrong base or changed files.
        resolve(adapter, fetch_missing=False)
    event = registry.promote(adapter, alias, actor=_actor(), evidence=_read_evidence(evidence))
    _print_event(event, as_json)


@app.command()
def rollback(
    alias: Annotated[str, typer.Argument(help="The alias to point back.")] = "champion", as_json: AsJson = False
) -> None:
    """Point an alias back to what it pointed to before."""
    from assistant.models.registry import Registry

    _print_event(Registry().rollback(alias, actor=_actor()), as_json)


@app.command()
def history(
    alias: Annotated[str | None, typer.Argument(help="Only the events of this alias.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was registered, promoted, rolled back and removed, and when."""
    from assistant.models.registry import Registry
    from tui import tables

    events = Registry().history(alias)
    if as_json:
        tables.print_json({"events": [_event_details(event) for event in events]})
    elif not events:
        typer.echo(f"no event has touched {alias} yet" if alias else "nothing has been tuned or promoted yet")
    else:
        rows = [
            (event.time[:19].replace("T", " "), event.kind, event.alias, event.target, event.replaced, event.actor)
            for event in events
        ]
        tables.print_table(("time (UTC)", "event", "alias", "version", "replaced", "by"), rows)


@app.command("rm")
def remove(
    model: Annotated[str, typer.Argument(metavar="M", help="NAME@DIGEST of an adapter, or a fetched base model.")],
    as_json: AsJson = False,
) -> None:
    """Delete an adapter version or a fetched base model from this disk."""
    import shutil

    from assistant import paths
    from assistant.models import store
    from assistant.models.registry import Registry
    from tui import tables

    registry = Registry()
    version = registry.find(model)
    if version is None:
        freed = store.remove(model)
        removed = model
    else:
        _refuse_vague(model, version, registry)
        registry.remove(version.id if "@" not in model else model, actor=_actor())
        removed, freed = version.id, 0
        # Only what Hone itself put into its own folder is Hone's to delete.
        if version.folder.is_relative_to(paths.adapters_dir()) and version.folder.exists():
            freed = _folder_bytes(version.folder)
            shutil.rmtree(version.folder)
    if as_json:
        tables.print_json({"removed": removed, "freed_bytes": freed})
    else:
        typer.echo(f"removed {removed}, {freed / 1e6:,.1f} MB freed")


def _list(as_json: bool) -> None:
    from assistant.models.registry import Registry
    from tui import tables

    registry = Registry()
    aliases = registry.aliases()
    bases = _bases()
    adapters = [
        {**_version_details(version), "aliases": [alias for alias, live in aliases.items() if live == version]}
        for version in registry.versions()
    ]
    if as_json:
        live = {alias: version.id for alias, version in aliases.items()}
        tables.print_json({"bases": bases, "adapters": adapters, "aliases": live})
        return
    rows: list[tuple[Any, ...]] = [
        (base["name"], _stored(base), base["licence"], _gib(base["serve_gib"]), _gib(base["tune_gib"]), base["summary"])
        for base in bases
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


def _bases() -> list[dict[str, Any]]:
    from assistant.models import store
    from assistant.models.catalogue import CATALOGUE

    listed = []
    cached = store.cached_names()
    for name in [*CATALOGUE, *(name for name in cached if name not in CATALOGUE)]:
        entry, base = CATALOGUE.get(name), store.find(name) if name in cached else None
        place = (base.gguf.parent if base.gguf else base.folder) if base else None
        listed.append(
            {
                "name": name,
                "summary": entry.summary if entry else "",
                "licence": entry.licence if entry else base.licence if base else None,
                "cached": base is not None,
                "bytes": _folder_bytes(place) if place else None,
                "download_bytes": entry.download_bytes if entry else None,
                "serve_gib": entry.serve_gib if entry else None,
                "tune_gib": entry.tune_gib if entry else None,
                "folder": str(place) if place else None,
            }
        )
    return listed


def _stored(base: dict[str, Any]) -> str:
    return f"{base['bytes'] / 1e6:,.0f} MB" if base["cached"] else f"no ({base['download_bytes'] / 1e6:,.0f} MB)"


def _gib(amount: float | None) -> str:
    return f"{amount:g} GiB" if amount else ""


def _base_details(base: "BaseModel") -> dict[str, Any]:
    from assistant.models import convert
    from assistant.models.identity import base_identity

    identity = base_identity(base)
    converted = convert.cached_folder(base.gguf) if base.gguf else base.folder
    return {
        "kind": "base",
        "name": base.name,
        "licence": base.licence,
        "context_length": base.context_length,
        "gguf": str(base.gguf) if base.gguf else None,
        "folder": str(base.folder) if base.folder else None,
        "tuning_form": str(converted) if converted and converted.exists() else None,
        "digest": identity.digest,
        "weights": identity.weights,
        "tokenizer": identity.tokenizer,
        "template": identity.template,
    }


def _catalogue_details(name: str) -> dict[str, Any] | None:
    from assistant.models.catalogue import CATALOGUE, WheelSource

    entry = CATALOGUE.get(name)
    if entry is None:
        return None
    source = entry.source
    return {
        "kind": "base",
        "name": name,
        "summary": entry.summary,
        "licence": entry.licence,
        "cached": False,
        "source": source.requirement if isinstance(source, WheelSource) else source.repository,
        "download_bytes": entry.download_bytes,
        "parameters": entry.parameters,
        "serve_gib": entry.serve_gib,
        "tune_gib": entry.tune_gib,
    }


def _version_details(version: "AdapterVersion") -> dict[str, Any]:
    return {
        "id": version.id,
        "name": version.name,
        "digest": version.digest,
        "base": version.base_name,
        "base_digest": version.base_digest,
        "created": version.created,
        "folder": str(version.folder),
        "figures": version.figures,
    }


def _adapter_details(version: "AdapterVersion", registry: Any) -> dict[str, Any]:
    import json

    from assistant.models import store
    from assistant.models.resolve import verify

    base = store.find(version.base_name) if _is_here(version.base_name) else None
    state = f"its base {version.base_name} is not on this disk"
    if base:
        try:
            verify(version, base)
            state = "whole, and fits its base"
        except HoneError as error:
            state = str(error)
    try:
        manifest = json.loads((version.folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        manifest = {}
    corpus = manifest.get("corpus", {})
    splits = [file.get("split") for file in corpus.get("files", [])]
    return {
        "kind": "adapter",
        **_version_details(version),
        "state": state,
        "aliases": [alias for alias, live in registry.aliases().items() if live == version],
        "sources": [f"{source.get('path')} at {source.get('commit')}" for source in corpus.get("sources", [])],
        "files": {split: splits.count(split) for split in ("train", "validation", "test")} if splits else {},
        "configuration": manifest.get("configuration", {}),
        "proof": manifest.get("proof", {}),
        **({"reviewer": manifest["reviewer"]} if "reviewer" in manifest else {}),
    }


def _is_here(base_name: str) -> bool:
    from assistant.models import store

    try:
        return store.find(base_name) is not None
    except HoneError:
        return False


def _refuse_vague(spec: str, version: "AdapterVersion", registry: Any) -> None:
    if "@" in spec:
        return
    if version.name != spec:
        raise UsageError(f"{spec} is an alias of {version.id}; name the version to delete")
    versions = registry.versions(spec)
    if len(versions) > 1:
        raise UsageError(f"{spec} has {len(versions)} versions; name one: {', '.join(each.id for each in versions)}")


def _read_evidence(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    import hashlib
    import json

    try:
        data = file.read_bytes()
        report = json.loads(data)
    except (OSError, ValueError) as error:
        raise HoneError(f"{file} is not a readable JSON report") from error
    if len(data) > _EVIDENCE_LIMIT:
        raise HoneError(f"{file} is {len(data):,} bytes; evidence is a report of at most {_EVIDENCE_LIMIT:,}")
    return {"file": str(file.absolute()), "sha256": hashlib.sha256(data).hexdigest(), "report": report}


def _actor() -> str | None:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def _event_details(event: "Event") -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(event), "target": event.target}


def _print_event(event: "Event", as_json: bool) -> None:
    from tui import tables

    if as_json:
        tables.print_json(_event_details(event))
    else:
        was = f" (was {event.replaced})" if event.replaced else ""
        typer.echo(f"{event.alias} -> {event.target}{was}")


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
