"""Git by its command line: one-off commands, streamed listings and processes that answer one question after another.

Nothing here writes into a repository or checks anything out.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from assistant.errors import HoneError

_PIECE = 1 << 16
_MISSING = "git is not installed; Hone reads which files are yours from it"


def environment() -> dict[str, str]:
    """The environment without what points git at another repository (as in a hook), in English, paths taken literally.

    `GIT_OPTIONAL_LOCKS=0` keeps `git status` from rewriting the index.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name
        not in {
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_NAMESPACE",
            "GIT_PREFIX",
            "GIT_COMMON_DIR",
            "GIT_FLUSH",
        }
    }
    return {**kept, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1"}


def run(folder: Path, *arguments: str, index: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Runs git in `folder` to its end, with another index file where one is given.

    Raises:
        HoneError: git is not installed.
    """
    extra = {"GIT_INDEX_FILE": str(index)} if index else {}
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env={**environment(), **extra},
        )
    except FileNotFoundError as error:
        raise HoneError(_MISSING) from error


def answer(folder: Path, *arguments: str) -> str | None:
    """What git printed, without the line end; None where it failed."""
    done = run(folder, *arguments)
    return done.stdout.decode("utf-8", errors="surrogateescape").removesuffix("\n") if done.returncode == 0 else None


def complaint(stderr: bytes) -> str:
    """The first line of git's error."""
    lines = stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
    return lines[0].removeprefix("fatal: ").removeprefix("error: ")


def listing(folder: Path, *arguments: str) -> Iterator[str]:
    """The NUL-terminated records of a git command, streamed.

    Raises:
        HoneError: the command fails, which may be after some records.
    """
    with _started(folder, arguments, {}) as (process, complaints):
        process.stdin.close()  # type: ignore[union-attr]
        rest = b""
        while piece := process.stdout.read1(_PIECE):  # type: ignore[union-attr]
            *records, rest = (rest + piece).split(b"\0")
            for record in records:
                yield record.decode("utf-8", errors="surrogateescape")
        if process.wait():
            complaints.seek(0)
            raise HoneError(f"git {arguments[0]} failed in {folder}: {complaint(complaints.read())}")


class Asker:
    """A git process that answers questions on its standard input, one at a time."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, command: str) -> None:
        self._input = process.stdin
        self._output = process.stdout
        self._name = f"git {command} in {folder}"

    def ask(self, question: bytes) -> None:
        try:
            self._input.write(question)  # type: ignore[union-attr]
            self._input.flush()  # type: ignore[union-attr]
        except OSError as error:
            raise HoneError(f"{self._name} ended early: {error.strerror}") from error

    def line(self) -> bytes:
        line: bytes = self._output.readline()  # type: ignore[union-attr]
        if not line.endswith(b"\n"):
            raise HoneError(f"{self._name} ended early")
        return line[:-1]

    def exactly(self, count: int) -> bytes:
        data: bytes = self._output.read(count)  # type: ignore[union-attr]
        if len(data) < count:
            raise HoneError(f"{self._name} ended early")
        return data

    def fields(self, count: int) -> list[bytes]:
        """The next `count` NUL-terminated fields; nothing may come after them until the next question."""
        data = b""
        while (seen := data.count(b"\0")) < count:
            piece = self._output.read1(_PIECE)  # type: ignore[union-attr]
            if not piece:
                raise HoneError(f"{self._name} ended early after {seen} fields")
            data += piece
        return data.split(b"\0")[:count]


@contextmanager
def asker(folder: Path, *arguments: str, index: Path | None = None) -> Iterator[Asker]:
    extra = {"GIT_INDEX_FILE": str(index)} if index else {}
    with _started(folder, arguments, extra) as (process, _):
        yield Asker(process, folder, arguments[0])


@contextmanager
def _started(
    folder: Path, arguments: tuple[str, ...], extra: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], "tempfile._TemporaryFileWrapper[bytes]"]]:
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                ["git", "-C", str(folder), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env={**environment(), **extra},
            )
        except FileNotFoundError as error:
            raise HoneError(_MISSING) from error
        try:
            yield process, complaints  # type: ignore[misc]
        finally:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            process.wait()


def commit_times(root: Path, commit: str, folder: str) -> dict[str, int]:
    """Path -> Unix time of the last commit that touched it, from one pass over the history of `commit`.

    Merges count only through the commits that they merge; a file in a shallow clone has at least the time of its
    boundary. `folder` is from the root, empty for all.
    """
    times: dict[str, int] = {}
    now = 0
    # No path in git begins with a slash, so a record that does is a commit.
    arguments = ["log", "-z", "--format=//%ct", "--name-only", "--no-renames", "--no-relative", "--no-show-signature"]
    for record in listing(root, *arguments, commit, "--", *([folder] if folder else [])):
        if record.startswith("//"):
            now = int(record[2:])
        elif record:
            times.setdefault(record.removeprefix("\n"), now)
    return times
