"""What a request can be about: adapters, models, jobs and their evidence as they are now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuning.jobs.state import Status

NEWEST_JOBS = 40
"""Whose evidence is looked through."""


@dataclass(frozen=True)
class Adapter:
    id: str
    """`NAME@DIGEST`."""
    name: str
    base: str


@dataclass(frozen=True)
class Known:
    model: str
    """The base model in use."""
    folder: str = "code"
    """What an adapter of this folder's code is called."""
    adapters: tuple[Adapter, ...] = ()
    """The newest first."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Alias -> the adapter's id."""
    bases: tuple[str, ...] = ()
    active: tuple[tuple[str, str], ...] = ()
    """Id and name of the jobs that have not ended, the newest first."""
    ended: tuple[tuple[str, str], ...] = ()
    """The same of jobs that could be resumed."""
    reports: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Candidate and reference -> the folder of the newest reports that compare them."""
    passed: Mapping[str, str] = field(default_factory=dict)
    """Adapter -> the file of the newest decision about it, where that is in its favour."""
    is_path: Callable[[str], bool] = lambda path: False
    in_git: Callable[[str], bool] = lambda path: False

    def adapter(self, spec: str) -> Adapter | None:
        """By alias, id, or name (the newest version)."""
        wanted = self.aliases.get(spec, spec)
        return next((one for one in self.adapters if wanted in (one.id, one.name)), None)

    def reference(self, adapter: Adapter) -> str:
        """What an adapter is compared with: what is live on the same base, else the base."""
        live = self.adapter("champion") if "champion" in self.aliases else None
        return live.id if live is not None and live.base == adapter.base and live.id != adapter.id else adapter.base


def read() -> Known:
    """Looks at the registry, the jobs and this folder.

    Raises:
        HoneError: one of them cannot be read.
    """
    from pathlib import Path

    from assistant.config import load_settings
    from assistant.models import store
    from assistant.models.catalogue import CATALOGUE
    from assistant.models.registry import Registry
    from assistant.skills.mentions import Place
    from tui.models import measured
    from tuning.jobs import job as jobs_of
    from tuning.jobs import state

    registry = Registry()
    adapters = tuple(
        Adapter(each.id, each.name, each.base_name)
        for each in sorted(registry.versions(), key=lambda each: each.created, reverse=True)
    )
    aliases = {alias: version.id for alias, version in registry.aliases().items()}
    bases = tuple(dict.fromkeys([*CATALOGUE, *store.cached_names()]))
    newest = list(reversed(state.statuses(jobs_of.all_jobs(jobs_of.folder())[-NEWEST_JOBS:])))
    # The newest one is what a promotion asks for.
    decided = {one.candidate: one for one in reversed(measured.decisions())}
    asked = load_settings().model
    tuned = next((one for one in adapters if aliases.get(asked, asked) in (one.id, one.name)), None)
    place = Place.here()
    return Known(
        model=tuned.base if tuned else asked,
        folder=_slug(place.root.name, {*bases, *aliases}),
        adapters=adapters,
        aliases=aliases,
        bases=bases,
        active=tuple((one.job.id, one.spec.name) for one in newest if one.is_active),
        ended=tuple((one.job.id, one.spec.name) for one in newest if not one.is_active and one.state != "done"),
        reports=_reports(newest),
        passed={candidate: str(one.file) for candidate, one in decided.items() if one.outcome == "pass"},
        is_path=lambda path: Path(path).expanduser().exists(),
        in_git=_in_git,
    )


def _slug(name: str, taken: set[str]) -> str:
    import re

    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:48] or "code"
    return f"{slug}-tuned" if slug in taken else slug


def _in_git(path: str) -> bool:
    from assistant.errors import HoneError
    from tuning.corpus.sources import parse

    try:
        return parse(path).kind == "git"
    except HoneError:
        return False


def _reports(newest: "Sequence[Status]") -> dict[tuple[str, str], str]:
    """The folders in which jobs have left what they measured, by candidate and reference."""
    reports: dict[tuple[str, str], str] = {}
    for status in newest:
        job = status.job
        told = {step.name: job.report(step) for step in status.spec.steps}
        candidate = str(told.get("tune", {}).get("adapter") or "")
        for step in status.spec.steps:
            if step.name == "eval" and candidate and told["eval"] and "--model" in step.argv:
                against = step.argv[step.argv.index("--model") + 1]
                reports.setdefault((candidate, against), str(job.folder / "reports"))
    return reports
