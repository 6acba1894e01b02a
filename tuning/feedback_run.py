"""A run that learns from feedback: what it goes on from, which feedback it learns, and which corpus it replays."""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant import feedback_consent
from assistant.errors import HoneError, UsageError
from assistant.feedback import Feedback
from assistant.feedback_events import Event
from assistant.models import store
from assistant.models.registry import AdapterVersion, Registry
from tuning import feedback_data, feedback_rows, reviewer
from tuning.formats.adapter import read_configuration
from tuning.manifest import FILE_NAME
from tuning.plan import LoraOptions, Plan

CHAMPION = "champion"
REVIEWER = "reviewer"
"""The alias that a review looks for; without it, it takes the newest reviewer."""
FRESH = "base"
"""What `feedback.start` is for an adapter that begins with nothing learnt."""
_FROM_THE_START = ("lora.rank", "lora.alpha", "lora.target_modules", "lora.use_dora", "lora.use_rslora", "lora.init")


@dataclass(frozen=True)
class Prepared:
    plan: Plan
    """With the rows written down, the start by its digest, and a corpus."""
    base: str
    notes: tuple[str, ...]


def prepare(plan: Plan, base: str | None, default_base: str, given: Collection[str]) -> Prepared:
    """
    Args:
        base: as the user named it; None: the start's own, else `default_base`.
        given: the keys of the plan that somebody set.

    Raises:
        UsageError: the start is on another base, or settings are given that it decides.
        HoneError: too little feedback, no corpus to replay, or the start's files cannot be read.
    """
    task = plan.examples.task
    if plan.sweep or task == "chat":
        what = "a sweep" if plan.sweep else f"--task {task}"
        raise UsageError(f"{what} and --from-feedback do not go together; leave one of them out")
    named = _name_of(base) if base else None
    start = _reviewer(plan.feedback.start, named) if task == "review" else _start(plan.feedback.start, named)
    base = base or (start.base_name if start else default_base)
    if start is not None:
        plan = _continued(plan, start, given)
    policy = {start.id} if start else {base, _name_of(base)}
    events = Feedback().read().events
    selection = feedback_data.select(events, plan.feedback, policy, task)
    if selection.method != "none":
        from tuning.preference import check_possible

        check_possible()
    if not plan.corpus.sources:
        plan = replace(plan, corpus=replace(plan.corpus, sources=_corpus(start, events, selection.ids), weights=()))
    chosen = replace(plan.feedback, rows=feedback_rows.write(selection), start=start.id if start else FRESH)
    notes = [f"going on from {start.id}" if start else f"a fresh adapter of {base}", selection.describe()]
    return Prepared(replace(plan, feedback=chosen), base, tuple(notes))


def start_folder(plan: Plan) -> Path | None:
    """Of the adapter that training goes on from; None for a fresh one.

    Raises:
        HoneError: it is gone.
    """
    start = plan.feedback.start
    if not plan.feedback.rows or start in (None, FRESH):
        return None
    found = Registry().find(start)
    if found is None:
        raise HoneError(f"{start}, which this run goes on from, is not registered any more; begin anew with --restart")
    return found.folder


def _name_of(base: str) -> str:
    """What events and the registry call a base."""
    found = store.find(base)
    return found.name if found else base


def _start(asked: str | None, base: str | None) -> AdapterVersion | None:
    registry = Registry()
    if asked == FRESH:
        return None
    if asked is None:
        live = registry.aliases().get(CHAMPION)
        # What is live on another base is no start; the user named one.
        return live if live is not None and base in (None, live.base_name) else None
    found = registry.find(asked)
    if found is None:
        raise UsageError(f"feedback.start: no adapter is called {asked}; see `hone models`, or say {FRESH}")
    if base is not None and found.base_name != base:
        raise UsageError(f"feedback.start: {found.id} is an adapter of {found.base_name}, not of {base}")
    return found


def _reviewer(asked: str | None, base: str | None) -> AdapterVersion:
    """What is dismissed is learnt by a reviewer that there is: of dismissed findings alone none can be made."""
    registry = Registry()
    found = None
    if asked not in (None, FRESH):
        found = _start(asked, base)
    elif asked is None:
        known = [version for version in registry.versions() if base in (None, version.base_name)]
        live = registry.aliases().get(REVIEWER)
        made = [version for version in known if (version.folder / reviewer.FILE).is_file()]
        found = live if live in known else made[-1] if made else None
    if found is None or not (found.folder / reviewer.FILE).is_file():
        raise UsageError(
            f"{'there is no reviewer' if found is None else f'{found.id} is no reviewer'} to go on from: "
            "`hone tune --task review` makes one, and feedback.start names one of several"
        )
    return found


def _continued(plan: Plan, start: AdapterVersion, given: Collection[str]) -> Plan:
    """The plan with the shape of the adapter that it goes on from."""
    clash = next((key for key in _FROM_THE_START if key in given), None)
    if clash is not None:
        raise UsageError(
            f"{clash} is that of {start.id}, which training goes on from; leave it out, or begin a fresh adapter with "
            f"--set feedback.start={FRESH}"
        )
    shape = read_configuration(start.folder)
    targets = shape["target_modules"]
    lora = LoraOptions(
        rank=int(shape["r"]),
        alpha=float(shape["lora_alpha"]),
        dropout=plan.lora.dropout,
        target_modules="all-linear" if targets == "all-linear" else tuple(sorted(targets)),
        rank_pattern=dict(shape.get("rank_pattern") or {}),
        alpha_pattern=dict(shape.get("alpha_pattern") or {}),
        use_dora=bool(shape.get("use_dora")),
        use_rslora=bool(shape.get("use_rslora")),
    )
    # A scale would shrink what the start had learnt too.
    return replace(plan, lora=lora, adapter_scales=(1.0,))


def _corpus(start: AdapterVersion | None, events: Collection[Event], ids: Collection[str]) -> tuple[str, ...]:
    """What is replayed where nothing is named: the corpus of the start, else the repositories of the feedback."""
    found = _earlier(start) if start is not None else []
    if not found:
        wanted = set(ids)
        keys = {event.repository for event in events if event.id in wanted}
        roots = feedback_consent.read().repositories
        found = [root for root in roots if feedback_consent.key_of(Path(root)) in keys and Path(root).is_dir()]
    if not found:
        raise HoneError(
            "there is no corpus to replay: name one, such as your repository, so that what the model knows is not "
            "forgotten"
        )
    return tuple(found)


def _earlier(start: AdapterVersion) -> list[str]:
    """The sources of an adapter that are still there, as they are now."""
    try:
        manifest: dict[str, Any] = json.loads((start.folder / FILE_NAME).read_text("utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise HoneError(f"cannot read {start.folder / FILE_NAME}: {error}") from error
    sources = manifest.get("corpus", {}).get("sources", [])
    return [
        source["path"]
        for source in sources
        if source.get("kind") in ("git", "folder", "jsonl") and Path(source["path"]).exists()
    ]
