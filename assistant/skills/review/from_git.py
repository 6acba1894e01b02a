"""The changes that git knows: in the working tree, the index or a commit."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from assistant import attributes, git
from assistant.errors import HoneError
from assistant.skills.review import hunks, worth
from assistant.skills.review.changes import Changes, FileChange
from assistant.skills.review.findings import Skipped
from assistant.skills.review.request import Request

_DIFF = (
    *("-c", "core.quotePath=false", "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative"),
    *("--find-renames", "--ignore-submodules=dirty", "--submodule=short", "--no-abbrev"),
)
"""`--no-ext-diff` and `--no-textconv`: no program that a configuration names is run."""
_LINK, _SUBMODULE = "120000", "160000"


@dataclass(frozen=True)
class _Entry:
    """A file that differs, as `git diff --raw` lists it."""

    old_mode: str
    mode: str
    blob: str
    """Of the new content; zeros where it is only in the working tree."""
    status: str
    path: str
    old_path: str | None


def changes(request: Request, top: Path) -> Changes:
    """What the request asks about.

    Args:
        top: the root of the working tree that holds `request.root`.

    Raises:
        HoneError: git refuses, a revision or path is unknown, or history is missing.
    """
    paths = [from_top(request.root, path, top) for path in request.paths]
    index = hook_index(top)
    if request.source == "commit":
        assert request.revision is not None
        found = _commit(top, commit_of(top, request.revision), paths)
    elif request.source == "whole":
        found = _whole(top, paths)
    elif request.source == "staged":
        found = _compared(top, ("--cached",), None, paths, index)
    else:
        base = None
        if request.source == "base":
            assert request.revision is not None
            base = _merge_base(top, request.revision)
        else:
            base = git.answer(top, "rev-parse", "--verify", "--quiet", "HEAD") or _empty_tree(top)
        tracked = _compared(top, (base,), None, paths, index)
        new = _untracked(top, paths, index)
        found = Changes((*tracked.files, *new.files), (*tracked.skipped, *new.skipped), tracked.notes)
    _check_paths(top, paths, found)
    return Changes(
        tuple(sorted(found.files, key=lambda file: file.path)),
        tuple(sorted(set(found.skipped), key=lambda skipped: skipped.path)),
        found.notes,
    )


def commit_of(top: Path, revision: str) -> str:
    """The commit that a revision names.

    Raises:
        HoneError: it names none.
    """
    # Git would take it for an option.
    if not revision.startswith("-"):
        commit = git.answer(top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        if commit:
            return commit
    raise HoneError(f"{revision} names no commit of {top}; `git fetch` it, or check the spelling")


def hook_index(top: Path) -> Path | None:
    """The index that `git commit` gives to its hooks: for `git commit -a` and `git commit PATH` another one than the
    repository's. Only where it belongs to the repository at `top`."""
    named = os.environ.get("GIT_INDEX_FILE")
    folder = git.answer(top, "rev-parse", "--absolute-git-dir")
    if not named or folder is None:
        return None
    file = (top / named).resolve()
    return file if file.is_file() and file.is_relative_to(Path(folder).resolve()) else None


def _merge_base(top: Path, revision: str) -> str:
    base = git.answer(top, "merge-base", commit_of(top, revision), "HEAD")
    if not base:
        raise HoneError(
            f"{revision} and HEAD have no common commit here; a shallow clone needs more history "
            "(`git fetch --unshallow`, or fetch-depth: 0 in a checkout action)"
        )
    return base.split("\n")[0]


