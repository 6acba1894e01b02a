"""Deletes a report that Hone keeps for a user, unless a model is live on what it says."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from assistant import paths
from assistant.errors import HoneError
from assistant.models.registry import Registry
from evals.gate_inputs import OUTPUT
from evals.report import runs
from evals.report.runs import Run


@dataclass(frozen=True)
class Rests:
    """A promotion whose evidence is in a report's folder, or was decided from that report."""

    version: str
    alias: str
    live: bool
    """The alias points to the version now."""


@dataclass(frozen=True)
class Use:
    """What there is to know before a report is deleted."""

    kept_here: bool
    """Its folder is among those that Hone makes, so it is deleted; else it is only taken off the list."""
    bytes: int
    within: int
    """Other listed reports inside its folder."""
    rests: tuple[Rests, ...]

    @property
    def refusal(self) -> str:
        """Why it must not be deleted; empty when it may be."""
        live = next((rests for rests in self.rests if rests.live), None)
        if live is None:
            return ""
        held = f"{live.version} is live as {live.alias} on this report"
        return f"{held}, so it cannot be deleted; roll back or promote another version first"


def use_of(run: Run) -> Use:
    """
    Raises:
        HoneError: the state folder or the registry cannot be used.
    """
    folder = run.folder.absolute()
    if not _is_kept_here(folder):
        return Use(False, 0, 0, ())
    try:
        freed = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
    except OSError as error:
        raise HoneError(f"cannot read {folder}: {error.strerror}") from error
    within = sum(folder in other.folder.absolute().parents for other in runs.all_runs())
    return Use(True, freed, within, tuple(_resting(folder)))


def remove(run: Run) -> None:
    """Deletes the folder of a report, if Hone made it, and takes the report off the list.

    Raises:
        HoneError: a version is live on it, or the disk refuses.
    """
    folder = run.folder.absolute()
    found = use_of(run)
    if found.refusal:
        raise HoneError(found.refusal)
    going = folder.with_name(f".{folder.name}.removed")
    try:
        if found.kept_here and folder.exists():
            # Under another name it is no report any more, should this process end here.
            folder.rename(going)
            shutil.rmtree(going)
            if folder.parent != _reports() and not any(folder.parent.iterdir()):
                folder.parent.rmdir()
        runs.forget(folder)
    except OSError as error:
        raise HoneError(f"cannot delete all of {folder}: {error.filename or ''} {error.strerror}") from error


def _reports() -> Path:
    return paths.home() / "evals" / "reports"


def _is_kept_here(folder: Path) -> bool:
    """Links are followed: what lies elsewhere is the user's."""
    return _reports().resolve() in folder.resolve().parents


def _resting(folder: Path) -> list[Rests]:
    registry = Registry()
    live = {alias: version.id for alias, version in registry.aliases().items()}
    promoted: dict[tuple[str, str], list[bool]] = {}
    for event in registry.history():
        if event.kind == "promoted" and event.alias:
            behind = _is_behind(folder, event.data.get("file"))
            promoted.setdefault((event.target, event.alias), []).append(behind)
    # Of several promotions of a version, the last is the one that it is live on.
    return [
        Rests(version, alias, live.get(alias) == version and behind[-1])
        for (version, alias), behind in promoted.items()
        if any(behind)
    ]


def _is_behind(folder: Path, evidence: object) -> bool:
    """Whether a promotion's file is in the folder, or is of a gate that decided from the report in it."""
    if not isinstance(evidence, str):
        return False
    gate = Path(evidence).parent
    read_from = gate.parent if gate.name == OUTPUT else None
    return folder == gate or folder in gate.parents or (read_from is not None and folder.parent == read_from)
