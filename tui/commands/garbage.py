"""`hone models gc`: what lies on this disk and nothing needs."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; without this it is only listed.")] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Also versions that were never live, are in no use, and not of the newest N."
        ),
    ] = None,
    unfinished_days: Annotated[
        float | None,
        typer.Option("--unfinished", min=0.0, metavar="DAYS", help="Also runs that nobody went on with for so long."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what lies on this disk and nothing needs: leavings of killed processes, files that no registry knows."""
    from assistant.errors import HoneError
    from tui import tables
    from tui.models import garbage

    found = garbage.find(keep, unfinished_days)
    freed = 0
    failed: dict[Path, str] = {}
    for each in found if delete else ():
        try:
            freed += garbage.delete(each)
        except HoneError as error:
            # Such as what came into use since; the others are still nobody's.
            failed[each.path] = str(error)
    if as_json:
        listed = [
            {
                "kind": each.kind,
                "path": str(each.path),
                "bytes": each.bytes,
                "why": each.why,
                "adapter": each.spec or None,
                "deleted": delete and each.path not in failed,
                "error": failed.get(each.path),
            }
            for each in found
        ]
        tables.print_json({"garbage": listed, "deleted": delete, "freed_bytes": freed})
        if failed:
            raise typer.Exit(1)
        return
    if not found:
        typer.echo("nothing lies here that nothing needs")
        return
    rows = [(each.kind, f"{each.bytes / 1e6:,.1f} MB", each.spec or each.path, each.why) for each in found]
    tables.print_table(("what", "size", "where", "why"), rows)
    total = sum(each.bytes for each in found) / 1e6
    typer.echo(f"{freed / 1e6:,.1f} MB freed" if delete else f"{total:,.1f} MB; --delete deletes it")
    for path, why in failed.items():
        typer.echo(f"not deleted: {path}: {why}", err=True)
    if failed:
        raise typer.Exit(1)
