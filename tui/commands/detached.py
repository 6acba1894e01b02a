"""`--detach`: a command as a job that outlives the terminal."""

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.cores import usable
from assistant.errors import HoneError, UsageError

if TYPE_CHECKING:
    from tuning.jobs.spec import Spec, Step

PANEL = "Job"
SCHEDULED = "HONE_SCHEDULED"
"""Set where a schedule gives the command."""
_OPTIONS = ("detach", "on", "then", "after", "priority", "memory_gb", "cores", "when")

On = Annotated[
    str,
    typer.Option(
        metavar="[local|slurm|ray]",
        help="Where it runs: here, or as a job of Slurm by [slurm], or of Ray by [ray].",
        rich_help_panel=PANEL,
    ),
]
Detach = Annotated[
    bool,
    typer.Option("--detach", help="Go on as a job, see `hone jobs`; this terminal is free.", rich_help_panel=PANEL),
]
After = Annotated[
    list[str] | None,
    typer.Option("--after", metavar="ID", help="Start once that job is done. Repeat it.", rich_help_panel=PANEL),
]
Priority = Annotated[
    int, typer.Option(min=-100, max=100, help="A waiting job of a higher one goes first.", rich_help_panel=PANEL)
]
MemoryGb = Annotated[
    float | None,
    typer.Option(
        "--memory-gb", min=0.0, help="Wait for so much memory; default: jobs.memory_gb.", rich_help_panel=PANEL
    ),
]
Cores = Annotated[
    int | None,
    typer.Option(
        min=1, help="Wait for so many cores; default: jobs.threads, or an equal share.", rich_help_panel=PANEL
    ),
]


@dataclass(frozen=True)
class Wishes:
    """What the options of a job say."""

    detach: bool
    on: str
    then: Sequence[str]
    after: Sequence[str]
    priority: int
    memory_gb: float | None
    cores: int | None

    @property
    def is_job(self) -> bool:
        """
        Raises:
            UsageError: there is no such place to run.
        """
        if self.on not in ("local", "slurm", "ray"):
            raise UsageError(f"--on {self.on}: there are local, slurm and ray")
        return self.detach or self.on != "local"

    def check_unused(self) -> None:
        """
        Raises:
            UsageError: one was given and it is no job.
        """
        if self.then or self.after or self.priority or self.memory_gb is not None or self.cores is not None:
            raise UsageError("--then, --after, --priority, --memory-gb and --cores are of jobs: add --detach")


def tune(context: typer.Context, wishes: Wishes, name: str, base: str, sources: Sequence[str], as_json: bool) -> None:
    """
    Raises:
        HoneError: an unfinished run has this name and no schedule asks, a source is none, or as `pipeline.steps` and
            `verbs.submit`.
    """
    from tui.commands import pipeline
    from tuning.corpus.sources import parse

    for source in sources:
        parse(source)
    words = given_words(context, (*_OPTIONS, "as_json"))
    minutes = context.params["checkpoint_minutes"]
    resume = ["--name", name, "--resume"] + ([] if minutes is None else ["--checkpoint-minutes", f"{minutes:g}"])
    if not context.params["restart"]:
        words = _after_unfinished(context, name, sources, words, resume)
    program: Any = context.find_root().command
    steps = pipeline.steps(program.commands, words, resume, name, base, sources, wishes.then)
    command = ("tune", *given_words(context, ("as_json",)))
    _submit(_spec(name, command, steps, wishes), wishes, as_json)


def _after_unfinished(
    context: typer.Context, name: str, sources: Sequence[str], words: list[str], resume: list[str]
) -> list[str]:
    """The words of the tuning step where a run of this name may have been cut short.

    Raises:
        HoneError: one was, and no schedule asks, which nobody may be there to answer.
    """
    from assistant import paths
    from tuning import position

    again = bool(context.params["when"] or os.environ.get(SCHEDULED))
    try:
        left = position.newest(paths.unfinished_dir() / name)
    except HoneError:
        if again:
            return ["--restart", *words]
        raise
    if left is None:
        return words
    stands = f"an unfinished run of {name} stands at step {left.step} ({left.share:.0%})"
    if not again:
        raise UsageError(
            f"{stands}; go on with it by `hone tune --name {name} --resume` (or `hone jobs resume`), or discard it "
            "with --restart"
        )
    from tuning.schedules import news

    goes_on = news.is_of_unfinished(name, sources)
    typer.echo(
        f"hone: {stands}; " + ("this goes on with it" if goes_on else "the sources have changed: anew"), err=True
    )
    return resume if goes_on else ["--restart", *words]


def evaluate(context: typer.Context, wishes: Wishes, tasks: Sequence[str], as_json: bool) -> None:
    """
    Raises:
        HoneError: a key was given, which must not be stored; or as `verbs.submit`.
    """
    from tuning.jobs.command import HONE
    from tuning.jobs.spec import Step

    if _given(context, "key"):
        raise UsageError("a job's command line is stored, and a key must not be; set HONE_API_KEY in place of --key")
    words = given_words(context, (*_OPTIONS, "as_json", "key"))
    step = Step("eval", (*HONE, "eval", *words, "--json"))
    command = ("eval", *given_words(context, ("as_json", "key")))
    _submit(_spec(f"eval {', '.join(map(_short, tasks))}", command, (step,), wishes), wishes, as_json)


