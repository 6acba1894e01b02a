"""`hone feedback`: what became of suggestions, for people, for training, and how to forget it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from assistant.feedback import Event

app = typer.Typer(
    name="feedback",
    help="Show, export or forget what became of suggestions.",
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def feedback(context: typer.Context, as_json: AsJson = False) -> None:
    """Show, export or forget what became of suggestions. Without a command: show."""
    if context.invoked_subcommand is None:
        _show(as_json)


@app.command()
def show(as_json: AsJson = False) -> None:
    """Acceptance rate by language and model."""
    _show(as_json)


def _show(as_json: bool) -> None:
    from dataclasses import asdict

    from assistant.feedback import MAX_BYTES, Feedback
    from assistant.feedback_summary import groups
    from tui.tables import print_json, print_table

    kept = Feedback()
    log = kept.read()
    found = groups(log.events)
    full = kept.size() > MAX_BYTES
    if as_json:
        print_json(
            {
                "file": str(kept.file),
                "events": len(log.events),
                "damaged_lines": log.damaged,
                "bytes": kept.size(),
                "full": full,
                "thumbs": {kind: sum(event.kind == kind for event in log.events) for kind in ("up", "down")},
                "groups": [{**asdict(group), "acceptance": round(group.acceptance, 4)} for group in found],
            }
        )
        return
    if not log.events:
        typer.echo(f"nothing is known yet; suggestions that are shown and taken will be counted in {kept.file}")
        return
    if found:
        print_table(
            ("language", "model", "shown", "accepted", "partly", "rejected", "acceptance", "kept after 30 s"),
            [
                (
                    group.language or "other",
                    group.adapter or group.model,
                    group.shown,
                    group.accepted,
                    group.partly,
                    group.rejected,
                    f"{group.acceptance:.0%}",
                    None if group.survival is None else f"{group.survival:.0%}",
                )
                for group in found
            ],
        )
    thumbs = {kind: sum(event.kind == kind for event in log.events) for kind in ("up", "down")}
    if any(thumbs.values()):
        typer.echo(f"thumbs: {thumbs['up']} up, {thumbs['down']} down")
    if log.damaged:
        typer.echo(f"{log.damaged} lines of {kept.file} cannot be read and were left out", err=True)
    if full:
        limit = MAX_BYTES // 2**20
        typer.echo(f"{kept.file} is over {limit} MiB and takes no more texts; export and forget some", err=True)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines, one example each; overwritten.")],
    as_json: AsJson = False,
) -> None:
    """Write what can be trained on: prompt, completion, and whether it was good (label)."""
    import json
    from dataclasses import asdict

    from assistant import atomic
    from assistant.errors import HoneError
    from assistant.feedback import Feedback
    from assistant.feedback_summary import examples
    from tui.tables import print_json

    found = list(examples(Feedback().read().events))
    if not found:
        raise HoneError("there is no judged suggestion with its texts to export yet; accept or dismiss some first")
    lines = "".join(json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in found)
    try:
        # As private as the file they come from.
        atomic.write_text(file, lines, mode=0o600)
    except OSError as error:
        raise HoneError(f"cannot write {file}: {error.strerror}") from error
    good = sum(example.label for example in found)
    if as_json:
        print_json({"file": str(file), "examples": len(found), "good": good, "bad": len(found) - good})
    else:
        typer.echo(f"{file}: {len(found)} examples, {good} good and {len(found) - good} bad")


@app.command()
def forget(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Of suggestions.")] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, max=36500, metavar="DAYS", help="What is older than that.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove events for good."""
    from assistant.errors import UsageError
    from assistant.feedback import Feedback
    from tui.tables import print_json

    if sum((bool(ids), older_than is not None, everything)) != 1:
        raise UsageError("say what to forget: IDs, or --older-than DAYS, or --all")
    forgotten = Feedback().forget(_chosen(frozenset(ids or ()), older_than))
    if as_json:
        print_json({"forgotten": forgotten})
    else:
        typer.echo(f"forgot {forgotten} event{'s' * (forgotten != 1)}")


def _chosen(ids: frozenset[str], older_than: float | None) -> "Callable[[Event], bool]":
    from datetime import UTC, datetime, timedelta

    if ids:
        return lambda event: event.id in ids
    if older_than is None:
        return lambda event: True
    limit = datetime.now(UTC) - timedelta(days=older_than)
    return lambda event: datetime.fromisoformat(event.time) < limit
