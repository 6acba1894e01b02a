"""What a corpus is read from, and how a source is written on the command line."""

import math
import re
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from assistant import git
from assistant.errors import HoneError
from tuning.corpus import installed

Kind = Literal["git", "folder", "jsonl", "dataset", "installed"]

RECORD_ENDINGS = (".jsonl", ".jsonl.gz")
DATASET_PREFIX = "hf:"
_HUB_NAME = re.compile(r"\w[\w.\-]*(?:/\w[\w.\-]*)?")


@dataclass(frozen=True)
class Source:
    kind: Kind
    path: str
    """Absolute once resolved; the name of a dataset on a hub; installed packages as they were asked for."""
    weight: float = 1.0
    revision: str | None = None
    """As asked for; None reads the working tree."""
    config: str | None = None
    """Of a dataset."""
    split: str | None = None
    """Of a dataset."""
    root: str | None = None
    """What document paths begin at: the repository's root, the folder, the file's folder. None until resolved."""
    commit: str | None = None
    remote: str | None = None
    """Without credentials."""
    dirty: bool = False
    """Tracked files differ from the commit."""


def parse(spec: str, weight: float = 1.0) -> Source:
    """Reads one source as it is written on the command line.

    `PATH` (a git repository or a folder in one, else a plain folder), `PATH@REVISION`, `FILE.jsonl`, `FILE.jsonl.gz`,
    `hf:NAME[:CONFIG][@SPLIT]` or `installed:all` (see `corpus.installed`). A path that exists wins over the
    reading with a revision.

    Raises:
        HoneError: it is none of these, the path does not exist, or the weight is no positive number.
    """
    if not (math.isfinite(weight) and weight > 0):
        raise HoneError(f"the weight of {spec} is {weight:g}; it must be a number greater than 0")
    if spec.startswith(DATASET_PREFIX):
        return _dataset(spec, weight)
    if spec.startswith(installed.PREFIX):
        installed.check(spec)
        return Source("installed", spec, weight)
    if not spec or "\0" in spec:
        raise HoneError("a corpus is named by a path, PATH@REVISION, FILE.jsonl or hf:DATASET; this one is empty")
    path = Path(spec)
    if path.is_dir():
        return Source("git" if _in_git(path) else "folder", spec, weight)
    if path.exists():
        if spec.endswith(RECORD_ENDINGS) and path.is_file():
            return Source("jsonl", spec, weight)
        raise HoneError(
            f"{spec} is not a folder and not a .jsonl file; name a git repository, a folder, FILE.jsonl or hf:DATASET"
        )
    if "@" in spec:
        return _at_revision(spec, weight)
    raise HoneError(f"{spec} is not a folder or file; name a git repository, a folder, FILE.jsonl or hf:DATASET")


def resolve(source: Source) -> Source:
    """The source with absolute path, commit, remote and dirt; a revision is pinned to the commit it names now.

    A resolved source is returned as it is.

    Raises:
        HoneError: the revision does not exist, the plain folder is empty, a package is not installed, or a dataset's
            hub does not answer.
    """
    if source.root is not None:
        return source
    if source.kind == "dataset":
        from tuning.corpus.dataset import pinned

        return pinned(source)
    if source.kind == "installed":
        installed.packages(source.path)
        return replace(source, root=sysconfig.get_path("purelib"))
    path = Path(source.path).absolute()
    if source.kind == "jsonl":
        return replace(source, path=str(path), root=str(path.parent))
    if source.kind == "folder":
        try:
            empty = not any(path.iterdir())
        except OSError as error:
            raise HoneError(f"{source.path} cannot be read: {error.strerror}") from error
        if empty:
            raise HoneError(f"{source.path} is empty and not in a git repository; name a folder with source files")
        return replace(source, path=str(path.resolve()), root=str(path.resolve()))
    return _resolved_git(source, path)


