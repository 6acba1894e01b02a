"""A tree of files: on disk, tracked by git or not, or at a revision, read without checking anything out."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from assistant import git
from tuning.corpus.gitignore import IgnoreRules

_REGULAR = ("100644", "100755")
_SMALL_BYTES = 256 * 1024
"""A licence or ignore file larger than this is not read."""
_FOLDERS_KEPT = 10_000


@dataclass(frozen=True)
class Entry:
    path: str
    """From the root, `/` separated; bytes that are not UTF-8 as surrogates."""
    size: int
    blob: str = ""
    """Git's object id, at a revision."""
    problem: str = ""
    """Why it cannot be read, where that is known already."""


class Tree(Protocol):
    def entries(self) -> Iterator[Entry]:
        """The regular files, ordered by the bytes of their paths."""

    def read(self, entry: Entry) -> bytes:
        """
        Raises:
            OSError: it cannot be read.
        """

    def names(self, folder: str) -> list[str]:
        """The names of what is in a folder, sorted; nothing where it cannot be read."""

    def small_text(self, path: str) -> str | None:
        """The text of a small regular file; None where there is none."""


class OnDisk:
    """What the two trees on disk share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, entry: Entry) -> bytes:
        with open(self.root / entry.path, "rb", opener=_no_links) as file:
            return file.read()

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(self.root / folder))
        except OSError:
            return []

    def small_text(self, path: str) -> str | None:
        file = self.root / path
        try:
            status = file.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > _SMALL_BYTES:
                return None
            return file.read_bytes().decode("utf-8-sig", errors="replace")
        except OSError:
            return None

    def entry(self, path: str) -> Entry:
        try:
            status = (self.root / path).lstat()
        except OSError as error:
            return Entry(path, 0, problem=str(error.strerror))
        if not stat.S_ISREG(status.st_mode):
            return Entry(path, 0, problem="on disk it is not a regular file any more")
        return Entry(path, status.st_size)


class WorkTree(OnDisk):
    """The tracked files of a git working tree, as they are on disk; symbolic links and submodules are left out."""

    def __init__(self, root: Path, folder: str) -> None:
        super().__init__(root)
        self._folder = folder

    def entries(self) -> Iterator[Entry]:
        before = None
        for record in git.listing(
            self.root, "ls-files", "-z", "--stage", "--full-name", "--", *([self._folder] if self._folder else [])
        ):
            mode, _, rest = record.partition(" ")
            path = rest.partition("\t")[2]
            # A file in conflict is listed once for each side.
            if mode in _REGULAR and path != before:
                before = path
                yield self.entry(path)


class PlainFolder(OnDisk):
    """A folder that git knows nothing of; what its `.gitignore` files name is not looked at."""

    def entries(self) -> Iterator[Entry]:
        return self._below("", IgnoreRules(".gitignore", self.small_text))

    def _below(self, folder: str, ignored: IgnoreRules) -> Iterator[Entry]:
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(self.root / folder) as found:
                children = [(child.name, child.is_dir(follow_symlinks=False), child.is_symlink()) for child in found]
        except OSError as error:
            yield Entry(prefix, 0, problem=str(error.strerror))
            return
        # As git sorts: a folder's name as if it ended in a slash.
        children.sort(key=lambda child: os.fsencode(child[0] + ("/" if child[1] else "")))
        for name, is_folder, is_link in children:
            path = prefix + name
            if name == ".git" or is_link or ignored.ignored_by(path, is_folder):
                continue
            if is_folder:
                yield from self._below(path, ignored)
            else:
                entry = self.entry(path)
                if not entry.problem:
                    yield entry


class Revision:
    """The files of a commit. Symbolic links and submodules are left out."""

    def __init__(self, root: Path, commit: str, folder: str, asker: git.Asker) -> None:
        self._root = root
        self._commit = commit
        self._folder = folder
        self._asker = asker
        self._tree = lru_cache(_FOLDERS_KEPT)(self._read_tree)

    def entries(self) -> Iterator[Entry]:
        prefix = f"{self._folder}/" if self._folder else ""
        tree = f"{self._commit}:{self._folder}"
        for record in git.listing(self._root, "ls-tree", "-r", "-z", "-l", "--full-tree", tree):
            facts, _, path = record.partition("\t")
            if facts:
                mode, _, blob, size = facts.split()
                if mode in _REGULAR:
                    yield Entry(prefix + path, int(size), blob)

    def read(self, entry: Entry) -> bytes:
        return self._object(entry.blob)[1]

    def names(self, folder: str) -> list[str]:
        return sorted(name for name, (mode, _) in self._tree(folder).items() if mode in _REGULAR)

    def small_text(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        mode, blob = self._tree(folder).get(name, ("", ""))
        if mode not in _REGULAR:
            return None
        data = self._object(blob)[1]
        return data.decode("utf-8-sig", errors="replace") if len(data) <= _SMALL_BYTES else None

    def _read_tree(self, folder: str) -> dict[str, tuple[str, str]]:
        """Name -> mode and object id. Descends by object ids, since a path with a line end cannot be asked for."""
        if folder:
            parent, _, name = folder.rpartition("/")
            mode, question = self._tree(parent).get(name, ("", ""))
            if mode != "40000":
                return {}
        else:
            question = f"{self._commit}^{{tree}}"
        id_bytes = len(self._commit) // 2
        data = self._object(question)[1]
        found = {}
        start = 0
        while start < len(data):
            space, end = data.index(b" ", start), data.index(b"\0", start)
            name = data[space + 1 : end].decode("utf-8", errors="surrogateescape")
            found[name] = (data[start:space].decode(), data[end + 1 : end + 1 + id_bytes].hex())
            start = end + 1 + id_bytes
        return found

    def _object(self, question: str) -> tuple[str, bytes]:
        self._asker.ask(question.encode() + b"\n")
        header = self._asker.line().decode(errors="replace")
        if header.endswith(" missing"):
            raise OSError(f"git has no object {question}")
        _, kind, size = header.rsplit(" ", 2)
        return kind, self._asker.exactly(int(size) + 1)[:-1]


@contextmanager
def at_revision(root: Path, commit: str, folder: str) -> Iterator[Revision]:
    with git.asker(root, "cat-file", "--batch") as asker:
        yield Revision(root, commit, folder, asker)


def _no_links(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW)
    except OSError as error:
        if Path(path).is_symlink():
            raise OSError(error.errno, "it is a symbolic link") from error
        raise
