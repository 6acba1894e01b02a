"""Whether sources still hold what they held, told without reading them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assistant import git
from tuning.corpus import installed
from tuning.corpus.collect import HONEIGNORE
from tuning.corpus.sources import Source, folder_in


def state_of(sources: Sequence[Source]) -> list[Any] | None:
    """JSON values that change when what resolved sources hold changes; None where that cannot be told."""
    states = [_state(source) for source in sources]
    return None if None in states else states


def _state(source: Source) -> list[Any] | None:
    about = asdict(source)
    if source.kind == "git":
        return [about, *_git_state(source)]
    if source.kind == "jsonl":
        return [about, _stat(Path(source.path))]
    if source.kind == "folder":
        return [about, _stats(Path(source.path).rglob("*"))]
    if source.kind == "installed":
        return [about, installed.state(source.path)]
    if (path := Path(source.path)).exists():
        return [about, _stats([path] if path.is_file() else path.rglob("*"))]
    # A dataset on a hub is the same as long as it is pinned to a commit.
    return [about] if source.commit else None


def _git_state(source: Source) -> list[Any]:
    if source.revision is not None:
        return []
    assert source.root is not None
    root, below = Path(source.root), folder_in(source) or "."
    index = git.run(root, "ls-files", "--stage", "-z", "--", below).stdout
    changed = git.run(root, "diff-files", "--name-only", "-z", "--", below).stdout
    ignores = git.run(root, "ls-files", "--others", "--ignored", f"--exclude={HONEIGNORE}", "-z").stdout
    names = [name.decode("utf-8", "surrogateescape") for name in (changed + ignores).split(b"\0") if name]
    return [hashlib.sha256(index).hexdigest(), [[name, _stat(root / name)] for name in names]]


def _stat(file: Path) -> list[int]:
    try:
        status = file.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _stats(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file}\0{_stat(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
