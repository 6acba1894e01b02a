"""The built-in analyzer for Python: ruff, with rules chosen for bugs and security."""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.languages import language_of
from assistant.skills.review import processes
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import Category, Evidence, Severity
from assistant.skills.review.observations import CONFIDENCE, Observation, Suggestion, TextEdit, on_changed_lines
from assistant.skills.review.patches import parses_as_python

NAME = "ruff"
TARGET = "py314"
"""The newest that ruff knows: with an older one it calls new syntax an error, and which one a project supports is not
told by its diff."""
_BATCH = 200
_SECONDS = 120

# A rule is here when what it reports is, as a rule, a mistake in what the program does, and what it reports is seldom
# right as it is. Out are style, complexity, naming and annotations, what formatters do, and rules that are right about
# danger but not about the code at hand: each call of subprocess (S603, S607), each `open` of a URL (S310), `assert`
# (S101), names that sound like a password (S105 to S107), paths below /tmp (S108), `random` (S311), every XML parser
# (S314 to S318), calls in defaults (B008, how web frameworks declare dependencies), unused imports (F401, harmless),
# names that a star import may define (F403, F405), missing `strict=` (B905), missing `from` (B904), caches on methods
# (B019), defaults of environment variables (PLW1508), `except Exception` that does something (BLE001: one in 5,000
# lines, at the boundaries of programs). In 440,000 lines of a dozen well-kept packages these rules find one thing in
# 2,900 lines; exceptions that are thrown away with no word on why are one in 25,000.
RULES = (
    # Pyflakes: formatting that fails or drops its arguments, comparisons and conditions that are always the same,
    # names that do not exist, definitions that nothing can reach, values that nobody reads.
    *("F402", "F406", "F407", "F50", "F52", "F601", "F602", "F621", "F622", "F631", "F632", "F633", "F634"),
    *("F701", "F702", "F704", "F706", "F707", "F811", "F821", "F822", "F823", "F841", "F842", "F901"),
    # An escape that is none: the backslash stays in the string.
    *("W605", "E902"),
    # flake8-bugbear, without its opinions.
    *("B002", "B003", "B005", "B006", "B012", "B015", "B016", "B018", "B020", "B021", "B022", "B023", "B025"),
    *("B029", "B030", "B031", "B032", "B033", "B034", "B035", "B039"),
    # Pylint's errors, the warnings of it that are mistakes, comparisons of a thing with itself or of two constants.
    *("PLE", "PLW0127", "PLW0128", "PLW0129", "PLW0131", "PLW0133", "PLW0211", "PLW0245", "PLW0406", "PLW0602"),
    *("PLW0604", "PLW0642", "PLW0711", "PLW1501", "PLW1507", "PLW1509", "PLW2101"),
    *("PLR0124", "PLR0133"),
    # Conditions that are always true or always false.
    *("SIM220", "SIM221", "SIM222", "SIM223"),
    # Blocking or forgotten work in asynchronous code.
    *("ASYNC100", "ASYNC105", "ASYNC115", "ASYNC116", "ASYNC210", "ASYNC220", "ASYNC221", "ASYNC222", "ASYNC251"),
    "RUF006",
    # Shared mutable state, wrong types of index, work in an assertion, a decimal made from a float.
    *("RUF008", "RUF016", "RUF018", "RUF024", "RUF026", "RUF030", "RUF032", "RUF033", "RUF034", "RUF040"),
    # Every exception, also Ctrl-C, caught alike; any exception thrown away.
    *("E722", "S110", "S112"),
    # A class field or an enumeration's value twice, translated text that is formatted too early, comparisons with
    # sys.version as text, a debugger left in.
    *("PIE794", "PIE796", "INT", "YTT", "T100"),
    # Security where the code itself shows it: code from text, weak ciphers and hashes, checks of certificates and host
    # keys turned off, shells, SQL put together from text, unsafe loaders, archives and temporary names, markup that is
    # not escaped.
    *("S102", "S103", "S113", "S201", "S202", "S301", "S302", "S304", "S305", "S306", "S307", "S308", "S323", "S324"),
    *("S501", "S502", "S503", "S504", "S505", "S506", "S507", "S508", "S509", "S602", "S604", "S605", "S608", "S609"),
    *("S610", "S611", "S612", "S701", "S702", "S704"),
)
_ERRORS = re.compile(r"F50|F52|F62|F63|F70|F82|PLE|E902|B002|B012|B029|B030|PLR0124|T100")
_SWALLOWED = ("S110", "S112")
_REASON = re.compile(r"#(?!\s*(?:noqa|nosec|type:|pragma|pylint))\s*\S")
"""A comment that is for people."""
_NOTES = re.compile(r"F841|F842|B018|B020|PLW0127|PLW0602|PIE79|PLW0642|W605")


