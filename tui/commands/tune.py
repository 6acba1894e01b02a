"""`hone tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.errors import UsageError
from tui.commands import detached, tune_progress

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

FLAGS = {
    "corpus": "corpus.sources",
    "task": "examples.task",
    "steps": "steps",
    "minutes": "minutes",
    "epochs": "epochs",
    "patience": "patience",
    "checkpoint_minutes": "checkpoint_minutes",
    "weights": "corpus.weights",
    "languages": "corpus.languages",
    "licences": "corpus.licences",
    "excluded_licences": "corpus.excluded_licences",
    "include": "corpus.include",
    "exclude": "corpus.exclude",
    "split_by": "corpus.split_by",
    "max_surprise": "corpus.max_surprise",
    "replay": "corpus.replay",
    "replay_source": "corpus.replay_source",
    "fim_rate": "examples.fim_rate",
    "teach_fim": "examples.teach_fim",
    "instruct_rate": "examples.instruct_rate",
    "review_rate": "examples.review_rate",
    "rank": "lora.rank",
    "alpha": "lora.alpha",
    "dropout": "lora.dropout",
    "target_modules": "lora.target_modules",
    "dora": "lora.use_dora",
    "rslora": "lora.use_rslora",
    "init": "lora.init",
    "learning_rate": "learning_rate",
    "row_length": "row_length",
    "rows_per_step": "rows_per_step",
    "seed": "seed",
    "dtype": "dtype",
    "quantize": "quantize",
    "activation_checkpointing": "activation_checkpointing",
    "adapter_scale": "adapter_scales",
    "tracker": "tracker",
}
"""Parameter of the command -> key of the configuration."""

_NUMBERS = frozenset({"weights", "adapter_scale"})
_COMMA_SEPARATED = frozenset({"languages", "licences", "excluded_licences", "target_modules"}) | _NUMBERS


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
            "--from-feedback", help="Learn from what became of suggestions, going on from the champion; replays CORPUS."
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
) -> None:
    """Tune a LoRA on your code, prove its export, and register it.

    CORPUS is PATH, PATH@REV, FILE.jsonl or hf:NAME[:CONFIG][@SPLIT]; several are mixed.

    Whole files are held out for validation and tests. Ctrl-C ends the training early and saves what was learnt; a
    second one discards it. A run that was killed goes on from its last checkpoint with --resume.

    With --detach it is a job that outlives this terminal; see `hone jobs`. With --on slurm it is one of Slurm.
    """
    wishes = detached.Wishes(detach, on, then or [], after or [], priority, memory_gb, cores)
    if wishes.is_job and (dry_run or print_config or resume):
        option = "--detach" if detach else f"--on {on}"
        raise UsageError(f"{option} starts a run; --dry-run, --print-config and --resume go without it")
    if resume:
        _check_alone(context)
        from tui.progress import transfer_progress
        from tuning.run import resume as go_on

        with transfer_progress() as transfer:
            result = go_on(_required(name), tune_progress.watcher(transfer, checkpoint_minutes))
        if result is not None:
            tune_progress.report(result, as_json)
        return
    configuration = _configuration(context, config, assignments or [], sweep or [])
    asked_base, base = base, base or DEFAULT_BASE
    if print_config:
        from tuning.plan_checks import check_known_base

        check_known_base(configuration.plan, configuration.given, base)
        _print(configuration, as_json)
        return
    plan = configuration.plan
    if from_feedback:
        plan, base = _with_feedback(configuration, asked_base)
    if not plan.corpus.sources:
        raise UsageError("name a git repository to tune on, or --resume an unfinished run")
    name = _required(name)
    from tuning.naming import check_new_name
    from tuning.plan_checks import check_known_base

    check_new_name(name, base)
    check_known_base(plan, configuration.given, base)
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


def _configuration(
    context: typer.Context, config: Path | None, assignments: list[str], sweep: list[str]
) -> "Configuration":
    from tuning.config import assigned, configure, own_files, read_file, swept

    layers = own_files()
    if config is not None:
        layers.append(read_file(config))
    flags = _flags(context)
    # A setting given twice on one command line: the flag that has its own name is the clearer wish.
    return configure([*layers, {**assigned(assignments), **swept(sweep), **flags}])


def _flags(context: typer.Context) -> "dict[str, Any]":
    """The layer of the flags that were given."""
    from tuning.config import Setting, toml_value

    layer = {}
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name not in FLAGS or value is None or value in ([], ()):
            continue
        if parameter.name in _COMMA_SEPARATED and value != "all-linear":
            parts = [part.strip() for part in value.split(",")]
            value = [toml_value(part) for part in parts] if parameter.name in _NUMBERS else parts
        elif isinstance(value, tuple):
            value = list(value)
        spellings = parameter.secondary_opts if value is False else parameter.opts
        flag = "CORPUS" if parameter.name == "corpus" else max(spellings, key=len)
        layer[FLAGS[parameter.name]] = Setting(value, flag)
    return layer


def _print(configuration: "Configuration", as_json: bool) -> None:
    from tui.tables import print_json
    from tuning.config import to_toml
    from tuning.plan import to_json

    if as_json:
        print_json({"configuration": to_json(configuration.plan), "origins": dict(configuration.origins)})
    else:
        typer.echo(to_toml(configuration), nl=False)


def _check_alone(context: typer.Context) -> None:
    """An unfinished run has its corpus and settings; others would make it another run."""
    allowed = ("name", "resume", "checkpoint_minutes", "as_json")
    given = [
        max(parameter.opts, key=len) if parameter.opts[0].startswith("--") else "CORPUS"
        for parameter in context.command.params
        if parameter.name not in allowed
        and parameter.name is not None
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise UsageError(f"--resume takes everything from the unfinished run; leave out {', '.join(given)}")
