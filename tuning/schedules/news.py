"""Whether the repositories of an adapter have commits that its newest version has not seen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant import git
from assistant.errors import HoneError, UsageError
from assistant.models.registry import AdapterVersion, Registry
from tuning.corpus.sources import Source, folder_in, parse, resolve
from tuning.manifest import FILE_NAME


@dataclass(frozen=True)
class News:
    is_new: bool
    text: str
    """A clause that says why, or why not."""


def since_newest(name: str, sources: Sequence[str]) -> News:
    """Compares the sources as they are with those that the newest version of `name` was tuned on.

    A failed run leaves no version, so its commits stay new.

    Args:
        sources: as `hone tune` takes them; of those that are no git repositories nobody can tell.

    Raises:
        UsageError: none is a git repository.
        HoneError: a source is none, or its revision does not exist.
    """
    repositories = [resolve(source) for source in map(parse, sources) if source.kind == "git"]
    if not repositories:
        raise UsageError("--when new-commits needs a source that is a git repository")
    newest = Registry().find(name)
    if newest is None or newest.name != name:
        return News(True, f"there is no version of {name} yet")
    before = _tuned_on(newest)
    for source in repositories:
        text = _difference(source, before)
        if text:
            return News(True, f"{text} since {newest.id}")
    places = ", ".join(
        f"{Path(source.path).name} is at {(source.commit or 'no commit')[:12]}" for source in repositories
    )
    return News(False, f"nothing was committed since {newest.id}: {places}")


def is_of_unfinished(name: str, sources: Sequence[str]) -> bool:
    """Whether the unfinished run of `name` reads what the sources are now, as far as commits tell."""
    from tuning import unfinished

    try:
        before = unfinished.read(name).sources
        now = [resolve(parse(source)) for source in sources]
    except HoneError:
        return False
    known = {(source.root, source.path, source.commit) for source in before}
    return bool(now) and all(
        source.commit is not None and not source.dirty and (source.root, source.path, source.commit) in known
        for source in now
    )


def _tuned_on(version: AdapterVersion) -> dict[tuple[Any, Any], str]:
    """Commit by (root, path); empty where the manifest does not tell."""
    try:
        manifest: Mapping[str, Any] = json.loads((version.folder / FILE_NAME).read_text("utf-8"))
        listed = manifest["corpus"]["sources"]
        return {(one["root"], one["path"]): one["commit"] for one in listed if one.get("commit") and one.get("root")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _difference(source: Source, before: Mapping[tuple[Any, Any], str]) -> str:
    """Empty when there is none."""
    if source.commit is None:
        return ""
    name = Path(source.path).name
    then = before.get((source.root, source.path))
    if then is None:
        return f"{name} is new among the sources"
    if then == source.commit:
        return ""
    root = Path(str(source.root))
    folder = folder_in(source)
    count = git.answer(root, "rev-list", "--count", f"{then}..{source.commit}", "--", *([folder] if folder else []))
    if count is None:
        return f"{name} does not have the commit {then[:12]} any more"
    if count == "0":
        return ""
    return f"{name} has {count} new commit{'' if count == '1' else 's'}"
