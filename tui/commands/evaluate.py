"""`hone eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tui.commands import detached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.report.schema import Report
    from evals.run import Options as HeldOut
    from evals.subjects import Subject
    from evals.tasks.named import Style

ENGINES = ("llamacpp", "torch")
STYLES = ("completion", "chat")
PLACES = 200
"""What `repo` completes when no --limit is given."""


def evaluate(
    context: typer.Context,
    tasks: Annotated[
        list[str],
        typer.Argument(
            metavar="TASK...",
            help="humaneval, mbpp, mbpp-plus, infill, review, review-lines (review by logits alone), review-fix, repo "
            "(held-out files), repo-exec, speed, or a file with your own task: FILE.py or FILE.jsonl.",
        ),
    ],
    models: Annotated[
        list[str] | None, typer.Option("--model", metavar="M", help="Repeat it; the first is the reference.")
    ] = None,
    *,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Measure the models of this OpenAI-compatible server.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", envvar="HONE_API_KEY", metavar="K", help="The server's key.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="[TASK=]PATH", help="The problems of a task that brings none; repeat it."),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option("--repo", metavar="PATH", help="repo, repo-exec, review: the repository to ask about."),
    ] = None,
    python: Annotated[
        Path | None,
        typer.Option("--python", metavar="PATH", help="repo-exec: the interpreter that has the repository's packages."),
    ] = None,
    operators: Annotated[
        str | None,
        typer.Option(metavar="OP,OP...", help="review: bug operators that seed; unseen: those not trained on."),
    ] = None,
    history: Annotated[
        int, typer.Option(metavar="N", min=0, help="review: also so many changes of past bug fixes.")
    ] = 0,
    style: Annotated[
        str | None, typer.Option("--style", metavar="S", help="completion or chat (default: what all models can do).")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, max=1000, help="Answers to each item.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, max=2.0, help="0 is greedy.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="How many items of each task (repo: places, 200; speed: requests, 8).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses items, samples and resamples.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests at a time.")] = 8,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Also ask in other ways, and tell how far the score moves.")
    ] = False,
    leave_out: Annotated[
        bool,
        typer.Option("--leave-out-unsound", help="Do without items whose reference fails here (a tenth at most)."),
    ] = False,
    unsafe: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="Run what models write without a sandbox if there is none.")
    ] = False,
    levels: Annotated[
        str, typer.Option(metavar="LEVEL,...", help="repo: what is completed: line, and block and body besides it.")
    ] = "line,block,body",
    folds: Annotated[
        int | None, typer.Option(metavar="K", min=2, help="repo: also how figures vary between K folds of the files.")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="[llamacpp|torch]", help="repo: what serves, or batches by torch, faster.")
    ] = "llamacpp",
    max_bytes: Annotated[int, typer.Option(min=1, help="repo: held-out bytes to score for bits per byte.")] = 120_000,
    prompt_tokens: Annotated[int, typer.Option(min=128, max=8192, help="repo, repo-exec: the longest prompt.")] = 768,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep samples and reports here; a stopped run goes on from them. Default: Hone's state folder.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
    detach: detached.Detach = False,
    on: detached.On = "local",
    after: detached.After = None,
    priority: detached.Priority = 0,
    memory_gb: detached.MemoryGb = None,
    cores: detached.Cores = None,
) -> None:
    """Measure models: on benchmarks, on your own tasks, and on the files that tuning held out.

    TASK is humaneval, mbpp, mbpp-plus, infill, review, review-lines, review-fix, repo, repo-exec, speed, or a file with
    your own: FILE.py or FILE.jsonl.

    Samples are kept as they come, in DIR or in Hone's state folder; the same command takes what is there. With --detach
    it is a job that outlives this terminal; see `hone jobs`. With --on slurm it is one of Slurm, with --on ray of Ray.
    """
    from dataclasses import replace

    from assistant.errors import UsageError
    from evals.report import fault
    from tui.commands import eval_options

    wishes = detached.Wishes(detach, on, [], after or [], priority, memory_gb, cores)
    eval_options.check(tasks, detached.given_flags(context))
    if wishes.is_job:
        detached.evaluate(context, wishes, tasks, as_json)
        return
    wishes.check_unused()
    if "repo" in tasks:
        if tasks != ["repo"] or url is not None:
            raise UsageError("repo runs apart from other tasks, and on models of this machine")
        if repository is None or not models:
            raise UsageError("repo needs --repo PATH and at least one --model M")
        from evals.run import Options as HeldOut
        from evals.tasks.levels import parse

        places = limit or PLACES
        held_out = HeldOut(
            repository, tuple(models), places, seed, prompt_tokens, max_bytes, out, levels=parse(levels), folds=folds
        )
        with fault.told("hone eval repo", out):
            report = _held_out(held_out, engine)
        _show(report, out, as_json, _words(context))
        return
    from evals import evaluation, subjects
    from evals.sandbox.sandbox import open_sandbox
    from evals.tasks import named

    wanted = named.Wanted(
        tuple(tasks),
        "completion",
        _data(data or [], tasks),
        repository,
        {},
        limit,
        seed,
        lambda line: typer.echo(line, err=True),
        python,
        tuple(part.strip() for part in operators.split(",")) if operators else None,
        history,
        prompt_tokens=prompt_tokens,
    )
    named.check(wanted)
    if style not in (None, *STYLES):
        raise UsageError(f"there is no style {style!r}; there are {' and '.join(STYLES)}")
    with fault.told(f"hone eval {' '.join(tasks)}", out):
        measured = _subjects(models, url, key)
        manifests = {subject.name: subject.manifest for subject in measured if subject.manifest}
        local = all(subject.endpoint is None for subject in measured)
        wanted = replace(wanted, style=_style(style, measured), manifests=manifests, local=local)
        options = evaluation.Options(samples, temperature, limit, seed, concurrency, out, ablate, leave_out)
        # Speed is measured with up to four requests at a time.
        slots = max(concurrency, 4) if "speed" in tasks else concurrency
        try:
            report = evaluation.evaluate(
                lambda sandbox: named.build(wanted, sandbox),
                measured,
                subjects.connector(slots),
                (lambda: open_sandbox(unsafe=unsafe)) if wanted.runs_code else None,
                options,
            )
        except KeyboardInterrupt:
            where = out or "Hone's state folder"
            typer.echo(
                f"\nhone: stopped; what was sampled is kept in {where}; the same command goes on from there", err=True
            )
            raise typer.Exit(130) from None
    _show(report, out, as_json, _words(context))


def _words(context: typer.Context) -> tuple[str, ...]:
    """The command line as it may be stored."""
    return "eval", *detached.given_words(context, ("as_json", "key"))


def _subjects(models: "Sequence[str] | None", url: str | None, key: str | None) -> "list[Subject]":
    from evals import subjects

    if url is not None:
        return subjects.remote(url, key, list(dict.fromkeys(models or ())))
    if not models:
        from assistant.config import load_settings

        models = [load_settings().model]
    return [subjects.local(spec) for spec in dict.fromkeys(models)]


def _style(asked: str | None, subjects: "Sequence[Subject]") -> "Style":
    """How all models are asked: by raw prompts where all of them can be, so that their scores are comparable."""
    if asked is not None:
        return "chat" if asked == "chat" else "completion"
    chat_only = next((subject for subject in subjects if "prompt" not in subject.asks), None)
    if chat_only is None:
        return "completion"
    typer.echo(f"hone: {chat_only.name} has chat only, so every model is asked by chat", err=True)
    return "chat"


def _data(given: "Sequence[str]", tasks: "Sequence[str]") -> dict[str, str]:
    """Task -> where its problems are. What is given without a task is for all that have nothing of their own."""
    named = {task: path for each in given for task, mark, path in (each.partition("="),) if mark and task in tasks}
    general = [each for each in given if each.partition("=")[0] not in named]
    return {task: general[-1] for task in tasks if general} | named


def _show(report: "Report", out: Path | None, as_json: bool, command: "Sequence[str]") -> None:
    import json

    from evals.report import markdown, runs
    from evals.report.schema import to_json
    from evals.report.write import write
    from tui.commands import listed

    folder = out or runs.fresh_folder(report.tasks[0].name)
    files = write(report, folder)
    if as_json:
        typer.echo(json.dumps(to_json(report), ensure_ascii=False))
    else:
        typer.echo(markdown.plain(report))
    typer.echo("report: " + ", ".join(map(str, files)), err=True)
    listed.record(report, folder, command)


def _held_out(options: "HeldOut", engine: str) -> "Report":
    from assistant.errors import UsageError

    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}; there are: {', '.join(ENGINES)}")
    from assistant.client import connect
    from evals.report.repo import report
    from evals.run import evaluate as run

    try:
        if engine == "torch":
            from evals.batched import open_batched
            from evals.environment import describe_torch
            from tuning.model.load import best_device, fastest_dtype

            dtype = str(fastest_dtype(best_device())).removeprefix("torch.")
            return report(run(options, lambda name: open_batched(name, dtype), engine=describe_torch(dtype)))
        return report(run(options, lambda name: connect(model=name)))
    except KeyboardInterrupt:
        where = options.out or "Hone's state folder"
        typer.echo(
            f"\nhone: stopped; what was measured is kept in {where}; the same command goes on from there", err=True
        )
        raise typer.Exit(130) from None
