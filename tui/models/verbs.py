"""What is done with models: promote, roll back, delete. The command line and the screen do it here."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant import feedback_trained, paths
from assistant.errors import HoneError, UsageError
from assistant.models import store
from assistant.models.registry import AdapterVersion, Event, Registry
from tui.models import uses
from tui.models.described import folder_bytes

_EVIDENCE_LIMIT = 1 << 20


@dataclass(frozen=True)
class Removed:
    name: str
    freed: int
    """Bytes."""


def promote(spec: str, alias: str, evidence: Mapping[str, Any] | None = None, force: bool = False) -> Event:
    """Points `alias` to an adapter version that could be served, and that a gate let pass.

    Args:
        evidence: as `read_evidence` gives it; without it the newest decision that a gate of this machine made about
            exactly this version, before others one that compares it with what `alias` points to.
        force: promote it without such a decision; the event says that it was so, and why.

    Raises:
        HoneError: no such version, on a wrong base, its files were changed, no gate let it pass in comparison with what
            it replaces, or a name that cannot be an alias.
    """
    from assistant.models.resolve import resolve
    from tui.models import measured

    registry = Registry()
    version = registry.find(spec)
    kept = dict(evidence or {})
    if version is not None:
        # Refuses, before it is live, an adapter that could not be served: wrong base or changed files.
        resolve(spec, fetch_missing=False)
        live = replaced(version, registry.aliases().get(alias))
        if not kept:
            made = [one for one in measured.decisions() if one.candidate == version.id]
            compared = [one for one in made if live is not None and one.against == live.id]
            kept = read_evidence(next((one.file for one in (*compared, *made)), None))
        lacking = _lacking(version, kept) or _compares_other(alias, live, kept)
        if lacking and not force:
            raise HoneError(
                f"{lacking}, so it is not promoted; `hone gate {version.id} --against {live.id if live else 'M'}` "
                "decides, or --force promotes it all the same and the registry says so"
            )
        if lacking:
            kept["forced"] = lacking
    return registry.promote(spec, alias, actor=_actor(), evidence=kept)


def _lacking(version: AdapterVersion, evidence: Mapping[str, Any]) -> str:
    """Why the evidence does not carry a promotion; empty when it does."""
    decision = evidence.get("report")
    if decision is None:
        return f"no gate has decided about {version.id}"
    if not isinstance(decision, dict) or not {"outcome", "candidate"} <= decision.keys():
        return f"{evidence['file']} is no decision of a gate"
    if decision["candidate"] != version.id:
        return f"the gate's decision is about {decision['candidate']} and not about {version.id}"
    if decision["outcome"] != "pass":
        return f"the gate did not let {version.id} pass: {decision['outcome']}"
    return ""


def replaced(version: AdapterVersion, live: AdapterVersion | None) -> AdapterVersion | None:
    """What a gate must have compared a version with.

    Args:
        live: what the alias points to.

    Returns:
        None where that is on another base, is the version itself, or is nothing: the bare base is the comparison then.
    """
    return live if live is not None and live != version and live.base_digest == version.base_digest else None


def _compares_other(alias: str, live: AdapterVersion | None, evidence: Mapping[str, Any]) -> str:
    """Why a decision says nothing about what is replaced; empty when it does.

    Args:
        live: as `replaced` gives it.
    """
    against = evidence["report"].get("against")
    if live is None or against == live.id:
        return ""
    return f"the gate compared with {against or 'nothing that it names'}, but {alias} points to {live.id} now"


def rollback(alias: str) -> Event:
    """Points `alias` back to what it pointed to before.

    Raises:
        HoneError: there is no such alias, or nothing before its target.
    """
    return Registry().rollback(alias, actor=_actor())


def remove(spec: str, force: bool = False) -> Removed:
    """Deletes an adapter version, or a fetched base model, that nothing uses.

    Args:
        force: delete it also where the uses are for the user to judge.

    Raises:
        UsageError: an alias, or a name of several versions.
        HoneError: no such model, something uses it, or the disk refuses.
    """
    registry = Registry()
    version = registry.find(spec)
    try:
        if version is None:
            if spec in store.cached_names():
                _refuse_used(spec, uses.of_base(spec, registry), force)
            return Removed(spec, store.remove(spec))
        _refuse_vague(spec, version, registry)
        _refuse_used(version.id, uses.of_version(version, registry), force)
        learnt = feedback_trained.to_remember(version)
        registry.remove(version.id if "@" not in spec else spec, actor=_actor(), data=learnt)
        freed = 0
        # Only what Hone itself put into its own folder is Hone's to delete.
        if version.folder.is_relative_to(paths.adapters_dir()) and version.folder.exists():
            freed = folder_bytes(version.folder)
            shutil.rmtree(version.folder)
    except OSError as error:
        raise HoneError(f"cannot delete all of {spec}: {error.filename or ''} {error.strerror}") from error
    return Removed(version.id, freed)


def read_evidence(file: Path | None) -> dict[str, Any]:
    """A JSON report as a promotion keeps it; empty for None.

    Raises:
        HoneError: it cannot be read, is no JSON, or is too long.
    """
    if file is None:
        return {}
    try:
        data = file.read_bytes()
        report = json.loads(data)
    except (OSError, ValueError) as error:
        raise HoneError(f"{file} is not a readable JSON report") from error
    if len(data) > _EVIDENCE_LIMIT:
        raise HoneError(f"{file} is {len(data):,} bytes; evidence is a report of at most {_EVIDENCE_LIMIT:,}")
    return {"file": str(file.absolute()), "sha256": hashlib.sha256(data).hexdigest(), "report": report}


def _refuse_vague(spec: str, version: AdapterVersion, registry: Registry) -> None:
    if "@" in spec:
        return
    if version.name != spec:
        raise UsageError(f"{spec} is an alias of {version.id}; name the version to delete")
    versions = registry.versions(spec)
    if len(versions) > 1:
        raise UsageError(f"{spec} has {len(versions)} versions; name one: {', '.join(each.id for each in versions)}")


def _refuse_used(name: str, found: list[uses.Use], force: bool) -> None:
    held = [use.text for use in found if use.holds]
    if held:
        live = held[0].startswith("live as")
        end = "; roll back or promote another version first" if live else "; end that first"
        raise HoneError(f"{name} cannot be deleted: {', '.join(held)}{end}")
    if found and not force:
        raise HoneError(f"{name} is in use: {', '.join(use.text for use in found)}; --force deletes it all the same")


def _actor() -> str | None:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None
