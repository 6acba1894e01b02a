"""What is known of one model, as text: facts with their labels, and the history."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textual.content import Content

from assistant.models.registry import Event
from tui.columns import fit
from tui.fields import fitted
from tui.inert import inert
from tui.jobs.braille import sparkline
from tui.jobs.curves import plotted
from tui.jobs.described import duration, size
from tui.models.described import WHOLE
from tui.models.gathered import AdapterDetails, BaseDetails, Details, entries, section, sources
from tui.models.measured import Decision, Line
from tui.models.rows import Node, gain
from tui.models.uses import Use
from tui.shortened import from_home

Field = tuple[str, Content]
"""Its label and what it says; what says nothing is left out."""

_LABEL = 11
_CURVE = 12
"""Rows of the curve of the loss, with its title and its axis."""
_DIM = "$foreground 60%"
OUTCOMES = {"pass": "$text-success", "regression": "$text-error", "inconclusive": "$text-warning"}
_KINDS = {
    "registered": ("+", "$text-secondary"),
    "removed": ("−", _DIM),
    "promoted": ("▲", "$text-success"),
    "rolled back": ("▼", "$text-warning"),
}


def of(node: Node, details: Details | None, trouble: str, width: int) -> Content:
    """All facts of the chosen line.

    Args:
        details: None while they are read.
        trouble: why they cannot be read.
    """
    if node.kind == "adapter":
        return drawn(of_versions(node), width)
    if isinstance(details, AdapterDetails):
        told = drawn(of_adapter(details), width)
        if len(details.curves.loss) < 2:
            return told
        curve = plotted(details.curves.loss, width, _CURVE, "loss", "nats/token", "$primary", "", mean=True)
        return Content("\n\n").join([told, curve])
    if isinstance(details, BaseDetails):
        return drawn(of_base(details), width)
    return Content(inert(trouble)).stylize("$text-error") if trouble else Content("reading …").stylize(_DIM)


def events_of(node: Node, events: Sequence[Event]) -> list[Event]:
    """Of a version those that name it, of an adapter those of its versions; of a base all."""
    if node.kind == "base":
        return list(events)
    if node.kind == "adapter":
        return [event for event in events if event.name == node.name]
    return [event for event in events if node.name in (event.target, event.replaced)]


def drawn(fields: Sequence[Field], width: int) -> Content:
    """One below the other; what does not fit into its line goes on beside its label."""
    lines = []
    for label, value in fields:
        if value:
            room = max(width - _LABEL - 1, 8)
            # A digest says nothing more by its last characters in a line of their own.
            wrapped = value.wrap(room) if " " in value.plain else [value.truncate(room, ellipsis=True)]
            heads = [fit(Content(label).stylize(_DIM), _LABEL), *[Content(" " * _LABEL)] * (len(wrapped) - 1)]
            lines += [head + " " + part for head, part in zip(heads, wrapped, strict=True)]
    return Content("\n").join(lines)


def heading(node: Node, width: int) -> Content:
    """What is chosen, and where it is live."""
    parts = [Content(inert(node.name)).stylize("bold")]
    if node.version is not None:
        parts += [Content(f"★ {inert(alias)}").stylize("$text-primary") for alias in node.version.aliases]
        parts.append(Content(f"tuned {stamped(node.version.adapter.created)} UTC").stylize(_DIM))
    elif node.kind == "adapter":
        parts.append(Content(f"an adapter of {inert(node.base.name)}").stylize(_DIM))
    else:
        parts.append(Content(inert(node.base.summary or "a base model")).stylize(_DIM))
    return Content("  ").join(parts).truncate(max(width, 1), ellipsis=True)


def of_adapter(details: AdapterDetails) -> list[Field]:
    """Of a version."""
    version, manifest = details.version, details.manifest
    adapter = version.adapter
    state_style = "$text-success" if details.state == WHOLE else "$text-error"
    return [
        ("base", Content(inert(adapter.base_name))),
        ("state", Content(inert(details.state)).stylize(state_style)),
        ("validation", _validation(details)),
        *_measured(details.measured),
        ("gate", _decided(details.decision)),
        ("corpus", _corpus(version.corpus, manifest)),
        ("training", _training(manifest, adapter.figures)),
        ("proof", _proof(adapter.figures)),
        ("used", _used(details.uses)),
        ("digest", Content(adapter.digest)),
        ("on disk", _disk(version.bytes, str(adapter.folder))),
    ]


def of_base(details: BaseDetails) -> list[Field]:
    base, told = details.base, details.told
    needs = [
        f"{amount:g} GiB to {what}" for amount, what in ((base.serve_gib, "serve"), (base.tune_gib, "tune")) if amount
    ]
    if base.cached:
        state = Content("ready").stylize("$text-success")
        disk = _disk(base.bytes or 0, base.folder or "")
        if details.form_bytes:
            disk += Content(f"; {size(details.form_bytes)} more for tuning and serving").stylize(_DIM)
    else:
        amount = size(base.download_bytes or 0)
        fetch = f"; g fetches {amount}" if amount else ""
        state, disk = Content(f"not on this disk{fetch}").stylize("$text-warning"), Content("")
    length = told.get("context_length")
    return [
        ("state", state),
        ("licence", Content(inert(base.licence or ""))),
        ("context", Content(f"{length:,} tokens" if isinstance(length, int) else "")),
        ("memory", Content(", ".join(needs))),
        ("source", Content(inert(str(told.get("source") or "")))),
        ("adapters", Content("" if details.adapters else "none yet; t tunes one on your code").stylize(_DIM)),
        *_measured(details.measured),
        ("used", _used(details.uses)),
        *((name, Content(str(told.get(name) or ""))) for name in ("digest", "weights", "tokenizer", "template")),
        ("on disk", disk),
    ]


def of_versions(node: Node) -> list[Field]:
    """Of an adapter: its versions, and how they came along."""
    told = []
    for version in node.versions:
        live = [(f"  ★ {inert(alias)}", "$text-primary") for alias in version.aliases]
        line = Content.assemble((version.adapter.digest[:12], "bold"), "  ", gain(*_gained(version.adapter.figures)))
        told.append((version.adapter.created[:10], Content.assemble(line, *live)))
    oldest_first = [after for version in reversed(node.versions) if (after := version.figure("validation_after"))]
    if len(oldest_first) > 1:
        told.append(("bits/byte", Content(sparkline(oldest_first, 40)).stylize("$secondary")))
    return [*told, ("on disk", Content(size(sum(version.bytes for version in node.versions))))]


def history(events: Sequence[Event], width: int) -> Content:
    """One event a line, the newest first; what was replaced and who did it only where there is room."""
    lines = []
    for event in events:
        sign, style = _KINDS.get(event.kind, ("·", _DIM))
        named = Content.assemble(
            (f"{inert(event.alias)} → " if event.alias else "", "$text-primary"), inert(event.target)
        )
        said = outcome_of(event)
        fields = [
            (0, Content.assemble((stamped(event.time), _DIM), "  ", (f"{sign} {event.kind:<11}", style), "  ", named)),
            (1, Content(f"gate: {inert(said)}" if said else "").stylize(OUTCOMES.get(said, _DIM))),
            (2, Content(f"was {inert(event.replaced)}" if event.replaced else "").stylize(_DIM)),
            (3, Content(f"by {inert(event.actor)}" if event.actor else "").stylize(_DIM)),
        ]
        lines.append(fitted(fields, width))
    return Content("\n").join(lines) if lines else Content("Nothing has happened yet.").stylize(_DIM)


def outcome_of(event: Event) -> str:
    """What the gate said, where a promotion keeps its decision as evidence; else empty."""
    report = event.data.get("report")
    said = report.get("outcome") if isinstance(report, Mapping) else None
    return said if isinstance(said, str) else ""


def stamped(time: str) -> str:
    """To the minute."""
    return time[:16].replace("T", " ")


def _gained(figures: Mapping[str, Any]) -> tuple[float | None, float | None]:
    found = [figures.get(name) for name in ("validation_before", "validation_after")]
    before, after = (float(one) if isinstance(one, int | float) else None for one in found)
    return before, after


def _validation(details: AdapterDetails) -> Content:
    before, after = _gained(details.version.adapter.figures)
    if after is None:
        return Content("")
    from_ = f"{before:.3f} → " if before else ""
    parts = [Content(from_), gain(before, after), Content(" bits per byte of held-out files").stylize(_DIM)]
    if len(measured := [value for _, value in details.curves.validation]) > 2:
        parts += [Content("  "), Content(sparkline(measured, 24)).stylize("$secondary")]
    return Content.assemble(*parts)


def _corpus(named: str, manifest: Mapping[str, Any]) -> Content:
    parts = [inert(named)] if named else []
    commits = [str(source["commit"])[:8] for source in sources(manifest) if source.get("commit")]
    parts += [f"at {', '.join(commits)}"] if commits else []
    if files := entries(section(manifest, "corpus"), "files"):
        splits = [file.get("split") for file in files]
        names = (("train", "train"), ("validation", "validation"), ("test", "held out"))
        parts.append("· " + ", ".join(f"{splits.count(split)} {name}" for split, name in names) + " files")
    tokens = section(manifest, "configuration").get("train_tokens")
    parts += [f"· {tokens:,} tokens"] if isinstance(tokens, int) else []
    return Content(" ".join(parts))


def _training(manifest: Mapping[str, Any], figures: Mapping[str, Any]) -> Content:
    settings = section(manifest, "configuration")
    parts = []
    if isinstance(figures.get("steps"), int):
        parts.append(f"{figures['steps']:,} steps")
    if isinstance(figures.get("seconds"), int | float):
        parts.append(f"in {duration(figures['seconds'])}")
    if isinstance(figures.get("tokens_per_second"), int | float):
        parts.append(f"at {figures['tokens_per_second']:,.0f} tok/s")
    for name, label in (("rank", "rank"), ("learning_rate", "learning rate")):
        if isinstance(settings.get(name), int | float):
            parts.append(f"· {label} {settings[name]:g}")
    return Content(" ".join(parts))


def _proof(figures: Mapping[str, Any]) -> Content:
    agreement, base, places = (figures.get(f"proof_{name}") for name in ("agreement", "base_agreement", "positions"))
    if not isinstance(agreement, int | float):
        return Content("")
    told = f"{agreement:.1%} of next tokens as trained, at {places} places"
    return Content(told + (f" (base {base:.1%})" if isinstance(base, int | float) else ""))


def _measured(lines: Sequence[Line]) -> list[Field]:
    return [
        (
            inert(line.task),
            Content.assemble(
                f"{inert(line.figure)} {inert(line.value)}",
                *((f"  {inert(one)}", "$secondary") for one in line.changes),
            ),
        )
        for line in lines
    ]


def _decided(decision: Decision | None) -> Content:
    if decision is None:
        return Content("not asked yet").stylize(_DIM)
    style = OUTCOMES.get(decision.outcome, "")
    return Content.assemble((inert(decision.outcome), style), f" against {inert(decision.against)}")


def _used(uses: Sequence[Use]) -> Content:
    told = Content(", ").join([Content(inert(use.text)) for use in uses])
    return told or Content("by nothing").stylize(_DIM)


def _disk(amount: int, folder: str) -> Content:
    return Content.assemble(f"{size(amount)}  ", (inert(from_home(Path(folder))), _DIM))
