"""A copy of a repository's working tree, made once, so that tests never run in the user's own."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from assistant import git
from assistant.errors import HoneError

_BUILT = (".py", ".pyi", ".so", ".pyd")
"""Ignored files that a package needs all the same: a generated version module, a compiled extension."""


def files_of(root: Path) -> list[str]:
    """Paths from the root, sorted: tracked files, untracked ones that git does not ignore, and built modules that lie
    beside them. Ignored folders (virtual environments, caches) are left out whole.

    Raises:
        HoneError: git cannot read the repository.
    """
    known = git.listing(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    ignored = git.listing(root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    names = {*known, *(name for name in ignored if name.endswith(_BUILT))}
    return sorted(name for name in names if (root / name).is_file() or (root / name).is_symlink())


def snapshot(root: Path, target: Path) -> str:
    """Copies the tree to the new folder `target` and returns a digest of its paths and contents.

    Raises:
        HoneError: a file cannot be read or written.
    """
    digest = hashlib.sha256()
    try:
        target.mkdir(parents=True)
        for name in files_of(root):
            source, copied = root / name, target / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                link = os.readlink(source)
                copied.symlink_to(link)
                content = os.fsencode(link)
            else:
                shutil.copy2(source, copied)
                content = copied.read_bytes()
            digest.update(os.fsencode(name) + b"\0" + hashlib.sha256(content).digest())
    except OSError as error:
        raise HoneError(f"cannot copy {root}: {error.filename or target}: {error.strerror}") from error
    return digest.hexdigest()


def import_roots(folder: Path, paths: Iterator[str] | list[str]) -> list[str]:
    """Folders (from `folder`) that the files' packages are imported from, so that the copy comes before any
    installed version: `src` where there is one, the parents of packages, and the root."""
    roots = {"src"} if (folder / "src").is_dir() else set()
    for path in paths:
        parent = Path(path).parent
        if not (folder / parent / "__init__.py").is_file():
            continue
        while (folder / parent / "__init__.py").is_file() and parent != Path("."):
            parent = parent.parent
        roots.add(parent.as_posix())
    return [*sorted(roots - {"."}), "."]
