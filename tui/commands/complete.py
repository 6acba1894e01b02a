"""`hone complete`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from assistant.skills.complete import Completion
    from assistant.skills.point import Point


def complete(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FILE:LINE[:COL]",
            help="LINE and COL count from 1, COL in characters; without COL the end of the line is meant.",
        ),
    ],
    model: Annotated[str | None, typer.Option(help="Base name, path, adapter NAME[@DIGEST] or alias.")] = None,
    *,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="The most tokens to generate.")] = 128,
    retrieval: Annotated[
        bool, typer.Option("--retrieval/--no-retrieval", help="Show the model similar code from the repository.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    verbose: Annotated[bool, typer.Option(help="Say on standard error what was shown to the model.")] = False,
) -> None:
    """Complete the code at a place in a file and print what to insert there."""
    from assistant.skills.point import check, parse_point

    point = parse_point(place)
    check(point)

    from assistant.client import connect
    from assistant.config import load_settings
    from assistant.models.resolve import resolve
    from assistant.skills.complete import complete as complete_at

    settings = load_settings(model=model)
    name = resolve(settings.model).name
    with connect(settings, model=name, wait=False) as client:
        done = complete_at(client, point, model=name, max_tokens=max_tokens, retrieval=retrieval)
        # Before the gateway is ended, which takes a moment.
        _print(point, done, as_json, verbose)


def _print(point: "Point", done: "Completion", as_json: bool, verbose: bool) -> None:
    if verbose:
        shown = ", ".join(snippet.path for snippet in done.snippets) or "no other file"
        typer.echo(f"{done.mode} mode, ended by {done.finish_reason}, shown: {shown}", err=True)
        if done.note:
            typer.echo(done.note, err=True)
    if as_json:
        _print_json(point, done)
    else:
        # The newline ends the output, not the completion; --json gives the text alone.
        typer.echo(done.text)
        if not done.text.strip():
            typer.echo("nothing to suggest here", err=True)


def _print_json(point: "Point", done: "Completion") -> None:
    import hashlib
    import json

    counts = {
        name: done.details.get(name)
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "tokens_per_second")
    }
    result = {
        "schema_version": 1,
        "text": done.text,
        "mode": done.mode,
        "shape": done.shape,
        "finish_reason": done.finish_reason,
        "file": str(point.path),
        "line": point.line,
        "column": point.column,
        "model": done.model,
        "adapter": done.adapter,
        "retrieved": [snippet.path for snippet in done.snippets],
        "note": done.note,
        "prompt_sha256": hashlib.sha256(done.prompt.encode()).hexdigest(),
        "seconds": round(done.seconds, 4),
        "first_token_seconds": done.first_token_seconds and round(done.first_token_seconds, 4),
        **counts,
    }
    typer.echo(json.dumps(result, ensure_ascii=False))
