"""Suggested changes as patches: checked to parse, and to be what `git apply` takes."""

import ast
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path

from assistant import git
from assistant.languages import language_of
from assistant.skills.review.changes import FileChange
from assistant.skills.review.findings import Edit, Fix
from assistant.skills.review.observations import Suggestion, TextEdit

_CONTEXT = 3
_BOM = b"\xef\xbb\xbf"


def checked(change: FileChange, suggestion: Suggestion, source: str, snapshot: Path) -> Fix | None:
    """The fix that a suggestion makes; None when it changes nothing, does not parse or does not apply.

    Args:
        snapshot: a folder with the file's reviewed content at its path; see `snapshot`.
    """
    edits = line_edits(change.lines, suggestion.edits)
    if edits is None or not change.is_whole:
        return None
    new = "\n".join(_edited(change.lines, edits)) + "\n"
    if not parses(change.path, change.text, new):
        return None
    patch = unified(change.path, change.data, edits)
    if patch is None or not applies(snapshot, patch):
        return None
    return Fix(source, suggestion.description, patch, edits)


def line_edits(lines: Sequence[str], edits: Sequence[TextEdit]) -> tuple[Edit, ...] | None:
    """The same change by whole lines; None when edits overlap, lie outside of the text or change nothing."""
    ordered = sorted(edits, key=lambda edit: (edit.first, edit.first_column, edit.last, edit.last_column))
    merged: list[list[TextEdit]] = []
    for edit in ordered:
        if (edit.last, edit.last_column) < (edit.first, edit.first_column) or not _inside(lines, edit):
            return None
        before = merged[-1][-1] if merged else None
        if before and (edit.first, edit.first_column) < (before.last, before.last_column):
            return None
        # Edits of one line, or of lines that touch, become one change of lines.
        if before and edit.first <= before.last + 1:
            merged[-1].append(edit)
        else:
            merged.append([edit])
    found = [_whole_lines(lines, group) for group in merged]
    kept = tuple(edit for edit in found if list(lines[edit.first - 1 : edit.last]) != list(edit.lines))
    return kept or None


def _inside(lines: Sequence[str], edit: TextEdit) -> bool:
    def valid(line: int, column: int) -> bool:
        if line == len(lines) + 1:
            return column == 1
        return 1 <= line <= len(lines) and 1 <= column <= len(lines[line - 1]) + 1

    return valid(edit.first, edit.first_column) and valid(edit.last, edit.last_column)


def _whole_lines(lines: Sequence[str], edits: Sequence[TextEdit]) -> Edit:
    first, last = edits[0].first, edits[-1].last
    text = ""
    line, column = first, 1
    for edit in edits:
        text += _between(lines, line, column, edit.first, edit.first_column) + edit.text.replace("\r\n", "\n")
        line, column = edit.last, edit.last_column
    if last == len(lines) + 1 or (column == 1 and last > first):
        # The last edit ends before the first character of a line, which stays.
        whole = text
        last -= 1
    else:
        whole = text + lines[last - 1][column - 1 :] + "\n"
    if whole and not whole.endswith("\n"):
        if last < len(lines):
            # The line break was taken away: what follows is joined.
            whole += lines[last] + "\n"
            last += 1
        else:
            whole += "\n"
    return Edit(first, last, tuple(whole.split("\n")[:-1]))


def _between(lines: Sequence[str], line: int, column: int, end: int, end_column: int) -> str:
    if line == end:
        return lines[line - 1][column - 1 : end_column - 1] if line <= len(lines) else ""
    pieces = [lines[line - 1][column - 1 :], *lines[line : end - 1]]
    pieces.append(lines[end - 1][: end_column - 1] if end <= len(lines) else "")
    return "\n".join(pieces)


def _edited(lines: Sequence[str], edits: Sequence[Edit]) -> list[str]:
    made: list[str] = []
    at = 0
    for edit in edits:
        made += [*lines[at : edit.first - 1], *edit.lines]
        at = edit.last
    return [*made, *lines[at:]]


def parses(path: str, before: str, after: str) -> bool:
    """Whether a file parses after a change. False for languages without a grammar here: a fix is a promise."""
    language = language_of(path)
    if language is None:
        return False
    # This interpreter's own parser is the stricter one, but it may be older than the file.
    if language.name == "python" and parses_as_python(before):
        return parses_as_python(after)
    from assistant.syntax import parse

    tree = parse(after, language.name)
    return tree is not None and not tree.root.has_error


