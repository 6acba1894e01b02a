"""Labelled changes from a JSON Lines file: one change a line, with the lines of it that are wrong.

A record has `after` (the file under review) with `before` or `diff` or both, or `diff` alone; a unified diff may change
several files. `bug_lines` counts in the new file, from 1: numbers, of which consecutive ones are one bug, or
[first, last] pairs; `[]` is a clean change; where the diff changes several files, an object of these by path. Where a
removal is wrong, the line that follows it is the wrong one.

Optional: `id`, `path`, `kind`, `bug_class` (one for all, or one for each bug in order; an object by path likewise), and
with `after`: `tests`, `entry_point` and `setup`, which show whether a suggested fix works, and `fixed`, the file that
passes them (`before`, where it is not given).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant import review_context
from assistant.errors import HoneError
from assistant.review_prompt import Finding, Hunk, HunkLine
from evals.tasks.review_data import OTHER, Case, Proof
from tuning.examples.change import changes

_PART_LINES = review_context.MAX_LINES - review_context.ABOVE - review_context.BELOW
"""Of a change in one hunk: with its context it then fits, and nothing of it is cut."""
_COLUMNS = frozenset(
    {
        "id",
        "path",
        "before",
        "after",
        "diff",
        "bug_lines",
        "bug_class",
        "tests",
        "entry_point",
        "setup",
        "fixed",
        "kind",
    }
)


@dataclass(frozen=True)
class _File:
    """One changed file."""

    path: str
    hunks: tuple[Hunk, ...]


def read(file: Path) -> list[Case]:
    """The cases of a file, one for each hunk of each change, in order.

    Raises:
        HoneError: the file cannot be read, or a line of it is no such record; names the line.
    """
    try:
        lines = file.read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise HoneError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise HoneError(f"{file} is not UTF-8 (byte {error.start})") from error
    found: list[Case] = []
    names: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise HoneError("is no JSON object")
            name = _text(record, "id") or f"{file.stem}:{number}"
            if name in names:
                raise HoneError(f"has the id {name} of an earlier line")
            names.add(name)
            found += cases(record, name)
        except (ValueError, RecursionError) as error:
            raise HoneError(f"{file}:{number} is not JSON: {error}") from error
        except HoneError as error:
            raise HoneError(f"{file}:{number} {error}") from error
    if not found:
        raise HoneError(f"{file} has no labelled change; wanted is one JSON object a line, with bug_lines")
    return found


def cases(record: Mapping[str, Any], name: str) -> list[Case]:
    """The cases of one record.

    Raises:
        HoneError: it is no labelled change; the line begins with a verb.
    """
    unknown = sorted(set(record) - _COLUMNS)
    if unknown:
        raise HoneError(f"has the unknown column {unknown[0]}; known are {', '.join(sorted(_COLUMNS))}")
    files = _files(record)
    bugs = _bugs(record, [file.path for file in files])
    proof = _proof(record, clean=not any(bugs.values()))
    kind = _text(record, "kind") or "labelled"
    found: list[Case] = []
    for file in files:
        placed = _placed(file, bugs.get(file.path, []))
        for hunk, inside in zip(file.hunks, placed, strict=True):
            number = f"#{len(found)}" if len(files) > 1 or len(file.hunks) > 1 else ""
            found.append(Case(f"{name}{number}", name, name, hunk, inside, kind, proof=proof))
    if not found:
        raise HoneError("changes no line that is not blank")
    if proof and len(found) > 1:
        raise HoneError(f"has tests, and {len(found)} hunks; a fix is proven for changes of one hunk")
    return found


def _files(record: Mapping[str, Any]) -> list[_File]:
    before, after, diff = (_text(record, column) for column in ("before", "after", "diff"))
    path = _text(record, "path")
    parsed = _parsed(diff) if diff is not None else []
    if diff is not None and not parsed:
        raise HoneError("has a diff that changes no file that is still there")
    if after is None:
        if before is not None:
            raise HoneError("has before but not after, the file under review")
        if diff is None:
            raise HoneError("has neither after nor diff")
        return [_of_diff(one, path if len(parsed) == 1 else None) for one in parsed]
    if len(parsed) > 1:
        raise HoneError(f"has after, one file, and a diff of {len(parsed)}")
    new_lines = after.split("\n")
    named = path or (parsed[0].path if parsed else "change.py")
    if before is not None:
        added, removed = changes(before.split("\n"), new_lines, 1)
    elif parsed:
        added, removed = _changed(line for hunk in parsed[0] for line in _lines(hunk))
    else:
        raise HoneError("has after, and neither before nor diff to tell what changed")
    if parsed and _disagrees(parsed[0], new_lines):
        raise HoneError("has a diff that does not lead to after")
    hunks = (
        review_context.build(named, new_lines, *part) for part in review_context.groups(added, removed, _PART_LINES)
    )
    return [_File(named, tuple(hunk for hunk in hunks if hunk.changed))]


def _of_diff(file: Any, path: str | None) -> _File:
    """What a diff alone shows: its own context, and the heading of each of its hunks."""
    named = path or file.path
    hunks = []
    for hunk in file:
        lines = _lines(hunk)
        heading = hunk.section_header.strip()
        whole = Hunk(named, (), (heading,) if heading else (), tuple(lines))
        hunks += [_window(whole, *part) for part in review_context.groups(*_changed(lines), _PART_LINES)]
    return _File(named, tuple(hunk for hunk in hunks if hunk.changed))


def _window(whole: Hunk, added: set[int], removed: Mapping[int, Sequence[str]]) -> Hunk:
    """One part of a diff's hunk: changes of its other parts are context, or not shown."""
    lines = []
    for line in whole.lines:
        if line.marker == "-" and line.number not in removed:
            continue
        inside = line.marker != "+" or line.number in added
        lines.append(line if inside else HunkLine(" ", line.number, line.text))
    changed = [index for index, line in enumerate(lines) if line.marker != " "]
    first = max(changed[0] - review_context.ABOVE, 0)
    return Hunk(whole.path, (), whole.enclosing, tuple(lines[first : changed[-1] + 1 + review_context.BELOW]))


