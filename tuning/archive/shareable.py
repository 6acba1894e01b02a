"""What a manifest and evidence say, without where things lie on somebody's machine."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from assistant.errors import HoneError

ELSEWHERE = "elsewhere:"
"""Begins the path of a source that is on another machine, so that nobody looks for it here."""
_PLACE = re.compile(r"(?<![\w.:/~-])~?/(?:[^/\s'\"`]+/)+(?=[^/\s])")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SPLITS = ("train", "validation", "test")


def shareable(value: Any) -> Any:
    """JSON values with the last part of each absolute path in place of the path."""
    if isinstance(value, str):
        return _PLACE.sub("", value)
    if isinstance(value, Mapping):
        return {key: shareable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [shareable(each) for each in value]
    return value


def shareable_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest whose sources have names in place of paths. What tells which files an adapter saw stays: commits, the
    files' paths in their repositories and their hashes.

    Raises:
        HoneError: it is no manifest, or a path or commit in it is none.
    """
    try:
        if manifest["schema_version"] != 1:
            raise ValueError(f"schema version {manifest['schema_version']}")
        corpus = manifest["corpus"]
        sources = [_source(source) for source in corpus["sources"]]
        files = [_file(file, len(sources)) for file in corpus["files"]]
        rest = shareable({key: value for key, value in manifest.items() if key not in ("corpus", "hashes")})
        others = shareable({key: value for key, value in corpus.items() if key not in ("sources", "files")})
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise HoneError(f"the adapter's manifest.json is not of the form that this Hone reads: {error!r}") from error
    return {**rest, "corpus": {"sources": sources, "files": files, **others}}


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    path, root = str(source.get("path", "")), source.get("root")
    commit = source.get("commit")
    if commit is not None and not _COMMIT.fullmatch(commit):
        raise ValueError(f"{commit!r} is no commit")
    return {**shareable(source), "path": _named(path, root), "root": None if root is None else _named(root, root)}


def _named(path: str, root: str | None) -> str:
    if path.startswith(ELSEWHERE) or not Path(path).is_absolute():
        # A data set of a hub, or packages, by their names.
        return path
    inside = Path(path).relative_to(root) if root and Path(path).is_relative_to(root) else Path()
    return ELSEWHERE + (Path(Path(root or path).name) / inside).as_posix()


def _file(file: Mapping[str, Any], sources: int) -> dict[str, Any]:
    path = PurePosixPath(file["path"])
    if path.is_absolute() or ".." in path.parts or "\0" in file["path"] or not path.parts:
        raise ValueError(f"{file['path']!r} is no path in a repository")
    if not _DIGEST.fullmatch(file["sha256"]) or file["split"] not in _SPLITS or not 0 <= file["source"] < sources:
        raise ValueError(f"{file['path']!r} has no digest, side or source")
    return {key: value for key, value in file.items() if value is None or isinstance(value, str | int | float)}
