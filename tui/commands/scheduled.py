"""`hone tune --every`: what makes a scheduler of this machine tune again and again; and `--when new-commits`."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from assistant.errors import UsageError
from tui.commands import detached

if TYPE_CHECKING:
    from tuning.schedules.schedule import Installed, Schedule

PANEL = "Again and again"
_NEEDED = ("HONE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
_USUAL_PATH = ("/usr/bin", "/bin")

Every = Annotated[
    str | None,
    typer.Option(
        metavar="[hour|day|week|month]",
        help="Print what makes cron or systemd do this so often.",
        rich_help_panel=PANEL,
    ),
]
When = Annotated[
    str | None,
    typer.Option(
        metavar="new-commits",
        help="Only if there are commits that the newest version has not seen.",
        rich_help_panel=PANEL,
    ),
]
Install = Annotated[
    str | None,
    typer.Option(metavar="[cron|systemd]", help="Put it there; see `hone schedules`.", rich_help_panel=PANEL),
]


def check(every: str | None, when: str | None, install: str | None) -> None:
    """
    Raises:
        UsageError: there is no such interval, condition or scheduler.
    """
    from tuning.schedules.schedule import BY, EVERY

    if every is not None and every not in EVERY:
        raise UsageError(f"--every {every}: there are {', '.join(EVERY)}")
    if when not in (None, "new-commits"):
        raise UsageError(f"--when {when}: there is new-commits")
    if install is not None and every is None:
        raise UsageError("--install puts a schedule in place: say how often by --every")
    if install is not None and install not in BY:
        raise UsageError(f"--install {install}: there are {' and '.join(BY)}")


def has_news(name: str, sources: Sequence[str], as_json: bool) -> bool:
    """Whether to tune; says so when not.

    Raises:
        HoneError: as `news.since_newest`.
    """
    from tui.tables import print_json
    from tuning.schedules import news

    found = news.since_newest(name, sources)
    if found.is_new:
        typer.echo(f"hone: {found.text}", err=True)
    elif as_json:
        print_json({"tuned": False, "why": found.text})
    else:
        typer.echo(f"not tuned: {found.text}")
    return found.is_new


def schedule(
    context: typer.Context,
    wishes: detached.Wishes,
    name: str,
    base: str,
    sources: Sequence[str],
    every: str,
    install: str | None,
    as_json: bool,
) -> None:
    """Prints the schedule of this command line, and puts it in place if asked.

    Raises:
        HoneError: the job it would submit is refused, or the scheduler refuses.
    """
    from tui.commands import pipeline
    from tuning.jobs.command import HONE
    from tuning.schedules.schedule import Every as Interval
    from tuning.schedules.schedule import Schedule

    if wishes.after:
        raise UsageError("--after names one job, and a schedule submits many; leave it out")
    words = detached.given_words(context, ("every", "install", "detach", "as_json"))
    if sources:
        # For its checks: cron tells nobody what was wrong.
        program: Any = context.find_root().command
        pipeline.steps(program.commands, words, (), name, base, sources, wishes.then)
    wanted = Schedule(
        name,
        cast(Interval, every),
        str(Path.cwd()),
        (*HONE, "tune", "--detach", *words),
        {**_environment(os.environ), detached.SCHEDULED: "1"},
    )
    _told(wanted, install, as_json)


def _told(wanted: "Schedule", install: str | None, as_json: bool) -> None:
    from tui.tables import print_json
    from tuning.jobs.command import shown
    from tuning.schedules import cron, systemd, verbs

    # systemd takes lines of any length.
    line = None if install == "systemd" else cron.line(wanted, verbs.log_of(wanted.name))
    units = systemd.units(wanted)
    replaced = verbs.install(wanted, install) if install else []
    notes = _notes(install)
    if as_json:
        print_json(
            {
                "name": wanted.name,
                "every": wanted.every,
                "command": shown(wanted.argv),
                "crontab": line,
                "systemd": units,
                "installed": install,
                "replaced": [_details(one) for one in replaced],
                "notes": notes,
            }
        )
        return
    if install is None:
        typer.echo(f"# a line for `crontab -e`, which --install cron puts there\n{line}\n")
        typer.echo(f"# two units for {systemd.folder()}, which --install systemd puts there and starts")
        for file, text in units.items():
            typer.echo(f"# {file}\n{text}")
        return
    typer.echo(f"{wanted.name} is tuned every {wanted.every} by {install}: {shown(wanted.argv)}")
    for one in replaced:
        typer.echo(f"in place of: {one.command} (every {one.every}, by {one.by})")
    for note in notes:
        typer.echo(note)
    typer.echo(f"`hone schedules` lists it, `hone schedules rm {wanted.name}` ends it")


def _notes(install: str | None) -> list[str]:
    from tuning.schedules import cron

    if install == "cron" and not cron.is_running():
        return ["no cron daemon is seen on this machine: nothing will start this until one runs"]
    if install == "systemd":
        return ["it runs while you are logged in; `loginctl enable-linger` lets it run always"]
    return []


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What the command finds in this terminal and a scheduler does not give it."""
    kept = {name: ours[name] for name in _NEEDED if ours.get(name)}
    programs = [shutil.which(program) for program in ("git", "sbatch")]
    folders = dict.fromkeys(str(Path(found).parent) for found in programs if found)
    if set(folders) - set(_USUAL_PATH):
        kept["PATH"] = os.pathsep.join(dict.fromkeys([*folders, *_USUAL_PATH]))
    return kept


app = typer.Typer(
    name="schedules",
    help="What a scheduler of this machine tunes again and again.",
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def schedules(context: typer.Context, as_json: AsJson = False) -> None:
    """What a scheduler of this machine tunes again and again. Without a command: list it."""
    if context.invoked_subcommand is None:
        _list(as_json)


@app.command("list")
def list_schedules(as_json: AsJson = False) -> None:
    """List what `hone tune --every ... --install` has put into the crontab and into systemd."""
    _list(as_json)


@app.command("rm")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The adapter's name.")], as_json: AsJson = False
) -> None:
    """End a schedule; jobs that it has submitted go on."""
    from tui.tables import print_json
    from tuning.schedules import verbs

    removed = verbs.remove(name)
    if as_json:
        print_json({"removed": [_details(one) for one in removed]})
    else:
        typer.echo(f"{name} is not tuned by {' and '.join(one.by for one in removed)} any more")


def _list(as_json: bool) -> None:
    from tui import tables
    from tuning.schedules import verbs

    found = verbs.installed()
    if as_json:
        tables.print_json({"schedules": [{**_details(one), "last": verbs.outcome(one)} for one in found]})
    elif not found:
        typer.echo("nothing is scheduled; `hone tune ... --every week --when new-commits` shows how")
    else:
        tables.print_table(
            ("name", "every", "by", "command", "where", "last"),
            [(one.name, one.every, one.by, one.command, one.where, verbs.outcome(one)) for one in found],
        )


def _details(one: "Installed") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(one)
