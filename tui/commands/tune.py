"""`hone tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.errors import UsageError
from tui.commands import detached, scheduled, tune_progress, tune_settings

if TYPE_CHECKING:
    from tuning.config import Configuration
    from tuning.plan import Plan

DEFAULT_BASE = "smollm2-135m"
_LENGTH = "How long"
_CORPUS = "Corpus"
_EXAMPLES = "Examples"
_LORA = "LoRA"
_TRAINING = "Training"
_JOB = detached.PANEL


def tune(
    context: typer.Context,
    corpus: Annotated[
        list[str] | None,
        typer.Argument(metavar="CORPUS..."),
    ] = None,
    *,
    name: Annotated[str | None, typer.Option(help="What to call the adapter.")] = None,
    base: Annotated[str | None, typer.Option(help="The base model; default: smollm2-135m.")] = None,
    task: Annotated[str | None, typer.Option(help="What to learn: code (default), review or chat.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A configuration file; flags win.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as --print-config names it.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings and where each came from; train nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report on corpus, examples, time and memory; train nothing.")
    ] = False,
    from_feedback: Annotated[
        bool,
        typer.Option(
            "--from-feedback",
            help="Learn from what became of suggestions, going on from the champion; with --task review from dismissed "
            "findings, going on from the reviewer. Replays CORPUS.",
        ),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run of this name.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Discard the unfinished run of this name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    steps: Annotated[
        int | None, typer.Option(help="Stop after this many optimizer steps.", rich_help_panel=_LENGTH)
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this long.", rich_help_panel=_LENGTH)] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the corpus; default: 2.", rich_help_panel=_LENGTH)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many validations without improvement.", rich_help_panel=_LENGTH),
    ] = None,
    checkpoint_minutes: Annotated[
        float | None,
        typer.Option(help="Between checkpoints; default: 2; 0 makes one each step.", rich_help_panel=_LENGTH),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="W,W...", help="How often each source is seen in an epoch.", rich_help_panel=_CORPUS),
    ] = None,
    languages: Annotated[
        str | None, typer.Option(metavar="L,L...", help="Take only these languages.", rich_help_panel=_CORPUS)
    ] = None,
    licences: Annotated[
        str | None,
        typer.Option(metavar="ID,ID...", help="Take only these licences (SPDX, unknown).", rich_help_panel=_CORPUS),
    ] = None,
    excluded_licences: Annotated[
        str | None, typer.Option(metavar="ID,ID...", help="Leave these licences out.", rich_help_panel=_CORPUS)
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Take only such paths; repeat it.", rich_help_panel=_CORPUS),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave such paths out; repeat it.", rich_help_panel=_CORPUS),
    ] = None,
    split_by: Annotated[
        str | None,
        typer.Option(
            help="Hold out by near-duplicate cluster (default) or the latest by commit date.",
            metavar="[cluster|date]",
            rich_help_panel=_CORPUS,
        ),
    ] = None,
    max_surprise: Annotated[
        float | None,
        typer.Option(help="Leave out files of more bits per byte by the base.", rich_help_panel=_CORPUS),
    ] = None,
    replay: Annotated[
        float | None, typer.Option(help="Share of general code mixed in; default: 0.", rich_help_panel=_CORPUS)
    ] = None,
    replay_source: Annotated[
        str | None, typer.Option(metavar="CORPUS", help="Where that comes from.", rich_help_panel=_CORPUS)
    ] = None,
    fim_rate: Annotated[
        float | None,
        typer.Option(help="Share taught as fill-in-the-middle; default: 0.5.", rich_help_panel=_EXAMPLES),
    ] = None,
    teach_fim: Annotated[
        bool | None,
        typer.Option(
            "--teach-fim/--no-teach-fim",
            help="Infilling for a base without it; experimental.",
            rich_help_panel=_EXAMPLES,
        ),
    ] = None,
    instruct_rate: Annotated[
        float | None,
        typer.Option(help="Share also taught as instructions; default: 0.", rich_help_panel=_EXAMPLES),
    ] = None,
    review_rate: Annotated[
        float | None, typer.Option(help="Share also taught as reviews; default: 0.", rich_help_panel=_EXAMPLES)
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Default: 32.", rich_help_panel=_LORA)] = None,
    alpha: Annotated[float | None, typer.Option(help="Default: twice the rank.", rich_help_panel=_LORA)] = None,
    dropout: Annotated[float | None, typer.Option(help="Default: 0; more is slower.", rich_help_panel=_LORA)] = None,
    target_modules: Annotated[
        str | None,
        typer.Option(metavar="M,M...", help="Default: all-linear, all but the head.", rich_help_panel=_LORA),
    ] = None,
    dora: Annotated[
        bool | None, typer.Option("--dora/--no-dora", help="Weight-decomposed LoRA.", rich_help_panel=_LORA)
    ] = None,
    rslora: Annotated[
        bool | None, typer.Option("--rslora/--no-rslora", help="Rank-stabilized scaling.", rich_help_panel=_LORA)
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(help="gaussian, orthogonal, olora, pissa or pissa_niter_N.", rich_help_panel=_LORA),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            "--lr",
            help="Peak of the cosine; default: 1e-3; about 2e-4 for billions.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    row_length: Annotated[
        int | None, typer.Option(help="Tokens per packed row; default: 1024.", rich_help_panel=_TRAINING)
    ] = None,
    rows_per_step: Annotated[
        int | None, typer.Option(help="Rows per optimizer step; default: 1.", rich_help_panel=_TRAINING)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the LoRA's start and the order of rows.", rich_help_panel=_TRAINING)
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="[auto|float32|bfloat16]", help="Default: auto, what is fastest here.", rich_help_panel=_TRAINING
        ),
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(metavar="[none|4bit|8bit]", help="Of the frozen base, QLoRA.", rich_help_panel=_TRAINING),
    ] = None,
    activation_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--activation-checkpointing/--no-activation-checkpointing",
            help="Less memory, a third slower.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    adapter_scale: Annotated[
        str | None,
        typer.Option(
            metavar="X",
            help="How much of the adapter is applied; default: 0.5, 0.75 or 1, as validation says.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    tracker: Annotated[
        str | None,
        typer.Option(metavar="[tensorboard|trackio|mlflow]", help="Default: none.", rich_help_panel=_TRAINING),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V,V...",
            help="Short trials, then the run with the best; several keys make a grid.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    detach: detached.Detach = False,
    on: detached.On = "local",
    then: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP",
            help="eval, gate or promote, with options if quoted; a failed one ends the job. Repeat it.",
            rich_help_panel=_JOB,
        ),
    ] = None,
    after: detached.After = None,
    priority: detached.Priority = 0,
    memory_gb: detached.MemoryGb = None,
    cores: detached.Cores = None,
    every: scheduled.Every = None,
    when: scheduled.When = None,
    install: scheduled.Install = None,
) -> None:
    """Tune a LoRA on your code, prove its export, and register it.

    CORPUS is PATH, PATH@REV, FILE.jsonl or hf:NAME[:CONFIG][@SPLIT]; several are mixed.

    Whole files are held out for validation and tests. Ctrl-C ends the training early and saves what was learnt; a
    second one discards it. A run that was killed goes on from its last checkpoint with --resume.

    With --detach it is a job that outlives this terminal; see `hone jobs`. With --on slurm it is one of Slurm, with
    --on ray of Ray. With --every nothing is tuned now: it prints what makes cron or systemd submit such a job again and
    again.
    """
    scheduled.check(every, when, install)
    wishes = detached.Wishes(detach, on, then or [], after or [], priority, memory_gb, cores)
    if (wishes.is_job or every) and (dry_run or print_config or resume):
        option = "--every" if every else "--detach" if detach else f"--on {on}"
        raise UsageError(f"{option} starts a run; --dry-run, --print-config and --resume go without it")
    if resume:
        tune_settings.check_alone(context)
        from tui.progress import transfer_progress
        from tuning.run import resume as go_on

        with transfer_progress() as transfer:
            result = go_on(_required(name), tune_progress.watcher(transfer, checkpoint_minutes))
        if result is not None:
            tune_progress.report(result, as_json)
        return
    configuration = tune_settings.configuration_of(context, config, assignments or [], sweep or [])
    asked_base, base = base, base or DEFAULT_BASE
    if print_config:
        from tuning.plan_checks import check_known_base

        check_known_base(configuration.plan, configuration.given, base)
        tune_settings.show(configuration, as_json)
        return
    plan = configuration.plan
    if from_feedback and not every:
        plan, base = _with_feedback(configuration, asked_base)
    if not plan.corpus.sources and not (from_feedback and every):
        raise UsageError("name a git repository to tune on, or --resume an unfinished run")
    name = _required(name)
    from tuning.naming import check_new_name
    from tuning.plan_checks import check_known_base

    check_new_name(name, base)
    check_known_base(plan, configuration.given, base)
    if every:
        scheduled.schedule(context, wishes, name, base, plan.corpus.sources, every, install, as_json)
        return
    if when and not scheduled.has_news(name, plan.corpus.sources, as_json):
        return
    if wishes.is_job:
        detached.tune(context, wishes, name, base, plan.corpus.sources, as_json)
        return
    if not dry_run:
        wishes.check_unused()
    from tui.progress import transfer_progress
    from tuning.run import tune as run

    with transfer_progress() as transfer:
        watcher = tune_progress.watcher(transfer)
        if dry_run:
            from tuning.run import dry_run as report_only

            tune_progress.report_dry_run(report_only(plan, name, base, watcher), as_json)
            return
        result = run(name, base, plan, watcher, restart=restart)
    if result is not None:
        tune_progress.report(result, as_json)


def _with_feedback(configuration: "Configuration", base: str | None) -> "tuple[Plan, str]":
    from tuning.feedback_run import prepare

    prepared = prepare(configuration.plan, base, DEFAULT_BASE, configuration.given)
    for note in prepared.notes:
        typer.echo(note, err=True)
    return prepared.plan, prepared.base


def _required(name: str | None) -> str:
    if not name:
        raise UsageError("what shall the adapter be called? Give it a --name")
    return name
