"""From a command of the chat to the whole command line: what was left out is filled in, so that nothing is hidden."""

import os.path
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.errors import UsageError
from tui.chat.ops.known import Known

NAMES = ("train", "eval", "gate", "promote", "rollback", "models", "feedback", "doctor", "jobs")
_LONG = ("tune", "eval", "gate")
"""What goes on for minutes, and so is a job."""
_SHORT = ("models", "feedback", "doctor", "jobs")
_COMMANDS = {"train": ("tune",), "promote": ("models", "promote"), "rollback": ("models", "rollback")}
_HELP = frozenset({"-h", "--help"})
_AT_ONCE = ("--dry-run", "--print-config", "--help", "-h")
_LOOKS: dict[str, tuple[str, ...]] = {
    "doctor": (),
    "models": ("list", "show", "history"),
    "feedback": ("show",),
    "jobs": ("list", "show", "logs", "why-pending"),
}


@dataclass(frozen=True)
class Line:
    """A command line that may be run."""

    words: tuple[str, ...]
    """Without the program."""
    note: str = ""
    """What to know before it runs."""

    @property
    def text(self) -> str:
        return shlex.join(["hone", *self.words])


def completed(name: str, words: Sequence[str], known: Known) -> Line:
    """The command line that a command of the chat stands for.

    Raises:
        UsageError: its arguments cannot be read, or there is nothing that it could be about.
    """
    given = [os.path.expanduser(word) if word.startswith("~/") else word for word in words]
    if _HELP & set(given):
        return Line((*_COMMANDS.get(name, (name,)), *given))
    makers: dict[str, Callable[[list[str], Known], Line]] = {
        "train": _train,
        "eval": _evaluate,
        "gate": _gate,
        "promote": _promote,
        "rollback": _roll_back,
    }
    return makers[name](given, known) if name in makers else Line((name, *given))


def words_of(argument: str) -> list[str]:
    """
    Raises:
        UsageError: a quotation is not closed.
    """
    try:
        return shlex.split(argument)
    except ValueError as error:
        raise UsageError(f"this cannot be read: {error}") from error


def read(text: str) -> tuple[str, ...]:
    """The words of a command line as the user left it, without the program.

    Raises:
        UsageError: it is none that can be run from here.
    """
    words = words_of(text.strip().removeprefix("$ "))
    if words[:1] != ["hone"] or len(words) < 2:
        raise UsageError("the line has to begin with `hone` and a command")
    name, *rest = words[1:]
    if name not in (*_LONG, *_SHORT):
        known = ", ".join(sorted((*_LONG, *_SHORT)))
        raise UsageError(f"hone {name} is not run from the chat; these are: {known}")
    if name in _LONG and "--detach" not in rest and not set(_AT_ONCE) & set(rest):
        raise UsageError("add --detach: it takes minutes, and as a job it goes on when the app is closed")
    if name == "jobs" and {"--follow", "-f"} & set(rest):
        raise UsageError("a log that goes on is on the Jobs screen (/jobs); leave --follow out")
    return (name, *rest)


def only_looks(words: Sequence[str]) -> bool:
    """Whether a command changes nothing and is done at once, so that no one has to be asked."""
    name, *rest = words
    if _HELP & set(rest):
        return True
    if name in _LONG or name not in _LOOKS:
        return False
    return not rest or rest[0] in _LOOKS[name] or rest[0].startswith("--")


def becomes_job(words: Sequence[str]) -> bool:
    return words[0] in _LONG and "--detach" in words


def _train(words: list[str], known: Known) -> Line:
    given = _parsed("tune", words)
    sources = given["corpus"] or []
    if given["resume"]:
        raise UsageError("a run that did not end goes on as its job does: /jobs resume ID (/jobs shows the ids)")
    line = ["tune", *(() if sources else (".",)), *words]
    sources = sources or ["."]
    if not given["name"]:
        line += ["--name", known.folder]
    if given["dry_run"] or given["print_config"]:
        return Line(tuple(line))
    measurable = any(known.in_git(source) for source in sources)
    if not given["then"] and measurable:
        line += ["--then", "eval"]
    note = "" if measurable or given["then"] else "none of it is a git repository, so it is not measured afterwards"
    return Line((*line, *_detached(given, line)), note)


