"""The changes of a working tree, as git shows them."""

import re
from itertools import pairwise
from pathlib import Path

from assistant.errors import HoneError
from assistant.skills import confine, repository
from assistant.skills.review.hunks import unquoted, without_prefix

_FILE = re.compile(r"^diff --(?:git|cc|combined) .*$", re.MULTILINE)
"""`cc`: of a file in conflict."""
_NAME = re.compile(r"^(?:\+\+\+|---) (.+?)\t?$", re.MULTILINE)
_RENAMED = re.compile(r"^(?:rename|copy) (?:from|to) (.+)$", re.MULTILINE)


def of_working_tree(root: Path, staged: bool) -> str:
    """The staged or the unstaged changes of a repository, with `a/` and `b/` before the names.

    Raises:
        HoneError: git refuses.
    """
    options = ["--cached"] if staged else []
    # Colours, external diff tools and other prefixes of the user's configuration would not be read back.
    arguments = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
    return repository.git_output(root, *arguments, *options)


def files_of(diff: str) -> list[tuple[list[str], str]]:
    """Each file's part of a diff with its names, of which a renamed one has two: the new one is the last."""
    starts = [match.start() for match in _FILE.finditer(diff)]
    parts = [diff[start:end] for start, end in pairwise([*starts, len(diff)])]
    return [(_names(part), part) for part in parts]


def without_secrets(diff: str) -> tuple[str, list[str]]:
    """A diff without the files that may hold secrets, and their names."""
    kept: list[str] = []
    left_out: list[str] = []
    for names, part in files_of(diff):
        secret = any(confine.secret_by_name(Path(name)) for name in names) or confine.secret_by_content(part)
        if secret:
            left_out.append(names[-1].encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        else:
            kept.append(part)
    return "".join(kept), left_out


def applies(root: Path, patch: str) -> str | None:
    """None when `git apply` takes the patch at `root`, else git's reason, in one line."""
    try:
        repository.git_output(root, "apply", "--check", "-", given=patch.encode())
    except HoneError as error:
        return str(error)
    return None


def _names(part: str) -> list[str]:
    # What is in a file can look like a name: a line `-- old` that is removed.
    head = part.partition("\n@@")[0]
    written = [name for name in _NAME.findall(head) if name != "/dev/null"]
    if names := [without_prefix(unquoted(name)) for name in written]:
        return names
    # Binary files and those that were only renamed have no ---/+++ lines.
    if renamed := _RENAMED.findall(head):
        return [unquoted(name) for name in renamed]
    first = head.split("\n", 1)[0]
    if not first.startswith("diff --git "):
        return [unquoted(first.split(" ", 2)[2])]
    return [without_prefix(unquoted(_second_of_two(first.removeprefix("diff --git "))))]


def _second_of_two(names: str) -> str:
    """Of a file's name that stands there twice, `a/NAME b/NAME`, quoted or not, the second."""
    return names[len(names) // 2 + 1 :]
