"""Bugs that were really made: the small bug fixes in a repository's history, read backwards.

The file after a fix is the good one, its parent's the buggy one; the lines that the fix changed are the wrong ones.
"""

import contextlib
import os
import random
import re
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from assistant import review_context
from assistant.errors import HoneError
from assistant.languages import Language, language_of
from assistant.review_prompt import Finding
from tuning.examples.change import block, changes, difference
from tuning.examples.mutate_edit import shared_ends
from tuning.examples.review import Review

MAX_FILES = 2
"""Source files that a fix changes, tests not counted: a larger commit does more than fix one thing."""
MAX_LINES = 20
"""Lines that it adds or removes in them."""
MAX_BYTES = 500_000
BUG_CLASS = "other"
"""What a message calls its bug is in no fixed words."""

_FIXES = re.compile(r"\b(fix(e[sd]|ing)?|bugs?|bug-?fix(es)?|hotfix|regressions?)\b", re.IGNORECASE)
_NO_BUG = re.compile(
    r"\b(typos?|docs?|docstrings?|documentation|comments?|readme|spelling|grammar|wording|style|format(ting)?|lint\w*|"
    r"ruff|black|isort|flake8|pylint|eslint|prettier|rustfmt|clippy|gofmt|mypy|pyright|typing|annotations?|type hints?|"
    r"white-?space|indentation|changelog|release notes|versions?|bump|release|merge|revert\w*|licen[cs]e|copyright|"
    r"translations?|deps|dependenc\w+|pre-commit|workflows?|ci|tests?)\b",
    re.IGNORECASE,
)
_TEST = re.compile(
    r"(^|/)(tests?|testing|testdata|specs?|__tests__|fixtures)/|(^|/)(test_|conftest)|(_test|\.test|\.spec|_spec)\."
)
_VENDORED = re.compile(r"(^|/)(vendor(ed)?|_vendor|third_party|thirdparty|node_modules|site-packages)/")
_FAR_APART = 2_000
"""Lines from the first change of a file to the last: matching more would take seconds."""


@dataclass(frozen=True)
class Fix:
    """One file of one bug-fix commit."""

    commit: str
    committed: int
    """Unix time."""
    subject: str
    """The first line of the message."""
    path: str
    fixed: str
    buggy: str
    """The file in the commit and in its parent, line ends as newlines. As they are in the repository: not redacted."""


def no_history(root: Path) -> str:
    """Why a folder has no bug fixes to give; empty when it has a history to look through.

    Raises:
        HoneError: git is missing.
    """
    if _git(root, "rev-parse", "--git-dir") is None:
        return "not a git repository"
    if (_git(root, "rev-parse", "--is-shallow-repository") or "").strip() == "true":
        return "a shallow clone has no history; run `git fetch --unshallow` there"
    counted = _git(root, "rev-list", "--count", "--max-count=2", "HEAD")
    if counted is None:
        return "no commit yet"
    return "" if int(counted) > 1 else "only one commit"


def fixes(
    root: Path,
    revision: str = "HEAD",
    excluded: Collection[str] = (),
    max_files: int = MAX_FILES,
    max_lines: int = MAX_LINES,
) -> Iterator[Fix]:
    """The bug fixes up to a revision, newest first; none of later commits, none where `no_history` has a reason.

    Two git processes run, one that lists the commits and one that reads the files; both are streamed.

    Args:
        excluded: paths at that revision whose history must not be read, under earlier names neither.
        max_lines: added and removed lines of a fix, over all its source files.

    Raises:
        HoneError: git is missing or fails, or the revision is unknown.
    """
    if no_history(root):
        return
    if _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}") is None:
        raise HoneError(f"{root} has no revision {revision}; `git log` there lists those it has")
    held_out = set(excluded)
    with _reader(root) as blobs:
        for commit in _commits(root, revision):
            # Newest first, so a rename is met before the commits that know the earlier name.
            held_out |= {change.old_path for change in commit.changes if change.path in held_out}
            if not _is_fix(commit.subject):
                continue
            sources = [change for change in commit.changes if _is_source(change.path)]
            if not 0 < len(sources) <= max_files or any(change.status != "M" for change in sources):
                continue
            found: list[Fix] = []
            lines = 0
            for change in sources:
                pair = _texts(blobs, change)
                if pair is None:
                    found = []
                    break
                lines += _changed(*pair)
                if change.path not in held_out:
                    found.append(Fix(commit.digest, commit.time, commit.subject, change.path, *pair))
            if lines <= max_lines:
                yield from found


