"""What the screen shows, read from disk in a thread of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant import paths
from assistant.errors import HoneError
from assistant.models import store
from assistant.models.registry import AdapterVersion, Event, Registry
from tui.models import described, measured, uses
from tui.models.described import Base
from tui.models.measured import Decision, Line
from tui.models.uses import Use
from tuning.card import METRICS
from tuning.plot import Curves, read_metrics


@dataclass(frozen=True)
class Version:
    """An adapter version as the tree shows it."""

    adapter: AdapterVersion
    aliases: tuple[str, ...]
    bytes: int
    """0: its files are gone."""
    corpus: str
    """What it was tuned on, in a few words."""

    @property
    def id(self) -> str:
        return self.adapter.id

    def figure(self, name: str) -> float | None:
        found = self.adapter.figures.get(name)
        return float(found) if isinstance(found, int | float) else None


@dataclass(frozen=True)
class Gathered:
    """All models, as the registry and the disk have them."""

    bases: tuple[Base, ...]
    versions: tuple[Version, ...]
    """Newest first."""
    events: tuple[Event, ...]
    """Newest first."""
    before: Mapping[str, str]
    """By alias, what a rollback would point it to; only where there is something."""

    @property
    def aliases(self) -> dict[str, Version]:
        return {alias: version for version in self.versions for alias in version.aliases}


@dataclass(frozen=True)
class AdapterDetails:
    version: Version
    manifest: Mapping[str, Any]
    state: str
    curves: Curves
    """What was measured during the run."""
    measured: tuple[Line, ...]
    decision: Decision | None
    uses: tuple[Use, ...]
    card: str
    """Markdown; empty when there is none."""
    corpus: tuple[str, ...]
    """What it was tuned on, as far as it is on this machine; as the command line takes it."""
    repository: str
    """The first git repository among them; `.` without one."""


@dataclass(frozen=True)
class BaseDetails:
    base: Base
    told: Mapping[str, Any]
    """Of `described.base_details`, or of the catalogue where it is not on this disk."""
    form_bytes: int
    """Of its copies for tuning and for serving."""
    measured: tuple[Line, ...]
    uses: tuple[Use, ...]
    adapters: int
    """How many versions are on it."""


Details = AdapterDetails | BaseDetails


class Gatherer:
    """Reads again only what may have changed; used by one thread at a time."""

    def __init__(self) -> None:
        self._models: tuple[int, ...] = ()
        self._details: tuple[object, ...] = ()

    def models(self) -> Gathered | None:
        """None when nothing has changed since the last time.

        Raises:
            HoneError: as `gather`.
        """
        seen = stamp()
        if seen == self._models:
            return None
        self._models = seen
        return gather()

    def details(self, chosen: Version | Base, afresh: bool) -> Details | None:
        """None when nothing has changed since the last time, unless it is asked for `afresh`.

        Raises:
            HoneError: as `adapter_details` and `base_details`.
        """
        seen = chosen, self._models
        if seen == self._details and not afresh:
            return None
        self._details = seen
        return adapter_details(chosen) if isinstance(chosen, Version) else base_details(chosen)


def stamp() -> tuple[int, ...]:
    """Changes when there may be something new to read."""
    home = paths.home()
    registry = paths.registry_file()
    places = (registry, registry.with_name(registry.name + "-wal"), home / "models", home / "jobs" / ".active")
    return tuple(_changed(place) for place in (*places, home / "adapters"))


def _changed(place: Path) -> int:
    try:
        return place.stat().st_mtime_ns
    except OSError:
        return 0


def gather() -> Gathered:
    """
    Raises:
        HoneError: the registry or the state folder cannot be used.
    """
    registry = Registry()
    live = registry.aliases()
    versions = [
        Version(
            version,
            tuple(alias for alias, target in live.items() if target == version),
            described.folder_bytes(version.folder),
            _corpus(described.manifest_of(version)),
        )
        for version in reversed(registry.versions())
    ]
    bases = described.bases()
    known = {base.name for base in bases}
    others = dict.fromkeys(version.adapter.base_name for version in versions)
    bases += [_other(name) for name in others if name not in known]
    needed = set(others)
    # What is here or needed stands above what could be fetched.
    ordered = sorted(bases, key=lambda base: not (base.cached or base.name in needed))
    before = {alias: target.id for alias in live if (target := registry.before(alias)) is not None}
    return Gathered(tuple(ordered), tuple(versions), tuple(reversed(registry.history())), before)


def _other(name: str) -> Base:
    """A base of adapters that is neither of the catalogue nor fetched: a path, or one that was deleted."""
    try:
        found = store.find(name)
    except HoneError:
        found = None
    empty = Base(name, "", None, False, None, None, None, None, None)
    if found is None:
        return empty
    size = found.gguf.stat().st_size if found.gguf else described.folder_bytes(found.folder) if found.folder else 0
    place = found.gguf.parent if found.gguf else found.folder
    return replace(empty, cached=True, bytes=size, licence=found.licence, folder=str(place))


def adapter_details(version: Version) -> AdapterDetails:
    """
    Raises:
        HoneError: the registry, the jobs or the settings cannot be read.
    """
    adapter = version.adapter
    manifest = described.manifest_of(adapter)
    decided = next((one for one in measured.decisions() if one.candidate == version.id), None)
    here = [source for source in sources(manifest) if Path(str(source.get("path"))).is_absolute()]
    here = [source for source in here if Path(str(source["path"])).exists()]
    return AdapterDetails(
        version,
        manifest,
        described.state_of(adapter),
        _curves(adapter.folder),
        tuple(measured.lines(measured.reports(), version.id)),
        decided,
        tuple(uses.of_version(adapter, Registry())),
        _card(adapter.folder),
        tuple(str(source["path"]) for source in here),
        next((str(source["root"]) for source in here if source.get("root")), "."),
    )


def base_details(base: Base) -> BaseDetails:
    """
    Raises:
        HoneError: as `adapter_details`, or its files cannot be read.
    """
    registry = Registry()
    found = store.find(base.name) if base.cached else None
    told = described.base_details(found) if found else described.catalogue_details(base.name) or {}
    forms = [told.get(form) for form in ("tuning_form", "serving_form")]
    return BaseDetails(
        base,
        told,
        sum(described.folder_bytes(Path(form)) for form in forms if form and form != base.folder),
        tuple(measured.lines(measured.reports(), base.name)),
        tuple(uses.of_base(base.name, registry)),
        sum(version.base_name == base.name for version in registry.versions()),
    )


def section(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object in a manifest; empty when there is none."""
    found = manifest.get(name)
    return found if isinstance(found, Mapping) else {}


def entries(section: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects of a list; empty when there is none."""
    found = section.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def sources(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a manifest names as its corpus."""
    return entries(section(manifest, "corpus"), "sources")


def _corpus(manifest: Mapping[str, Any]) -> str:
    if parents := entries(manifest, "parents"):
        return "made of " + ", ".join(str(parent.get("id", "?")) for parent in parents)
    return ", ".join(_named(source) for source in sources(manifest))


def _named(source: Mapping[str, Any]) -> str:
    path = Path(str(source.get("path") or "?"))
    root = source.get("root")
    # `strands/src` says more than `src`.
    if root and path != Path(root) and path.is_relative_to(root):
        return str(Path(Path(root).name) / path.relative_to(root))
    return path.name or str(path)


def _curves(folder: Path) -> Curves:
    try:
        return read_metrics(folder / METRICS)
    except OSError:
        return Curves((), ())


def _card(folder: Path) -> str:
    """Without the lines in front that are for model hubs."""
    for name in ("card.md", "README.md"):
        try:
            text = (folder / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        _, mark, rest = text.removeprefix("---\n").partition("\n---\n")
        return rest.lstrip() if text.startswith("---\n") and mark else text
    return ""
