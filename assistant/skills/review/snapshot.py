"""The reviewed content as files: what analyzers read and patches are tried on, whatever the working tree holds."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from assistant import git
from assistant.errors import HoneError
from assistant.skills.review.changes import FileChange


@contextmanager
def of(files: Sequence[FileChange]) -> Iterator[Path]:
    """A private folder, a repository of its own, with the new content of each file at its path.

    Raises:
        HoneError: the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="hone-review-") as outer:
        folder = Path(outer).resolve() / "files"
        try:
            folder.mkdir()
            for file in files:
                target = folder / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.data)
        except OSError as error:
            raise HoneError(f"cannot write the files under review to {folder}: {error.strerror}") from error
        # In a repository around it, git would leave out what is not below the current folder.
        git.run(folder, "init", "--quiet", "--template=")
        yield folder