def reviews(
    fix: Fix,
    generator: random.Random,
    clean_share: float = 0.5,
    most_lines: int = review_context.MAX_LINES,
) -> Iterator[Review]:
    """The reviews of one fix: for each place either the change that makes the bug, or the fix itself as a clean change.

    Half of the changes whose new lines can stand alone are shown as lines added to the file, without the lines that
    they replace. Places where only comments or blanks differ give none.
    """
    clean = generator.random() < clean_share
    old, new = (fix.buggy, fix.fixed) if clean else (fix.fixed, fix.buggy)
    old_lines, new_lines = old.split("\n"), new.split("\n")
    language = language_of(fix.path)
    for added, removed in review_context.groups(*changes(old_lines, new_lines, 1)):
        said = [new_lines[number - 1] for number in sorted(added)]
        replaced = [line for lines in removed.values() for line in lines]
        if _code(said, language) == _code(replaced, language):
            continue
        shown, gone = added, removed
        if added and generator.random() < 0.5:
            shown = set(range(*block(new_lines, min(added), max(added), (1, len(new_lines)), generator)))
            gone = {}
        hunk = review_context.build(fix.path, new_lines, shown, gone, most_lines)
        wrong = tuple(
            index
            for index in hunk.changed
            if _code([hunk.lines[index].text], language)
            and (hunk.lines[index].number in added if added else hunk.lines[index].marker == "-")
            and hunk.lines[index].marker == ("+" if added else "-")
        )
        expected = sum(bool(_code([line], language)) for line in (said if added else replaced))
        if len(wrong) != expected or not wrong:
            continue
        if clean:
            yield Review(hunk, (), (), "commit", place=wrong)
            continue
        finding = Finding(
            hunk.lines[wrong[0]].number,
            hunk.lines[wrong[-1]].number,
            BUG_CLASS,
            _reason(fix.subject),
            tuple(replaced),
        )
        yield Review(hunk, wrong, (finding,), "commit", place=wrong)


def _changed(fixed: str, buggy: str) -> int:
    """Added and removed lines; of files that differ over a long stretch more than any fix has."""
    one, two = fixed.split("\n"), buggy.split("\n")
    head, tail = shared_ends(one, two)
    if max(len(one), len(two)) - head - tail > _FAR_APART:
        return _FAR_APART
    return sum(marker != " " for marker, _ in difference(one, two))


def _code(lines: list[str], language: Language | None) -> str:
    """Lines without comments at their ends, and without blanks."""
    comment = language.comment if language else "#"
    return "".join("".join(re.split(rf"(?:^|\s){re.escape(comment)}", line, maxsplit=1)[0].split()) for line in lines)


def _reason(subject: str) -> str:
    """The subject without type, issue numbers and full stop: `fix(io): close the file (#12)` -> `close the file`."""
    plain = re.sub(r"^\s*(bug-?fix|fix(e[sd])?|hotfix)\s*(\([^)]*\))?!?\s*:\s*", "", subject, flags=re.IGNORECASE)
    plain = re.sub(r"\s*\(?(gh-|bpo-|#)\d+\)?:?", "", plain).strip(" .")
    return plain or "a bug"


def _is_fix(subject: str) -> bool:
    return bool(_FIXES.search(subject)) and not _NO_BUG.search(subject)


