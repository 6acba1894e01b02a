"""What follows a tuning run in one job: `--then eval --then gate --then promote`, and with which options.

The candidate is the version that the tuning step reports, by its digest, so the evidence is of exactly what is
promoted. Reports are kept in the job's folder, where the gate finds them.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from assistant.errors import UsageError
from tui.commands import detached, eval_options

if TYPE_CHECKING:
    from tuning.jobs.spec import Step

ORDER = ("eval", "gate", "promote")
CANDIDATE = "{tune.adapter}"
_REPORTS = "{job}/reports"
Commands = Mapping[str, click.Command]
"""By their names."""


def steps(
    commands: Commands,
    words: Sequence[str],
    resume: Sequence[str],
    name: str,
    base: str,
    sources: Sequence[str],
    then: Sequence[str],
) -> "tuple[Step, ...]":
    """The steps of a job that tunes.

    Args:
        commands: of the command line, which check the options of their steps.
        words: of the tuning command.
        resume: of the command that goes on with it.
        then: such as `eval`, or `eval humaneval --limit 20`.

    Raises:
        UsageError: an unknown step, one in the wrong place, or options that it does not take.
    """
    from tuning.jobs.command import HONE
    from tuning.jobs.spec import Step

    followers = [_split(each) for each in then]
    names = [each[0] for each in followers]
    if names != [each for each in ORDER if each in names]:
        raise UsageError(f"--then takes {', '.join(ORDER)}, in this order and each once; not {', '.join(names)}")
    if "promote" in names and "gate" not in names:
        raise UsageError("a promotion needs evidence: put --then gate before --then promote")
    made = [
        Step("tune", (*HONE, "tune", *words, "--json"), resume=(*HONE, "tune", *resume, "--json"), run=name),
    ]
    promotion = next((options for each, *options in followers if each == "promote"), [])
    # Also without a promotion: its default is what is replaced.
    alias = str(_parsed(commands, "promote", ["x", *promotion], ("adapter", "evidence", "as_json"))["alias"])
    against = _reference(base, alias) if "gate" in names or "eval" in names else ""
    for follower, *options in followers:
        if follower == "eval":
            argv = _evaluation(commands, options, against, sources)
        elif follower == "gate":
            argv = _gate(commands, options, against, sources, measured="eval" in names)
        else:
            decision = f"{_REPORTS}/gate/decision.json"
            argv = ["models", "promote", CANDIDATE, "--evidence", decision, *options]
        made.append(Step(follower, (*HONE, *argv, "--json")))
    return tuple(made)


def _evaluation(commands: Commands, options: Sequence[str], against: str, sources: Sequence[str]) -> list[str]:
    given = list(options)
    # Options without a task: of the task that is the reason to tune.
    if not given or given[0].startswith("-"):
        given = ["repo", *given]
    parsed = _parsed(commands, "eval", given, ("models", "out", "as_json", "url", "key"))
    if {"repo", "repo-exec"} & set(parsed["tasks"]) and parsed["repository"] is None:
        given += ["--repo", _repository(sources)]
    return ["eval", *given, "--model", against, "--model", CANDIDATE, "--out", f"{_REPORTS}/eval"]


def _gate(
    commands: Commands, options: Sequence[str], against: str, sources: Sequence[str], measured: bool
) -> list[str]:
    given = list(options)
    parsed = _parsed(commands, "gate", ["x", "--against", "x", *given], ("candidate", "reports", "as_json"))
    if "--against" not in given:
        given += ["--against", against]
    if not measured and not parsed["tasks"]:
        given += ["--tasks", "repo"]
    if not measured and parsed["repository"] is None:
        given += ["--repo", _repository(sources)]
    return ["gate", CANDIDATE, "--report", _REPORTS, *(["--no-run"] if measured else []), *given]


def _split(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--then {text!r}: {error}") from error
    if not words or words[0] not in ORDER:
        raise UsageError(f"--then {text!r}: there is no such step; there are {', '.join(ORDER)}")
    return words


def _parsed(commands: Commands, command: str, words: Sequence[str], taken: Sequence[str]) -> dict[str, Any]:
    """The parameters of a command line, checked by the command itself.

    Args:
        taken: parameters that the job sets.

    Raises:
        UsageError: it does not take them, or one is set by the job.
    """
    parser: Any = commands["models"] if command == "promote" else commands[command]
    parser = parser.commands[command] if command == "promote" else parser
    try:
        context = parser.make_context(command, list(words), resilient_parsing=False)
    except click.UsageError as error:
        raise UsageError(f"--then {command}: {error.format_message()}") from error
    for each in parser.params:
        source = context.get_parameter_source(each.name)
        if each.name in taken and source is not None and source.name == "COMMANDLINE" and each.opts[0][:2] == "--":
            raise UsageError(f"--then {command}: {each.opts[0]} is set by the job")
    if command == "eval":
        eval_options.check(context.params["tasks"], detached.given_flags(context))
    return dict(context.params)


def _reference(base: str, alias: str) -> str:
    """What the candidate is compared with: what the alias points to if that is on the same base, else the base."""
    from assistant.errors import HoneError
    from assistant.models import store
    from assistant.models.identity import base_identity
    from assistant.models.registry import Registry

    live = Registry().aliases().get(alias)
    if live is None:
        return base
    try:
        found = store.find(base)
        same = base == live.base_name if found is None else base_identity(found).digest == live.base_digest
    except HoneError:
        # A cluster may have a path that is not here.
        same = base == live.base_name
    return live.id if same else base


def _repository(sources: Sequence[str]) -> str:
    from tuning.corpus.sources import parse

    for source in sources:
        parsed = parse(source)
        if parsed.kind == "git":
            return parsed.path
    raise UsageError(
        "none of the sources is a git repository to evaluate on; say what to measure, such as --then 'eval humaneval'"
    )
