"""`hone eval`."""

from pathlib import Path
from typing import Annotated

import typer

TASKS = ("repo",)
ENGINES = ("llamacpp", "torch")


def evaluate(
    task: Annotated[str, typer.Argument(metavar="TASK", help="repo: held-out completion and bits per byte.")],
    repository: Annotated[
        Path, typer.Option("--repo", metavar="PATH", help="The repository the adapters were tuned on.")
    ],
    models: Annotated[list[str], typer.Option("--model", metavar="M", help="Repeat it; the first is the reference.")],
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many places to complete of each level.")] = 200,
    levels: Annotated[
        str, typer.Option(metavar="LEVEL,...", help="What is completed: line, and block and body besides it.")
    ] = "line,block,body",
    folds: Annotated[
        int | None, typer.Option(metavar="K", min=2, help="Also report how figures vary between K folds of the files.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses places, files and resamples.")] = 0,
    max_bytes: Annotated[int, typer.Option(min=1, help="Held-out bytes to score for bits per byte.")] = 120_000,
    prompt_tokens: Annotated[int, typer.Option(min=128, max=8192, help="The longest prompt; fewer are faster.")] = 768,
    engine: Annotated[
        str, typer.Option(metavar="[llamacpp|torch]", help="What completes: what serves, or batches by torch, faster.")
    ] = "llamacpp",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep samples and reports here; a stopped run goes on from them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Measure models on the files that tuning held out."""
    import json

    from assistant.errors import UsageError

    if task not in TASKS:
        raise UsageError(f"there is no evaluation {task!r}; there is: {', '.join(TASKS)}")
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}; there are: {', '.join(ENGINES)}")
    from assistant.client import connect
    from evals.report import markdown, repo, schema
    from evals.report.write import write
    from evals.run import Options
    from evals.run import evaluate as run
    from evals.tasks.levels import parse

    options = Options(
        repository, tuple(models), limit, seed, prompt_tokens, max_bytes, out, levels=parse(levels), folds=folds
    )
    try:
        if engine == "torch":
            import torch

            from evals.batched import open_batched
            from evals.environment import describe_torch
            from tuning.model.load import fastest_dtype

            dtype = str(fastest_dtype(torch.device("cpu"))).removeprefix("torch.")
            found = run(options, lambda name: open_batched(name, dtype), engine=describe_torch(dtype))
        else:
            found = run(options, lambda name: connect(model=name))
    except KeyboardInterrupt:
        kept = (
            f"what was measured is kept in {out}; the same command goes on from there"
            if out
            else "nothing was kept (no --out)"
        )
        typer.echo(f"\nhone: stopped; {kept}", err=True)
        raise typer.Exit(130) from None
    report = repo.report(found)
    write(report, out)
    if as_json:
        typer.echo(json.dumps(schema.to_json(report), ensure_ascii=False))
    else:
        typer.echo(markdown.plain(report))
    if out:
        typer.echo(f"report: {out / 'report.html'}", err=True)