def observe(changes: Sequence[FileChange], snapshot: Path, cancelled: Callable[[], bool]) -> list[Observation]:
    """What ruff says of the changed lines of Python files.

    A syntax error that the change made is reported wherever the parser noticed it.

    Args:
        snapshot: a folder with each file's reviewed content at its path.

    Raises:
        HoneError: ruff fails, or takes longer than two minutes.
        CancelledError: as it says.
    """
    python = [change for change in changes if change.is_whole and is_python(change.path)]
    found: list[Observation] = []
    for start in range(0, len(python), _BATCH):
        batch = {change.path: change for change in python[start : start + _BATCH]}
        for item in _run(snapshot, list(batch), cancelled):
            path = Path(item["filename"]).resolve().relative_to(snapshot).as_posix()
            observation = _observation(batch[path], item)
            if observation is not None:
                found.append(observation)
    # `except: pass` is one problem.
    swallowed = {(one.path, one.first) for one in found if one.evidence.rule in _SWALLOWED}
    return [one for one in found if one.evidence.rule != "E722" or (one.path, one.first) not in swallowed]


def is_python(path: str) -> bool:
    language = language_of(path)
    return language is not None and language.name == "python"


def _run(snapshot: Path, paths: Sequence[str], cancelled: Callable[[], bool]) -> list[dict[str, Any]]:
    # -P: a file of the snapshot called ruff.py must not be what runs.
    command = [sys.executable, "-P", "-m", "ruff", "check", "--isolated", "--no-cache", "--quiet", "--exit-zero"]
    command += ["--output-format", "json", "--target-version", TARGET, "--select", ",".join(RULES), "--"]
    command += [str(snapshot / path) for path in paths]
    # RUFF_* would change what is checked and where the output goes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUFF_")}
    done = processes.run(NAME, command, snapshot, environment, _SECONDS, cancelled)
    try:
        listed = json.loads(done.output)
    except ValueError:
        listed = None
    if done.code or not isinstance(listed, list):
        raise HoneError(f"ruff failed: {done.complaint or f'exit code {done.code}'}")
    return listed


def _observation(change: FileChange, item: Mapping[str, Any]) -> Observation | None:
    rule = item["code"] or "invalid-syntax"
    rows = _Rows(change.text)
    if rule == "F821" and _quoted(change, item):
        return None
    first, last = rows.line(item["location"]["row"]), rows.line(item["end_location"]["row"])
    if item["end_location"]["column"] == 1 and last > first:
        last -= 1
    if rule in _SWALLOWED and any(_REASON.search(line) for line in change.lines[first - 1 : last]):
        # Somebody thought about it, and says why.
        return None
    severity, category = _kind(rule)
    evidence = Evidence(
        NAME,
        rule,
        str(item["message"]),
        CONFIDENCE[severity],
        item.get("url"),
        {"column": item["location"]["column"], "last_column": item["end_location"]["column"]} if first == last else {},
    )
    suggestion = _suggestion(item) if rows.plain else None
    observation = Observation(change.path, first, max(first, last), severity, category, evidence, suggestion)
    if category == "syntax" and not on_changed_lines(change, observation):
        # The parser stumbles below the line that is wrong. A file that never parsed is a template or for another
        # version of Python.
        if not parses_as_python(change.old_text):
            return None
        near = max((line for line in change.added if line <= first), default=min(change.added, default=first))
        return Observation(change.path, near, near, severity, category, evidence)
    return observation if on_changed_lines(change, observation) else None


def _quoted(change: FileChange, item: Mapping[str, Any]) -> bool:
    """Whether a name that does not exist is a whole string: an annotation that nothing evaluates, or no name at all
    (`Literal` under another name)."""
    row, column = item["location"]["row"], item["location"]["column"]
    line = change.lines[row - 1] if row <= len(change.lines) else ""
    return line[column - 2 : column - 1] in ("'", '"') if column > 1 else False


def _kind(rule: str) -> tuple[Severity, Category]:
    if rule == "invalid-syntax":
        return "error", "syntax"
    severity: Severity = "error" if _ERRORS.match(rule) else "note" if _NOTES.match(rule) else "warning"
    security = rule.startswith("S") and not rule.startswith("SIM") and rule not in _SWALLOWED
    return severity, "security" if security else "correctness"


def _suggestion(item: Mapping[str, Any]) -> Suggestion | None:
    """Ruff's fix where ruff itself calls it safe."""
    fix = item.get("fix")
    if not fix or fix.get("applicability") != "safe":
        return None
    edits = tuple(
        TextEdit(
            edit["location"]["row"],
            edit["location"]["column"],
            edit["end_location"]["row"],
            edit["end_location"]["column"],
            edit["content"],
        )
        for edit in fix["edits"]
    )
    return Suggestion(str(fix.get("message") or "as ruff suggests"), edits)


class _Rows:
    """Ruff also ends a line at a lone carriage return, git does not."""

    def __init__(self, text: str) -> None:
        self.plain = "\r" not in text
        self._lines = [0]
        if not self.plain:
            line = 1
            for end in re.findall(r"\r|\n", text):
                self._lines.append(line)
                line += end == "\n"
            self._lines.append(line)

    def line(self, row: int) -> int:
        """The line, in git's count, of a row from 1."""
        return row if self.plain else self._lines[min(row, len(self._lines) - 1)]
