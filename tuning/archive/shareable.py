"""What a manifest and evidence say, without where things lie on somebody's machine."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from assistant.errors import HoneError

ELSEWHERE = "elsewhere:"
"""Begins the path of a source that is on another machine, so that nobody looks for it here."""
_PLACE = re.compile(r"(?<![\w.:/~-])~?/(?:[^/\s'\"`]+/)+(?=[^/\s])")
WITHHELD = "withheld"
_NAMED = ("sources", "include", "exclude", "decontaminate_files", "replay_source")
"""Settings of a corpus that name places."""
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


def without_names(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A shareable manifest that says no more of a corpus than its counts, sizes, languages, licences and hashes.

    By the hashes nobody takes for held out what an adapter has seen, and nobody can read what it was called.
    """
    corpus, configuration = manifest["corpus"], manifest.get("configuration", {})
    # Of another corpus it must be another source.
    whole = hashlib.sha256("".join(file["sha256"] for file in corpus["files"]).encode()).hexdigest()[:12]
    sources = [
        {"kind": source.get("kind"), "path": f"{ELSEWHERE}{whole}-{number}", "root": None, "commit": None}
        for number, source in enumerate(corpus["sources"], 1)
    ]
    files = [{**file, "path": f"{file['sha256'][:16]}{PurePosixPath(file['path']).suffix}"} for file in corpus["files"]]
    dropped = [
        {"source": each.get("source"), "path": WITHHELD, "verdict": verdict, "reason": verdict}
        for each in corpus.get("dropped", ())
        for verdict in [str(each.get("verdict") or str(each.get("reason", "")).partition(":")[0])]
    ]
    others = {key: value for key, value in corpus.items() if key in ("redactions", "digest")}
    asked = configuration.get("corpus")
    if isinstance(asked, Mapping):
        named: dict[str, Any] = {key: None if key == "replay_source" else [] for key in _NAMED if key in asked}
        configuration = {**configuration, "corpus": {**asked, **named}}
    return {
        **manifest,
        "corpus": {"sources": sources, "files": files, "dropped": dropped, **others},
        **({"configuration": configuration} if configuration else {}),
    }


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