def parses_as_python(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


def unified(path: str, data: bytes, edits: Sequence[Edit]) -> str | None:
    """The patch in git's form; line ends, byte-order mark and a missing last line end stay as the file has them. None
    for bytes that are not UTF-8, and for a single line with neither beginning nor end that is added to at both."""
    raw = data.split(b"\n")
    lines = [line + b"\n" for line in raw[:-1]] + ([raw[-1]] if raw[-1] else [])
    hunks: list[str] = []
    grown = 0
    edits = [_at_an_end(lines, edit) for edit in edits]
    if any(edit.first <= before.last for before, edit in itertools.pairwise(edits)):
        return None
    for group in _near(edits):
        start = max(1, group[0].first - _CONTEXT)
        end = min(len(lines), max(edit.last for edit in group) + _CONTEXT)
        body: list[bytes] = []
        new_count = old_count = 0
        at = start
        for edit in group:
            context = lines[at - 1 : edit.first - 1]
            removed = lines[edit.first - 1 : edit.last]
            added = _encoded(lines, edit)
            body += [b" " + line for line in context] + [b"-" + line for line in removed]
            body += [b"+" + line for line in added]
            old_count += len(context) + len(removed)
            new_count += len(context) + len(added)
            at = max(edit.last + 1, edit.first)
        rest = lines[at - 1 : end]
        body += [b" " + line for line in rest]
        old_count += len(rest)
        new_count += len(rest)
        new_start = start + grown
        hunks.append(f"@@ -{_range(start, old_count)} +{_range(new_start, new_count)} @@\n")
        try:
            hunks += [_ended(line.decode("utf-8")) for line in body]
        except UnicodeDecodeError:
            return None
        grown += new_count - old_count
    old, new = quoted(f"a/{path}"), quoted(f"b/{path}")
    tab = "\t" if " " in path and not old.startswith('"') else ""
    return f"diff --git {old} {new}\n--- {old}{tab}\n+++ {new}{tab}\n" + "".join(hunks)


def _at_an_end(lines: Sequence[bytes], edit: Edit) -> Edit:
    """An insertion before a first line with a byte-order mark, or after a last one without line end, changes that line
    too."""
    if edit.last >= edit.first or not lines:
        return edit
    if edit.first == 1 and lines[0].startswith(_BOM):
        return Edit(1, 1, (*edit.lines, _text(lines[0].removeprefix(_BOM))))
    if edit.first > len(lines) and not lines[-1].endswith(b"\n"):
        return Edit(len(lines), len(lines), (_text(lines[-1].removeprefix(_BOM)), *edit.lines))
    return edit


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")


def _near(edits: Sequence[Edit]) -> list[list[Edit]]:
    groups: list[list[Edit]] = []
    for edit in edits:
        if groups and edit.first - groups[-1][-1].last <= 2 * _CONTEXT:
            groups[-1].append(edit)
        else:
            groups.append([edit])
    return groups


def _encoded(lines: Sequence[bytes], edit: Edit) -> list[bytes]:
    """New lines with the line end of those that they replace, else of the file's first line."""
    like = lines[edit.first - 1] if edit.first <= edit.last else b""
    if not like.endswith(b"\n"):
        like = lines[0] if lines else b"\n"
    end = b"\r\n" if like.endswith(b"\r\n") else b"\n"
    made = [line.encode("utf-8") + end for line in edit.lines]
    if made and edit.first == 1 and edit.last >= 1 and lines[0].startswith(_BOM):
        made[0] = _BOM + made[0]
    if made and edit.last == len(lines) and lines and not lines[-1].endswith(b"\n"):
        made[-1] = made[-1].removesuffix(end)
    return made


def _ended(line: str) -> str:
    return line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"


def _range(start: int, count: int) -> str:
    if count == 0:
        return f"{start - 1},0"
    return f"{start},{count}" if count != 1 else f"{start}"


def quoted(path: str) -> str:
    """A path as git's diffs write it: in C's quotes where it holds a control character, a quote or a backslash."""
    if not any(character < " " or character in '"\\\x7f' for character in path):
        return path
    made = "".join(
        f"\\{ord(character):03o}"
        if character < " " or character == "\x7f"
        else "\\" + character
        if character in '"\\'
        else character
        for character in path
    )
    return f'"{made}"'


def applies(snapshot: Path, patch: str) -> bool:
    """Whether `git apply` takes the patch in a folder that `snapshot.of` made."""
    file = snapshot.parent / "suggested.patch"
    file.write_bytes(patch.encode("utf-8"))
    # The user's configuration must not decide: with autocrlf, git would compare other line ends.
    plain = ("-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "apply.whitespace=nowarn")
    return git.run(snapshot, *plain, "apply", "--check", str(file)).returncode == 0
