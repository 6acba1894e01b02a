"""What a repository holds: its root, the source files git tracks, and their committed content."""

import os
import subprocess
from pathlib import Path

from assistant.errors import HoneError
from assistant.languages import language_of

MAX_SOURCE_BYTES = 1_000_000
"""Larger files are data or generated code; retrieval leaves them out."""


def root_of(path: Path) -> Path | None:
    """The root of the git working tree that holds `path` (a file or folder), None outside any.

    Raises:
        HoneError: git refuses the repository (for example because somebody else owns it).
    """
    folder = path if path.is_dir() else path.parent
    done = _git(folder, "rev-parse", "--show-toplevel")
    if done is None:
        return None
    if done.returncode == 0:
        return Path(os.fsdecode(done.stdout).rstrip("\n"))
    complaint = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if complaint and "dubious ownership" in complaint[0]:
        raise HoneError(
            f"git refuses {folder}: {complaint[0].removeprefix('fatal: ')}; see `git config safe.directory`"
        )
    return None


def tracked_sources(root: Path) -> list[str]:
    """Repository paths (`/` separated, sorted) of the git-tracked source files at or below `root`.

    Symbolic links, submodules, files missing from the working tree and names that are not UTF-8 are left out.
    """
    done = _git(root, "ls-files", "-z", "--cached")
    if done is None or done.returncode != 0:
        return []
    names = {name.decode("utf-8", "replace") for name in done.stdout.split(b"\0") if name}
    return sorted(
        name for name in names if language_of(name) and (root / name).is_file() and not (root / name).is_symlink()
    )


def files(folder: Path) -> list[str] | None:
    """Paths from `folder` (sorted) of the files in it that git tracks, and of new ones that it does not ignore; None
    outside of a repository. Links, submodules and missing files are left out."""
    done = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if done is None or done.returncode != 0:
        return None
    names = {name.decode("utf-8", "replace") for name in done.stdout.split(b"\0") if name}
    return sorted(name for name in names if (folder / name).is_file() and not (folder / name).is_symlink())


def changed_files(root: Path) -> dict[str, str]:
    """What `git status` says of each repository path that differs from the commit: its two letters, blanks left out."""
    done = _git(root, "status", "--porcelain=v1", "-z", "--untracked-files=all")
    if done is None or done.returncode != 0:
        return {}
    found: dict[str, str] = {}
    entries = iter(done.stdout.split(b"\0"))
    for entry in entries:
        if entry:
            found[os.fsdecode(entry[3:])] = entry[:2].decode("ascii").replace(" ", "")
            if entry[:1] in b"RC":
                next(entries, None)  # the name it had before
    return found


def git_output(root: Path, *arguments: str, given: bytes | None = None) -> str:
    """What a git command prints at `root`; `given` is its standard input. Bytes that are not UTF-8 are replaced.

    Raises:
        HoneError: git is not installed, or it fails: its first line.
    """
    done = _git(root, *arguments, given=given)
    if done is None:
        raise HoneError("git is not installed or cannot be started here")
    if done.returncode != 0:
        complaint = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise HoneError(complaint[0].removeprefix("error: ").removeprefix("fatal: ") if complaint else "git failed")
    return done.stdout.decode("utf-8", "replace")


def committed(root: Path, revision: str, path: str) -> bytes | None:
    """The content of a file (path from `root`) in a commit, None when the commit or the file does not exist."""
    done = _git(root, "cat-file", "blob", f"{revision}:./{path}")
    return done.stdout if done is not None and done.returncode == 0 else None


def has_commit(root: Path, commit: str) -> bool:
    done = _git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    return done is not None and done.returncode == 0


def head(root: Path) -> str | None:
    """The commit checked out, None in a repository without commits."""
    done = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    return done.stdout.decode().strip() if done is not None and done.returncode == 0 else None


def source_text(data: bytes, name: str) -> str:
    """The text of a source file without a byte-order mark; line ends stay as they are.

    Raises:
        HoneError: binary or not UTF-8.
    """
    if b"\0" in data:
        raise HoneError(f"{name} is a binary file; only UTF-8 text can be completed")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise HoneError(
            f"{name} is not UTF-8 (byte 0x{data[error.start]:02x} on line {line}); convert it first"
        ) from error


def _git(folder: Path, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes] | None:
    """None when git is not installed or the folder cannot be entered."""
    # A hook's GIT_DIR would make git answer for another repository than the folder's.
    environment = {
        key: value for key, value in os.environ.items() if key not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    environment["LC_ALL"] = "C"
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            check=False,
            env=environment,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
        )
    except OSError:
        return None