def gate(context: typer.Context, wishes: Wishes, candidate: str, as_json: bool) -> None:
    """
    Raises:
        HoneError: as `verbs.submit`.
    """
    from tuning.jobs.command import HONE
    from tuning.jobs.spec import Step

    words = given_words(context, (*_OPTIONS, "as_json"))
    step = Step("gate", (*HONE, "gate", *words, "--json"))
    command = ("gate", *given_words(context, ("as_json",)))
    _submit(_spec(f"gate {candidate}", command, (step,), wishes), wishes, as_json)


def given_words(context: typer.Context, without: Collection[str]) -> list[str]:
    """What the user gave on the command line, as words of one; options first.

    Args:
        without: names of parameters that are left out.
    """
    options: list[str] = []
    arguments: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in without or not _given(context, name):
            continue
        value = context.params[name]
        if parameter.param_type_name == "argument":
            arguments += map(str, value if isinstance(value, list | tuple) else [value])
        elif isinstance(value, bool):
            options.append(max(parameter.opts if value else parameter.secondary_opts, key=len))
        else:
            flag = max(parameter.opts, key=len)
            options += [
                word for one in (value if isinstance(value, list | tuple) else [value]) for word in (flag, str(one))
            ]
    return [*options, *(["--"] if any(word.startswith("-") for word in arguments) else []), *arguments]


def given_flags(context: typer.Context) -> dict[str, str]:
    """Parameter -> its flag, of the options that the user gave on the command line."""
    options = (each for each in context.command.params if each.param_type_name == "option")
    return {each.name: max(each.opts, key=len) for each in options if each.name and _given(context, each.name)}


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _spec(name: str, command: Sequence[str], steps: "Sequence[Step]", wishes: Wishes) -> "Spec":
    from tuning.jobs import job, settings
    from tuning.jobs.spec import Spec

    ours = settings.load()
    jobs = job.folder()
    if wishes.on != "local":
        return _on_cluster(name, command, steps, wishes, float(ours.stop_seconds))
    # As many jobs as may run at once shall find room.
    share = max(1, usable() // ours.limit)
    cores = wishes.cores or ours.threads or share
    return Spec(
        name=name,
        command=tuple(command),
        folder=str(Path.cwd()),
        steps=tuple(steps),
        after=tuple(job.find(jobs, one).id for one in wishes.after),
        priority=wishes.priority,
        memory=round((ours.memory_gb if wishes.memory_gb is None else wishes.memory_gb) * 1e9),
        cores=cores,
        limit=ours.limit,
        nice=ours.nice,
        threads=ours.threads or (share if ours.limit > 1 else None),
        stop_seconds=float(ours.stop_seconds),
    )


def _on_cluster(
    name: str, command: Sequence[str], steps: "Sequence[Step]", wishes: Wishes, stop_seconds: float
) -> "Spec":
    from dataclasses import replace

    from tuning.jobs import job, ray_package, ray_settings, ray_verbs, slurm_settings
    from tuning.jobs.slurm_script import placed
    from tuning.jobs.spec import Spec

    folder = Path.cwd()
    ours = slurm_settings.load() if wishes.on == "slurm" else ray_settings.load()
    if wishes.priority:
        raise UsageError(f"--priority is of this machine's queue; {wishes.on} goes by its own")
    memory_gb = ours.memory_gb if wishes.memory_gb is None else wishes.memory_gb
    ours = replace(ours, cores=wishes.cores or ours.cores, memory_gb=memory_gb)
    jobs = job.folder()
    spec = Spec(
        name=name,
        command=tuple(command),
        folder=str(folder),
        steps=tuple(steps),
        after=tuple(job.find(jobs, one).id for one in wishes.after),
        memory=round(ours.memory_gb * 1e9),
        cores=ours.cores,
        nice=0,
        threads=ours.cores,
        stop_seconds=stop_seconds,
    )
    if isinstance(ours, slurm_settings.SlurmSettings):
        return replace(spec, steps=tuple(placed(step, ours) for step in steps), slurm=ours)
    if ours.upload:
        steps = [ray_package.inside(step, folder) for step in steps]
    return replace(spec, steps=tuple(ray_verbs.placed(step, ours, sys.executable) for step in steps), ray=ours)


def _submit(spec: "Spec", wishes: Wishes, as_json: bool) -> None:
    from tui.tables import print_json
    from tuning.jobs import verbs

    job = verbs.submit(spec)
    if not wishes.detach:
        from tui.commands.following import to_the_end

        typer.echo(f"hone: job {job.id}; Ctrl-C leaves it, and it goes on", err=True)
        raise typer.Exit(to_the_end(job, as_json))
    if as_json:
        described: dict[str, Any] = {"job": job.id, "name": spec.name, "folder": str(job.folder)}
        print_json({**described, "steps": [step.name for step in spec.steps]})
        return
    steps = ", then ".join(step.name for step in spec.steps)
    typer.echo(f"job {job.id}: {steps}; it goes on when this terminal closes")
    sys.stdout.write(f"  hone jobs show {job.id}\n  hone jobs logs {job.id} --follow\n  hone jobs stop {job.id}\n")


def _short(task: str) -> str:
    return Path(task).name if "/" in task else task
