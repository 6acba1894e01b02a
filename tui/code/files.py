"""The files that the tree shows, with what git says of them."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from assistant.skills import repository

_MOST_FILES = 20_000
"""Outside a repository; a home folder has more than anybody wants to see."""
_LETTERS = {"??": "U", "!!": "I"}


@dataclass(frozen=True)
class Folder:
    """Names in it, sorted; paths are below the root and `/` separated."""

    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    root: Path
    paths: tuple[str, ...] = ()
    status: dict[str, str] = field(default_factory=dict)
    """One letter for each changed path: M modified, A added, D deleted, R renamed, U untracked, ! conflict."""
    changed_folders: frozenset[str] = frozenset()
    folders: dict[str, Folder] = field(default_factory=dict)
    """By path; the root is the empty one."""
    cut: bool = False
    """There are more files than were listed."""


def listed(root: Path, in_repository: bool) -> Files:
    """Reads the working tree: what git tracks or would take, or outside git what is not hidden."""
    if in_repository:
        paths, cut = repository.files(root) or [], False
        status = {path: _letter(state) for path, state in repository.changed_files(root).items()}
    else:
        paths, cut = _walk(root)
        status = {}
    changed = {"/".join(path.split("/")[:depth]) for path in status for depth in range(1, path.count("/") + 1)}
    return Files(root, tuple(paths), status, frozenset(changed), _folders(paths), cut)


def _letter(state: str) -> str:
    if "U" in state or state in ("AA", "DD"):
        return "!"
    return _LETTERS.get(state, state[-1:])


def _folders(paths: list[str]) -> dict[str, Folder]:
    below: dict[str, tuple[set[str], list[str]]] = {"": (set(), [])}
    for path in paths:
        parent, _, name = path.rpartition("/")
        above = ""
        for part in parent.split("/") if parent else ():
            below.setdefault(above, (set(), []))[0].add(part)
            above = f"{above}/{part}" if above else part
        below.setdefault(parent, (set(), []))[1].append(name)
    return {
        folder: Folder(tuple(sorted(folders, key=str.lower)), tuple(sorted(files, key=str.lower)))
        for folder, (folders, files) in below.items()
    }


def _walk(root: Path) -> tuple[list[str], bool]:
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        parent = Path(folder).relative_to(root)
        for name in sorted(names):
            if not name.startswith("."):
                found.append((parent / name).as_posix())
            if len(found) >= _MOST_FILES:
                return found, True
    return found, False
