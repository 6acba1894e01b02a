"""The changes of a working tree, as git shows them."""

import re
from itertools import pairwise
from pathlib import Path

from assistant.errors import HoneError
from assistant.skills import confine, repository

_FILE = re.compile(r"^diff --(?:git|cc|combined) .*$", re.MULTILINE)
"""`cc`: of a file in conflict."""
_NAME = re.compile(r"^(?:\+\+\+|---) (?:[ab]/)?(.+?)\t?$", re.MULTILINE)


def of_working_tree(root: Path, staged: bool) -> str:
    """The staged or the unstaged changes of a repository, with `a/` and `b/` before the names.

    Raises:
        HoneError: git refuses.
    """
    options = ["--cached"] if staged else []
    # Colours, external diff tools and other prefixes of the user's configuration would not be read back.
    arguments = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
    return repository.git_output(root, *arguments, *options)


def files_of(diff: str) -> list[tuple[str, str]]:
    """Each file's name and part of a diff."""
    starts = [match.start() for match in _FILE.finditer(diff)]
    parts = [diff[start:end] for start, end in pairwise([*starts, len(diff)])]
    return [(_name(part), part) for part in parts]


def without_secrets(diff: str) -> tuple[str, list[str]]:
    """A diff without the files that may hold secrets, and their names."""
    kept: list[str] = []
    left_out: list[str] = []
    for name, part in files_of(diff):
        if confine.secret_by_name(Path(name)) is None and confine.secret_by_content(part) is None:
            kept.append(part)
        else:
            left_out.append(name)
    return "".join(kept), left_out


def applies(root: Path, patch: str) -> str | None:
    """None when `git apply` takes the patch at `root`, else git's reason, in one line."""
    try:
        repository.git_output(root, "apply", "--check", "-", given=patch.encode())
    except HoneError as error:
        return str(error)
    return None


def _name(part: str) -> str:
    names = [match for match in _NAME.findall(part) if match != "/dev/null"]
    if names:
        return str(names[-1])
    # Binary files and renames have no ---/+++ lines.
    head = part.split("\n", 1)[0]
    return head.rpartition(" b/")[2] if head.startswith("diff --git ") else head.split(" ", 2)[2]