def _evaluate(words: list[str], known: Known) -> Line:
    if not words or words[0].startswith("-"):
        words = ["repo", *words]
    given = _parsed("eval", words)
    line = ["eval", *words]
    if not given["models"] and given["url"] is None:
        newest = known.adapters[0] if known.adapters else None
        models = (known.reference(newest), newest.id) if newest else (known.model,)
        line += [word for each in models for word in ("--model", each)]
    of_repository = any(task.startswith("repo") or task == "review" for task in given["tasks"])
    if of_repository and given["repository"] is None and not given["data"]:
        line += ["--repo", "."]
    return Line((*line, *_detached(given, line)))


def _gate(words: list[str], known: Known) -> Line:
    if not words or words[0].startswith("-"):
        words = [_newest(known), *words]
    named = any(word.partition("=")[0] == "--against" for word in words)
    given = _parsed("gate", words if named else ["--against", "x", *words])
    line = ["gate", *words]
    adapter = known.adapter(given["candidate"])
    against = given["against"]
    if not named:
        if adapter is None:
            raise UsageError(f"no adapter is called {given['candidate']}; say against what with --against M")
        against = known.reference(adapter)
        line += ["--against", against]
    against = known.aliases.get(against, against)
    measured = known.reports.get((adapter.id, against)) if adapter else None
    if measured and given["reports"] is None and not given["tasks"]:
        return Line((*line, "--report", measured, *_detached(given, line)), "decides on what is measured already")
    if not given["tasks"] and given["reports"] is None:
        line += ["--tasks", "repo"]
    if given["repository"] is None and given["reports"] is None and "repo" in (given["tasks"] or "repo"):
        line += ["--repo", "."]
    return Line((*line, *_detached(given, line)))


def _promote(words: list[str], known: Known) -> Line:
    if not words or words[0].startswith("-"):
        words = [_newest(known), *words]
    given = _parsed("promote", words)
    adapter = known.adapter(given["adapter"])
    live = known.aliases.get(given["alias"])
    line = ["models", "promote", *words]
    notes = [f"{given['alias']} is {live} now" if live else f"nothing is {given['alias']} yet"]
    if adapter is not None and given["evidence"] is None:
        evidence = known.passed.get(adapter.id)
        line += ["--evidence", evidence] if evidence else []
        if not evidence:
            then = "the registry will say so" if given["force"] else "it is refused without --force; /gate decides"
            notes.append(f"no gate has passed {adapter.id} yet: {then}")
    return Line(tuple(line), "; ".join(notes))


def _roll_back(words: list[str], known: Known) -> Line:
    alias = next((word for word in words if not word.startswith("-")), "champion")
    live = known.aliases.get(alias)
    return Line(("models", "rollback", *words), f"{alias} is {live} now" if live else "")


def _newest(known: Known) -> str:
    if not known.adapters:
        raise UsageError("there is no adapter yet; /train PATH makes one")
    return known.adapters[0].id


def _detached(given: dict[str, Any], words: Sequence[str]) -> tuple[str, ...]:
    return () if given.get("detach") or set(_AT_ONCE) & set(words) else ("--detach",)


def _parsed(name: str, words: Sequence[str]) -> dict[str, Any]:
    """The parameters of a command line, read by the command itself.

    Raises:
        UsageError: it does not take them.
    """
    import click

    from tui.commands.program import parser

    command = parser("models", name) if name == "promote" else parser(name)
    try:
        return dict(command.make_context(name, list(words)).params)
    except click.UsageError as error:
        raise UsageError(f"/{'train' if name == 'tune' else name}: {error.format_message()}") from error
