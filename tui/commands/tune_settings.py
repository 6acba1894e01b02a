"""From the options of `hone tune` to its configuration."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from assistant.errors import UsageError

if TYPE_CHECKING:
    from tuning.config import Configuration

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


def configuration_of(
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


def show(configuration: "Configuration", as_json: bool) -> None:
    from tui.tables import print_json
    from tuning.config import to_toml
    from tuning.plan import to_json

    if as_json:
        print_json({"configuration": to_json(configuration.plan), "origins": dict(configuration.origins)})
    else:
        typer.echo(to_toml(configuration), nl=False)


def check_alone(context: typer.Context) -> None:
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