def _parsed(diff: str) -> list[Any]:
    from unidiff import PatchSet, UnidiffParseError

    try:
        return [file for file in PatchSet(diff) if not file.is_removed_file and len(file)]
    except UnidiffParseError as error:
        raise HoneError(f"has a diff that cannot be read: {error}") from error


def _lines(hunk: Any) -> list[HunkLine]:
    found = []
    # A hunk without new lines names the line above it.
    following = hunk.target_start + (hunk.target_length == 0)
    for line in hunk:
        text = line.value.rstrip("\r\n")
        if line.line_type == "-":
            found.append(HunkLine("-", following, text))
        elif line.line_type in "+ ":
            found.append(HunkLine(line.line_type, line.target_line_no, text))
            following = line.target_line_no + 1
    return found


def _changed(lines: Iterable[HunkLine]) -> tuple[set[int], dict[int, list[str]]]:
    """Added and removed lines as `review_context.build` takes them."""
    added: set[int] = set()
    removed: dict[int, list[str]] = {}
    for line in lines:
        if line.marker == "+":
            added.add(line.number)
        elif line.marker == "-":
            removed.setdefault(line.number, []).append(line.text)
    return added, removed


def _disagrees(file: Any, new_lines: Sequence[str]) -> bool:
    said = {line.number: line.text for hunk in file for line in _lines(hunk) if line.marker != "-"}
    return any(number > len(new_lines) or new_lines[number - 1] != text for number, text in said.items())


