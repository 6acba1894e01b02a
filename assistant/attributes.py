"""What a repository's authors say of their files: the marks of linguist in `.gitattributes`."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assistant import git
from assistant.errors import HoneError

_NAMES = ("linguist-vendored", "linguist-generated", "linguist-documentation")


@dataclass(frozen=True)
class Marks:
    """True where set, False where unset on purpose, None where nothing is said."""

    vendored: bool | None = None
    generated: bool | None = None
    documentation: bool | None = None


@contextmanager
def marks(root: Path, commit: str | None) -> Iterator[Callable[[str], Marks]]:
    """Answers the marks of a path, by the attribute files of the working tree, or of `commit` where one is given.

    `git check-attr --source` came with git 2.40; an index of our own, read from the commit, does the same on any git.
    """
    with tempfile.TemporaryDirectory(prefix="hone-") as folder:
        index = None
        if commit is not None:
            index = Path(folder) / "index"
            done = git.run(root, "read-tree", commit, index=index)
            if done.returncode:
                raise HoneError(f"git cannot read {commit} of {root}: {git.complaint(done.stderr)}")
        options = ["--cached"] if commit is not None else []
        with git.asker(root, "check-attr", *options, "--stdin", "-z", *_NAMES, index=index) as asker:

            def of_path(path: str) -> Marks:
                asker.ask(path.encode("utf-8", errors="surrogateescape") + b"\0")
                fields = asker.fields(3 * len(_NAMES))
                return Marks(*map(_truth, fields[2::3]))

            yield of_path


def _truth(value: bytes) -> bool | None:
    if value in (b"set", b"true"):
        return True
    if value in (b"unset", b"false"):
        return False
    return None
