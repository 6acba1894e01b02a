"""What lies on this disk and nothing needs: leavings of killed processes, files that no registry knows, and, on
request, versions and unfinished runs that have been passed over."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assistant import paths
from assistant.errors import HoneError
from assistant.models import convert, serving_form, store
from assistant.models.registry import AdapterVersion, Registry
from tui.models import uses, verbs
from tui.models.described import folder_bytes

Kind = Literal["leaving", "unregistered", "download", "tuning form", "serving form", "job", "version", "unfinished run"]

_SETTLED_DAYS = 1.0
"""Whoever makes a file needs it for less."""
_DOWNLOAD_DAYS = 7.0
"""A download that nobody went on with for so long, or a conversion that nothing points to."""
_DAY = 86_400.0


@dataclass(frozen=True)
class Garbage:
    kind: Kind
    path: Path
    bytes: int
    why: str
    spec: str = ""
    """NAME@DIGEST of a version."""


def find(keep: int | None = None, unfinished_days: float | None = None) -> list[Garbage]:
    """
    Args:
        keep: of each adapter's versions so many stay, the newest, besides those that something uses or that were live;
            None: all.
        unfinished_days: runs whose last checkpoint is older are taken for given up; None: none are.

    Raises:
        HoneError: the registry, the jobs or the settings cannot be read.
    """
    registry = Registry()
    found = [*_leavings(), *_unregistered(registry), *_forms(registry), *_removed_jobs()]
    if keep is not None:
        found += _old_versions(registry, keep)
    if unfinished_days is not None:
        found += _given_up(unfinished_days)
    return found


def delete(garbage: Garbage) -> int:
    """Deletes it; returns the bytes freed.

    Raises:
        HoneError: it is in use by now, or the disk refuses.
    """
    if garbage.spec:
        return verbs.remove(garbage.spec).freed
    try:
        # Renamed first: half of a folder must never be taken for the whole.
        going = garbage.path.with_name(f".{garbage.path.name.lstrip('.')}.garbage.part")
        garbage.path.rename(going)
        shutil.rmtree(going) if going.is_dir() else going.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise HoneError(f"cannot delete {garbage.path}: {error.strerror or error}") from error
    return garbage.bytes


def _leavings() -> Iterator[Garbage]:
    forms = (paths.models_dir() / "tuning", paths.models_dir() / "serving")
    for folder in (paths.adapters_dir(), paths.models_dir(), *forms, _jobs(), paths.home()):
        for each in sorted((*folder.glob(".*.part"), *folder.glob(".*.download"))):
            age = _age_days(each)
            if each.suffix == ".part" and age > _SETTLED_DAYS:
                yield Garbage("leaving", each, _size(each), f"a process that was killed left it {_days(age)} ago")
            elif each.suffix == ".download" and age > _DOWNLOAD_DAYS:
                yield Garbage("download", each, _size(each), f"a download that nobody went on with for {_days(age)}")


def _unregistered(registry: Registry) -> Iterator[Garbage]:
    known = {version.folder.resolve() for version in registry.versions()}
    for folder in sorted(paths.adapters_dir().glob("[!.]*/*")):
        if folder.is_dir() and folder.resolve() not in known and _age_days(folder) > _SETTLED_DAYS:
            yield Garbage("unregistered", folder, _size(folder), "no version of the registry is there")


def _forms(registry: Registry) -> Iterator[Garbage]:
    ggufs = []
    for name in {*store.cached_names(), *(version.base_name for version in registry.versions())}:
        try:
            base = store.find(name)
        except HoneError:
            continue
        if base is not None and base.gguf is not None:
            ggufs.append(base.gguf)
    needed = {form.cached_folder(gguf) for gguf in ggufs for form in (convert, serving_form)}
    made: tuple[tuple[str, Kind], ...] = (("tuning", "tuning form"), ("serving", "serving form"))
    for place, kind in made:
        for folder in sorted((paths.models_dir() / place).glob("[!.]*")):
            if folder.is_dir() and folder not in needed and _age_days(folder) > _DOWNLOAD_DAYS:
                yield Garbage(kind, folder, _size(folder), "of a base that is not here and that no adapter has")


def _removed_jobs() -> Iterator[Garbage]:
    for folder in sorted(_jobs().glob(".*.removed")):
        if _age_days(folder) > _SETTLED_DAYS:
            yield Garbage("job", folder, _size(folder), "a job that was removed, but not all of it")
    for mark in sorted((_jobs() / ".active").glob("*")):
        if not (_jobs() / mark.name).exists() and _age_days(mark) > _SETTLED_DAYS:
            yield Garbage("job", mark, _size(mark), "the mark of a job that is not there")


def _jobs() -> Path:
    return paths.home() / "jobs"


def _old_versions(registry: Registry, keep: int) -> Iterator[Garbage]:
    # A rollback may go back to any of them.
    was_live = {(event.name, event.digest) for event in registry.history(brief=True) if event.kind == "promoted"}
    by_name: dict[str, list[AdapterVersion]] = {}
    for version in registry.versions():
        by_name.setdefault(version.name, []).append(version)
    for versions in by_name.values():
        for version in versions[: max(0, len(versions) - keep)]:
            if (version.name, version.digest) not in was_live and not uses.of_version(version, registry):
                why = f"{len(versions)} versions of {version.name}; never live and not of the newest {keep}"
                yield Garbage("version", version.folder, _size(version.folder), why, version.id)


def _given_up(days: float) -> Iterator[Garbage]:
    from tuning.jobs import job as jobs_of
    from tuning.jobs import state

    active = [one for one in state.statuses(jobs_of.active(jobs_of.folder()), state.look) if one.is_active]
    busy = {step.run for one in active for step in one.spec.steps}
    for folder in sorted(paths.unfinished_dir().glob("[!.]*")):
        age = _age_days(folder)
        if folder.is_dir() and folder.name not in busy and age > days and not _is_running(folder.name):
            why = f"nobody went on with this run for {_days(age)}; `hone tune --name {folder.name} --resume` would"
            yield Garbage("unfinished run", folder, _size(folder), why)


def _is_running(name: str) -> bool:
    """Whether a tuning run in some terminal holds the name."""
    from filelock import FileLock, Timeout

    lock = FileLock(paths.adapters_dir() / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _age_days(path: Path) -> float:
    """Since anything in it was written."""
    newest = 0.0
    for each in (path, *path.rglob("*")):
        try:
            newest = max(newest, each.lstat().st_mtime)
        except OSError:
            # Somebody is at work there.
            return 0.0
    return (time.time() - newest) / _DAY


def _size(path: Path) -> int:
    try:
        return folder_bytes(path) if path.is_dir() else path.lstat().st_size
    except OSError:
        return 0


def _days(count: float) -> str:
    return f"{count:.0f} day{'' if round(count) == 1 else 's'}"