def _empty_tree(top: Path) -> str:
    return git.answer(top, "hash-object", "-t", "tree", os.devnull) or "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def _commit(top: Path, commit: str, paths: Sequence[str]) -> Changes:
    # From the commit itself: what git computes for a shallow clone hides the parents that are not there.
    content = git.answer(top, "cat-file", "commit", commit) or ""
    header = content.split("\n\n", 1)[0]
    parents = [line.removeprefix("parent ") for line in header.split("\n") if line.startswith("parent ")]
    for parent in parents:
        if git.run(top, "cat-file", "-e", f"{parent}^{{commit}}").returncode:
            raise HoneError(
                f"the parent {parent[:12]} of {commit[:12]} is not in this shallow clone; fetch more history "
                "(`git fetch --deepen 1`, or fetch-depth: 2 in a checkout action)"
            )
    sides = [_compared(top, (parent, commit), commit, paths) for parent in parents or [_empty_tree(top)]]
    if len(sides) == 1:
        return sides[0]
    # What differs from every parent is what the merge itself wrote.
    kept = []
    for file in sides[0].files:
        others = [next((one for one in side.files if one.path == file.path), None) for side in sides[1:]]
        if all(others):
            added = file.added.intersection(*(one.added for one in others if one))
            if added:
                kept.append(replace(file, added=added, removed={}))
    shared = set(sides[0].skipped).intersection(*(side.skipped for side in sides[1:]))
    note = f"{commit[:12]} is a merge: only lines that none of its {len(parents)} parents has are reviewed"
    return Changes(tuple(kept), tuple(shared), (note,))


def _compared(
    top: Path, sides: Sequence[str], commit: str | None, paths: Sequence[str], index: Path | None = None
) -> Changes:
    """What `git diff SIDES` shows. The new content comes from the objects where git names one, else from the disk."""
    listed = git.run(top, *_DIFF, "--raw", "-z", *sides, "--", *paths, index=index)
    if listed.returncode:
        raise HoneError(f"git cannot compare in {top}: {git.complaint(listed.stderr)}")
    entries = list(_entries(listed.stdout.decode("utf-8", "surrogateescape")))
    if not entries:
        return Changes((), ())
    shown = git.run(top, *_DIFF, "--patch", "--unified=0", "--inter-hunk-context=0", *sides, "--", *paths, index=index)
    # With no context lines, no line of a file begins like this.
    sections = ("\n" + shown.stdout.decode("utf-8", "surrogateescape")).split("\ndiff --git ")[1:]
    files: list[FileChange] = []
    skipped: list[Skipped] = []
    unmerged = _unmerged(top, index) if commit is None else set()
    with attributes.marks(top, commit) as marks, git.asker(top, "cat-file", "--batch", index=index) as blobs:
        rest = iter(sections)
        for entry in entries:
            section = "" if entry.status == "U" else next(rest, None)
            if entry.status == "T":
                # Shown as a deletion and a creation.
                section = next(rest, None)
            if section is None:
                raise HoneError("the files changed while they were read; run the review again")
            in_conflict = entry.path in unmerged
            made = _change(top, replace(entry, status="U") if in_conflict else entry, section, marks, blobs)
            if isinstance(made, Skipped):
                skipped.append(made)
            elif made is not None:
                files.append(made)
    return Changes(tuple(files), tuple(skipped))


def _unmerged(top: Path, index: Path | None) -> set[str]:
    """Paths in conflict: git compares their working copies like any other, conflict marks and all."""
    listed = git.run(top, "ls-files", "--unmerged", "-z", index=index).stdout.decode("utf-8", "surrogateescape")
    return {entry.split("\t", 1)[1] for entry in listed.split("\0") if entry}


def _entries(listing: str) -> Iterator[_Entry]:
    fields = iter(listing.split("\0"))
    for head in fields:
        if not head:
            return
        old_mode, mode, _, blob, status = head.removeprefix(":").split(" ")
        path = next(fields)
        old_path = None
        if status[0] in "RC":
            old_path, path = path, next(fields)
        yield _Entry(old_mode, mode, blob, status[0], path, old_path)


