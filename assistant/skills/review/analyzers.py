"""Analyzers of the user's own: programs that write SARIF, named in the table [review] of the configuration."""

import difflib
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant import config
from assistant.errors import HoneError
from assistant.languages import language_of, names
from assistant.skills.review import processes, ruff, sarif_read, settings
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import MODEL
from assistant.skills.review.observations import Observation, on_changed_lines

_FIELDS = ("name", "command", "languages", "seconds")
_FILES, _OUTPUT = "{files}", "{output}"
_SECONDS = 300


@dataclass(frozen=True)
class Analyzer:
    """One program."""

    name: str
    command: tuple[str, ...]
    """Run without a shell, in a folder that holds the changed files with the content under review. `{files}` becomes
    their paths (put at the end where it is not named); with `{output}` the log is read from the file that it becomes,
    else from standard output."""
    languages: frozenset[str]
    """As in `assistant.languages`; empty for all."""
    seconds: float
    from_repository: bool
    """Named by the repository's hone.toml and not by the user's own configuration."""


def configured() -> list[Analyzer]:
    """The analyzers of the user's configuration and of the repository around the current folder; where both name one,
    the user's counts.

    Raises:
        HoneError: a table has unknown or wrong entries.
    """
    found: dict[str, Analyzer] = {}
    for file, table in settings.tables():
        listed = table.get("analyzers", [])
        if not isinstance(listed, list):
            raise HoneError(f"{file}: review.analyzers must be a list of tables, [[review.analyzers]]")
        for entry in listed:
            analyzer = _analyzer(file, entry)
            found[analyzer.name] = analyzer
    return list(found.values())


def _analyzer(file: Path, entry: Any) -> Analyzer:
    if not isinstance(entry, dict):
        raise HoneError(f"{file}: review.analyzers must hold tables with name and command")
    for key in entry:
        if key not in _FIELDS:
            near = difflib.get_close_matches(key, _FIELDS, n=1, cutoff=0)
            raise HoneError(f"{file}: unknown key {key!r} of an analyzer; the nearest known one is {near[0]!r}")
    name, command = entry.get("name"), entry.get("command")
    if not isinstance(name, str) or not name.strip() or name in (ruff.NAME, MODEL, "hone"):
        raise HoneError(f"{file}: an analyzer needs a name other than ruff, model and hone, not {name!r}")
    if isinstance(command, str):
        try:
            command = shlex.split(command)
        except ValueError as error:
            raise HoneError(f"{file}: the command of {name} is not closed: {error}") from error
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise HoneError(f"{file}: the command of {name} must be text or a list of words")
    languages = entry.get("languages", [])
    if not isinstance(languages, list) or not set(map(str, languages)) <= names():
        known = ", ".join(sorted(names()))
        raise HoneError(f"{file}: languages of {name} must be a list of {known}; not {languages!r}")
    seconds = entry.get("seconds", _SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 86_400:
        raise HoneError(f"{file}: seconds of {name} must be a number above 0, not {seconds!r}")
    own = file.name == config.REPOSITORY_FILE
    if "/" in command[0]:
        # A script beside the configuration, wherever the review runs.
        command = [str(file.resolve().parent / command[0]), *command[1:]]
    return Analyzer(name, tuple(command), frozenset(languages), float(seconds), own)


def of_languages(analyzer: Analyzer, changes: Sequence[FileChange]) -> list[FileChange]:
    """The files that it reads."""

    def wanted(path: str) -> bool:
        language = language_of(path)
        return not analyzer.languages or (language is not None and language.name in analyzer.languages)

    return [change for change in changes if change.is_whole and wanted(change.path)]


def observe(
    analyzer: Analyzer, changes: Sequence[FileChange], snapshot: Path, cancelled: Callable[[], bool]
) -> list[Observation]:
    """What an analyzer says of changed lines.

    Its exit code says nothing, since most end with 1 when they find something: what counts is that it wrote a log.

    Raises:
        HoneError: it is not installed, takes too long, or writes no SARIF.
        CancelledError: as it says.
    """
    read = {change.path: change for change in of_languages(analyzer, changes)}
    if not read:
        return []
    program = shutil.which(analyzer.command[0])
    if program is None:
        raise HoneError(f"the analyzer {analyzer.name} cannot run: there is no program {analyzer.command[0]}")
    name = f"the analyzer {analyzer.name}"
    # In a hook, git's variables would point an analyzer at the real repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    with tempfile.TemporaryDirectory(prefix="hone-sarif-") as folder:
        output = Path(folder) / "log.sarif"
        command = _filled([program, *analyzer.command[1:]], list(read), output)
        done = processes.run(name, command, snapshot, environment, analyzer.seconds, cancelled)
        data = done.output
        if any(_OUTPUT in part for part in analyzer.command):
            data = output.read_bytes() if output.is_file() else b""
    if not data.strip():
        raise HoneError(f"{name} wrote no log: {done.complaint or f'it ended with exit code {done.code}'}")
    found = sarif_read.observations(data, analyzer.name, snapshot)
    return [one for one in found if one.path in read and on_changed_lines(read[one.path], one)]


def _filled(command: Sequence[str], paths: Sequence[str], output: Path) -> list[str]:
    # A path that begins with a hyphen would be taken for an option.
    named = [f"./{path}" if path.startswith("-") else path for path in paths]
    made: list[str] = []
    for part in command:
        made += named if part == _FILES else [part.replace(_OUTPUT, str(output))]
    return made if _FILES in command else [*made, *named]