def _is_source(path: str) -> bool:
    return language_of(path) is not None and not _TEST.search(path) and not _VENDORED.search(path)


@dataclass(frozen=True)
class _Change:
    status: str
    old_blob: str
    new_blob: str
    old_path: str
    path: str


@dataclass(frozen=True)
class _Commit:
    digest: str
    time: int
    subject: str
    changes: list[_Change]


def _commits(root: Path, revision: str) -> Iterator[_Commit]:
    """The commits that a revision has, newest first, merges left out.

    Raises:
        HoneError: git fails.
    """
    command = _command(
        root, "log", "-z", "--raw", "--no-abbrev", "-M", "--no-merges", "--no-show-signature", "--no-ext-diff",
        "--no-color", "--topo-order", "--format=%x01%H%x00%ct%x00%s", "--end-of-options", revision, "--",
    )  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()) as process:
        assert process.stdout is not None
        ended = False
        try:
            yield from _parsed(_tokens(process.stdout))
            ended = True
        finally:
            if not ended:
                process.kill()
    if process.returncode:
        raise HoneError(f"git cannot read the history of {root}; run `git fsck` there")


def _parsed(tokens: Iterator[str]) -> Iterator[_Commit]:
    current: _Commit | None = None
    for token in tokens:
        if token.startswith("\x01"):
            if current:
                yield current
            current = _Commit(token[1:], int(next(tokens)), next(tokens), [])
        elif current and token.lstrip("\n").startswith(":"):
            _, _, old_blob, new_blob, status = token.lstrip("\n").split(" ")
            old_path = path = next(tokens)
            if status[0] in "RC":
                path = next(tokens)
            current.changes.append(_Change(status[0], old_blob, new_blob, old_path, path))
    if current:
        yield current


def _tokens(stream: IO[bytes]) -> Iterator[str]:
    """What stands between NUL bytes."""
    rest = b""
    while block_ := stream.read(65536):
        *whole, rest = (rest + block_).split(b"\0")
        yield from (token.decode("utf-8", errors="surrogateescape") for token in whole)
    if rest:
        yield rest.decode("utf-8", errors="surrogateescape")


@contextlib.contextmanager
def _reader(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = _command(root, "cat-file", "--batch")
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _texts(blobs: "subprocess.Popen[bytes]", change: _Change) -> tuple[str, str] | None:
    """The file with the fix and without it; None where one is no text, too large or not there."""
    fixed, buggy = _blob(blobs, change.new_blob), _blob(blobs, change.old_blob)
    if fixed is None or buggy is None:
        return None
    try:
        return fixed.decode("utf-8-sig").replace("\r\n", "\n"), buggy.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None


def _blob(blobs: "subprocess.Popen[bytes]", digest: str) -> bytes | None:
    """The content of a blob, None where it is missing, binary or too large.

    Raises:
        HoneError: git ended.
    """
    assert blobs.stdin is not None
    assert blobs.stdout is not None
    blobs.stdin.write(digest.encode() + b"\n")
    blobs.stdin.flush()
    head = blobs.stdout.readline().split()
    if not head:
        raise HoneError("git stopped while the history was read; run `git fsck` in the repository")
    if head[1] in (b"missing", b"ambiguous"):
        return None
    content = blobs.stdout.read(int(head[2]) + 1)[:-1]
    return None if len(content) > MAX_BYTES or b"\0" in content or head[1] != b"blob" else content


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, None when it fails.

    Raises:
        HoneError: git is missing.
    """
    try:
        done = subprocess.run(_command(root, *arguments), capture_output=True, check=False, env=_environment())
    except FileNotFoundError as error:
        raise HoneError("git is not installed; Hone reads the history from it") from error
    return None if done.returncode else done.stdout.decode("utf-8", errors="surrogateescape")


def _command(root: Path, *arguments: str) -> list[str]:
    return ["git", "-C", str(root), *arguments]


def _environment() -> dict[str, str]:
    # A partial clone must not fetch what is missing.
    return {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