def _change(
    top: Path, entry: _Entry, section: str, marks: worth.MarksOf, blobs: git.Asker
) -> FileChange | Skipped | None:
    def skip(reason: str) -> Skipped:
        return Skipped(_printable(entry.path), reason)

    if _SUBMODULE in (entry.mode, entry.old_mode):
        return skip("a submodule")
    if entry.status == "D":
        return skip("deleted")
    if entry.status == "U":
        return skip("in conflict; resolve it first")
    if entry.mode == _LINK:
        return skip("a symbolic link")
    if _printable(entry.path) != entry.path:
        return skip("its name is not UTF-8")
    known = marks(entry.path)
    reason = worth.by_path(entry.path, known)
    if reason is not None:
        return skip(reason)
    header, at, rest = section.partition("\n@@ ")
    if not at:
        # A new name or mode only.
        return skip("binary") if "\nBinary files " in header or "\nGIT binary patch" in header else None
    data = _blob(blobs, entry.blob) if entry.blob.strip("0") else _on_disk(top, entry.path)
    if data is None:
        return skip("cannot be read")
    reason = worth.by_content(entry.path, data, known)
    if reason is not None:
        return skip(reason)
    lines = hunks.body("@@ " + rest + ("" if rest.endswith("\n") else "\n"))
    is_new = entry.status in ("A", "T")
    if is_new:
        return whole(entry.path, data, is_new=True)
    return FileChange(entry.path, data, lines.added, lines.removed, entry.old_path)


def whole(path: str, data: bytes, is_new: bool) -> FileChange:
    """A file of which every line is under review."""
    bare = FileChange(path, data, frozenset(), {}, is_new=is_new)
    return replace(bare, added=frozenset(range(1, len(bare.lines) + 1)))


def _blob(blobs: git.Asker, identifier: str) -> bytes | None:
    blobs.ask(identifier.encode() + b"\n")
    head = blobs.line().split(b" ")
    if len(head) != 3 or head[1] != b"blob":
        return None
    return blobs.exactly(int(head[2]) + 1)[:-1]


def _on_disk(top: Path, path: str) -> bytes | None:
    try:
        return (top / path).read_bytes()
    except OSError:
        return None


def _untracked(top: Path, paths: Sequence[str], index: Path | None) -> Changes:
    """New source files that git does not ignore. Others are nobody's concern here, so they are not even mentioned."""
    done = git.run(top, "ls-files", "--others", "--exclude-standard", "-z", "--", *paths, index=index)
    names = [name for name in done.stdout.decode("utf-8", "surrogateescape").split("\0") if name]
    return _as_whole(top, names, is_new=True, silent=True)


def _whole(top: Path, paths: Sequence[str]) -> Changes:
    done = git.run(top, "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *paths)
    names = sorted({name for name in done.stdout.decode("utf-8", "surrogateescape").split("\0") if name})
    return _as_whole(top, names, is_new=False, silent=False)


def _as_whole(top: Path, names: Sequence[str], is_new: bool, silent: bool) -> Changes:
    files: list[FileChange] = []
    skipped: list[Skipped] = []
    with attributes.marks(top, None) as marks:
        for name in names:
            if _printable(name) != name or not (top / name).is_file() or (top / name).is_symlink():
                continue
            known = marks(name)
            reason = worth.by_path(name, known)
            if reason is not None and silent:
                continue
            data = None if reason else _on_disk(top, name)
            if data is None:
                skipped.append(Skipped(name, reason or "cannot be read"))
                continue
            reason = worth.by_content(name, data, known)
            if reason is not None:
                skipped.append(Skipped(name, reason))
            elif data.strip():
                files.append(whole(name, data, is_new))
    return Changes(tuple(files), tuple(skipped))


def from_top(root: Path, path: str, top: Path) -> str:
    """The path of what the user named, from the top; `.` for everything."""
    # Not resolved, since a symbolic link is a file of its own for git.
    absolute = Path(os.path.normpath(root.resolve() / path))
    if not absolute.is_relative_to(top):
        raise HoneError(f"{path} is not in the repository {top}")
    return absolute.relative_to(top).as_posix()


def _check_paths(top: Path, paths: Sequence[str], found: Changes) -> None:
    """A mistyped path must not look like a clean bill of health."""
    seen = [PurePosixPath(path) for path in (*(one.path for one in found.files), *(one.path for one in found.skipped))]
    for path in paths:
        if not os.path.lexists(top / path) and not any(one.is_relative_to(path) for one in seen):
            raise HoneError(f"there is no {path} in {top}, and nothing changed there; check the spelling")


def _printable(path: str) -> str:
    """A path without what is no text."""
    return path.encode("utf-8", "replace").decode("utf-8")