def _bugs(record: Mapping[str, Any], paths: Sequence[str]) -> dict[str, list[Finding]]:
    if "bug_lines" not in record:
        raise HoneError("has no bug_lines; a clean change has []")
    lines, classes = record["bug_lines"], record.get("bug_class")
    if not isinstance(lines, Mapping):
        if lines and len(paths) > 1:
            raise HoneError(f"changes {len(paths)} files; bug_lines must be an object of lines by path")
        lines = {paths[0]: lines} if paths else {}
    unknown = next((path for path in lines if path not in paths), None)
    if unknown is not None:
        raise HoneError(f"has bug_lines for {unknown}, which it does not change")
    found = {}
    for path, given in lines.items():
        spans = _spans(given)
        named = classes.get(path) if isinstance(classes, Mapping) else classes
        each = named if isinstance(named, list) else [named] * len(spans)
        if len(each) != len(spans):
            raise HoneError(f"has {len(each)} bug classes for {len(spans)} bugs")
        found[path] = [
            Finding(first, last, bug_class(one), "labelled as wrong")
            for (first, last), one in zip(spans, each, strict=True)
        ]
    return found


def _spans(given: Any) -> list[tuple[int, int]]:
    """Consecutive numbers are one span.

    Raises:
        HoneError: they are no line numbers.
    """
    wrong = HoneError(f"has bug_lines {json.dumps(given)[:60]}; wanted are line numbers from 1, or [first, last] pairs")
    if not isinstance(given, list):
        raise wrong
    pairs: list[tuple[int, int]] = []
    numbers: list[int] = []
    for entry in given:
        pair = entry if isinstance(entry, list) else [entry, entry]
        if len(pair) != 2 or any(type(number) is not int or number < 1 for number in pair) or pair[0] > pair[1]:
            raise wrong
        if isinstance(entry, list):
            pairs.append((pair[0], pair[1]))
        else:
            numbers.append(entry)
    for number in sorted(set(numbers)):
        if pairs and pairs[-1][1] == number - 1 and number - 1 in numbers:
            pairs[-1] = (pairs[-1][0], number)
        else:
            pairs.append((number, number))
    return sorted(pairs)


def bug_class(name: Any) -> str:
    """A label in the form that answers use: lower case, words joined by `-`.

    Raises:
        HoneError: it is no text, or has no letter.
    """
    if name is None:
        return OTHER
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789") if isinstance(name, str) else ""
    if not plain:
        raise HoneError(f"has the bug class {json.dumps(name)[:60]}; wanted is a short name such as off-by-one")
    return plain


def _placed(file: _File, bugs: Sequence[Finding]) -> list[tuple[Finding, ...]]:
    """The bugs of each hunk: a bug belongs to the first hunk that changes one of its lines, else that shows one.

    Raises:
        HoneError: a bug is in no hunk.
    """
    placed: list[list[Finding]] = [[] for _ in file.hunks]
    for bug in bugs:
        wanted = range(bug.line, bug.last + 1)
        changing = [
            index
            for index, hunk in enumerate(file.hunks)
            if any(hunk.lines[at].number in wanted for at in hunk.changed)
        ]
        showing = [index for index, hunk in enumerate(file.hunks) if any(line.number in wanted for line in hunk.lines)]
        if not showing:
            raise HoneError(f"has the bug line {bug.line}, which is not near any changed line of {file.path}")
        placed[(changing or showing)[0]].append(bug)
    return [tuple(part) for part in placed]


def _proof(record: Mapping[str, Any], clean: bool) -> Proof | None:
    tests, after = _text(record, "tests"), _text(record, "after")
    if tests is None:
        return None
    if after is None:
        raise HoneError("has tests but not after, the whole file that they are for")
    right = after if clean else _text(record, "fixed") or _text(record, "before")
    if right is None:
        raise HoneError("has tests and a bug, but neither fixed nor before, a file that passes them")
    return Proof(after, right, tests, _text(record, "entry_point"), _text(record, "setup") or "")


def _text(record: Mapping[str, Any], column: str) -> str | None:
    value = record.get(column)
    if value is not None and not isinstance(value, str):
        raise HoneError(f"has no text in {column}")
    return value.replace("\r\n", "\n") if value is not None else None
