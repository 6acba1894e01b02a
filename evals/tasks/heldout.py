"""The files that tuning runs held out, read from their manifests and checked against the repository."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import HoneError
from assistant.skills import repository
from evals.errors import NotHeldOutError

TRAINED_ON = ("train", "validation")


@dataclass(frozen=True)
class ManifestFile:
    path: str
    """From the root of its repository."""
    sha256: str
    split: str
    bytes: int


@dataclass(frozen=True)
class TuningRecord:
    """What one adapter saw of the repository under evaluation."""

    adapter: str
    commit: str | None
    covers: bool
    """A source of the tuning run is this repository."""
    here: tuple[ManifestFile, ...]
    """Its files in this repository."""
    seen: Mapping[str, str]
    """sha256 of every file it was trained or validated on, from any repository -> path."""


@dataclass(frozen=True)
class HeldOutFile:
    path: str
    text: str
    """Line ends as `\\n`, as in training."""
    sha256: str
    """Of the raw bytes, as in the manifest."""
    raw_bytes: int


@dataclass(frozen=True)
class HeldOut:
    files: tuple[HeldOutFile, ...]
    excluded: frozenset[str]
    """Paths retrieval must not show: everything held out, and files with the same content."""
    skipped: tuple[tuple[str, str], ...]
    """(path, why) of held-out files that are not evaluated."""
    from_commit: tuple[str, ...]
    """Paths whose committed content is used, since the working file has changed."""
    by_tuning: bool = True
    """A tuning run held them out; else no model under evaluation was tuned on the repository."""


def read_record(adapter: str, manifest: Path, root: Path) -> TuningRecord:
    """Reads an adapter's manifest with the eyes of the repository at `root`.

    Raises:
        HoneError: the manifest is missing or not of a form this version reads.
    """
    try:
        loaded = json.loads(manifest.read_text("utf-8"))
        if loaded["schema_version"] != 1:
            version = loaded["schema_version"]
            raise HoneError(f"the manifest of {adapter} has schema version {version}; this Hone reads 1")
        corpus = loaded["corpus"]
        mine = {number: source for number, source in enumerate(corpus["sources"]) if _is_this(source, root)}
        files = [
            (entry["source"], ManifestFile(entry["path"], entry["sha256"], entry["split"], entry["bytes"]))
            for entry in corpus["files"]
        ]
    except FileNotFoundError as error:
        raise HoneError(
            f"{adapter} has no manifest ({manifest.name}), so nobody can tell what it was trained on"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HoneError(f"cannot read the manifest of {adapter} ({manifest}): {error}") from error
    return TuningRecord(
        adapter=adapter,
        commit=next((source.get("commit") for source in mine.values()), None),
        covers=bool(mine),
        here=tuple(file for source, file in files if source in mine),
        seen={file.sha256: file.path for _, file in files if file.split in TRAINED_ON},
    )


def held_out(root: Path, records: Sequence[TuningRecord]) -> HeldOut:
    """The files that may be evaluated.

    Raises:
        NotHeldOutError: no record covers the repository; what one adapter held out another was trained on, by path or
            by content; or nothing is left.
    """
    covering = [record for record in records if record.covers]
    if not covering:
        names = ", ".join(record.adapter for record in records)
        raise NotHeldOutError(
            f"no manifest of the given models covers {root}"
            + (f" ({names} saw other repositories)" if names else "; give an adapter that was tuned on it with --model")
        )
    candidates = {file.path: (file, record) for record in covering for file in record.here if file.split == "test"}
    for path, (file, record) in sorted(candidates.items()):
        _refuse_trained(path, file.sha256, record.adapter, records)
    files: list[HeldOutFile] = []
    skipped: list[tuple[str, str]] = []
    from_commit: list[str] = []
    for path, (file, record) in sorted(candidates.items()):
        raw = _working(root / path)
        if raw is None or _sha256(raw) != file.sha256:
            raw = _committed(root, path, file.sha256, record.commit)
            if raw is None:
                skipped.append((path, "changed since it was held out"))
                continue
            from_commit.append(path)
        try:
            text = repository.source_text(raw, path).replace("\r\n", "\n")
        except HoneError as error:
            skipped.append((path, str(error)))
            continue
        files.append(HeldOutFile(path, text, file.sha256, len(raw)))
    if not files:
        changed = f": {', '.join(path for path, _ in skipped[:3])} changed since" if skipped else ""
        raise NotHeldOutError(
            f"no held-out file of {root} is left to evaluate{changed}; tune again, or go back to the tuned commit"
        )
    return HeldOut(tuple(files), _hidden_from_retrieval(root, candidates, files), tuple(skipped), tuple(from_commit))


def untouched(root: Path, texts: Mapping[str, str]) -> HeldOut:
    """The files of a repository that no model under evaluation was tuned on. Retrieval may show all of them to each
    other but copies; whether a base saw them before it was published cannot be told from here.

    Args:
        texts: path -> text of each file, line ends as `\\n`.
    """
    names: dict[str, list[str]] = {}
    for name in repository.tracked_sources(root):
        if (raw := _working(root / name)) is not None:
            names.setdefault(_content(raw), []).append(name)
    copies = frozenset(name for same in names.values() if len(same) > 1 for name in same)
    files = (HeldOutFile(path, text, _sha256(text.encode()), len(text.encode())) for path, text in texts.items())
    return HeldOut(tuple(files), copies, (), (), by_tuning=False)


def _refuse_trained(path: str, sha256: str, holder: str, records: Sequence[TuningRecord]) -> None:
    for record in records:
        by_path = next((file for file in record.here if file.path == path and file.split in TRAINED_ON), None)
        if by_path is not None:
            raise NotHeldOutError(
                f"{path} was held out by {holder} but is in the {by_path.split} files of {record.adapter}; "
                "evaluate them apart, or tune both with one split"
            )
        if sha256 in record.seen:
            raise NotHeldOutError(
                f"the content of {path} was trained on by {record.adapter} (as {record.seen[sha256]}); "
                "it is not held out and is not evaluated"
            )


def _hidden_from_retrieval(root: Path, candidates: Mapping[str, Any], files: Sequence[HeldOutFile]) -> frozenset[str]:
    """Copies of a held-out file would let retrieval show the answer."""
    texts = {_sha256(file.text.encode()) for file in files}
    copies = {
        name
        for name in repository.tracked_sources(root)
        if (raw := _working(root / name)) is not None and _content(raw) in texts
    }
    return frozenset({*candidates, *copies})


def _is_this(source: Mapping[str, Any], root: Path) -> bool:
    """The same working tree, or another copy of the repository that has the commit the run read."""
    path = Path(source["path"])
    if path.is_dir() and repository.root_of(path) == root:
        return True
    commit = source.get("commit")
    return commit is not None and repository.has_commit(root, commit)


def _committed(root: Path, path: str, sha256: str, commit: str | None) -> bytes | None:
    for revision in ("HEAD", commit):
        raw = repository.committed(root, revision, path) if revision else None
        if raw is not None and _sha256(raw) == sha256:
            return raw
    return None


def _working(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _content(raw: bytes) -> str:
    """The digest of a file's text, however its lines end."""
    return _sha256(raw.replace(b"\r\n", b"\n").removeprefix(b"\xef\xbb\xbf"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