def folder_in(source: Source) -> str:
    """The part of a git source below its root, `/` separated, empty for the whole repository."""
    assert source.root is not None
    relative = Path(source.path).relative_to(source.root).as_posix()
    return "" if relative == "." else relative


def without_credentials(url: str) -> str:
    return re.sub(r"(?<=://)[^/@]+@", "", url)


def _dataset(spec: str, weight: float) -> Source:
    rest = spec.removeprefix(DATASET_PREFIX)
    if rest and Path(rest).exists():
        return Source("dataset", rest, weight, split="train")
    rest, _, split = rest.rpartition("@") if "@" in rest else (rest, "", "train")
    name, colon, config = rest.partition(":")
    local = bool(name) and Path(name).exists()
    good = (local or _HUB_NAME.fullmatch(name)) and (config or not colon) and re.fullmatch(r"\w[\w.\-]*", split)
    if not good:
        missing = name.startswith((".", "/", "~"))
        why = f"{name} does not exist" if missing else "it is not of the form hf:NAME[:CONFIG][@SPLIT]"
        raise HoneError(f"{spec} names no dataset: {why}")
    return Source("dataset", name, weight, config=config or None, split=split)


def _at_revision(spec: str, weight: float) -> Source:
    """Takes the first `@` whose left side lies in a repository; the folder itself may exist only at the revision."""
    places = [index for index, character in enumerate(spec) if character == "@"]
    for place in reversed(places):
        path, revision = Path(spec[:place] or "."), spec[place + 1 :]
        if path.is_dir() and revision:
            if not _in_git(path):
                raise HoneError(f"{path} is not in a git repository, so it has no revision {revision}")
            return Source("git", str(path), weight, revision)
    path, revision = Path(spec[: places[0]]), spec[places[0] + 1 :]
    parent = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    if revision and parent is not None and _in_git(parent):
        return Source("git", str(path), weight, revision)
    raise HoneError(f"{path} is not a folder; name a git repository, a folder in one, or PATH@REVISION")


def _in_git(path: Path) -> bool:
    """
    Raises:
        HoneError: git refuses to look (the repository is someone else's), or is missing.
    """
    done = git.run(path, "rev-parse", "--git-dir")
    if done.returncode == 0:
        return True
    if b"not a git repository" in done.stderr:
        return False
    raise HoneError(f"git cannot read {path}: {git.complaint(done.stderr)}")


def _resolved_git(source: Source, path: Path) -> Source:
    inside = next(folder for folder in (path, *path.parents) if folder.is_dir())
    bare = git.answer(inside, "rev-parse", "--is-bare-repository") == "true"
    root = git.answer(inside, "rev-parse", "--absolute-git-dir" if bare else "--show-toplevel")
    if not root:
        raise HoneError(f"{source.path} is inside a .git folder; name the repository's folder")
    # Git names the root without symbolic links.
    path = path.resolve()
    if not path.is_relative_to(root):
        raise HoneError(f"{source.path} is not inside its repository {root}; name the repository's folder")
    if bare and path != Path(root):
        raise HoneError(f"{source.path} is inside a bare repository; name {root}")
    revision = source.revision or ("HEAD" if bare else None)
    commit = git.answer(
        inside, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision or 'HEAD'}^{{commit}}"
    )
    if revision is not None and commit is None:
        raise HoneError(f"{root} has no revision {revision}")
    remote = git.answer(inside, "config", "--get", "remote.origin.url")
    status = "" if revision else git.answer(inside, "status", "--porcelain", "--untracked-files=no")
    resolved = replace(
        source,
        path=str(path),
        revision=revision,
        root=root,
        commit=commit,
        remote=without_credentials(remote) if remote else None,
        dirty=bool(status and status.strip()),
    )
    folder = folder_in(resolved)
    if revision is not None and folder:
        kind = git.answer(inside, "cat-file", "-t", f"{commit}:{folder}")
        if kind != "tree":
            raise HoneError(f"{root} has no folder {folder} at {revision}")
    return resolved
