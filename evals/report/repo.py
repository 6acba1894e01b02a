"""`hone eval repo`'s own report as a task of a report."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.report.schema import SCHEMA_VERSION, Better, Comparison, Figure, ModelResult, Report, TaskReport
from evals.report.words import quantity

NAME = "repo"
Rows = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]
"""Level -> context -> judged samples."""
_FIGURES = {"edit_similarity": "", "exact_match": "share", "identifier_f1": "", "stop_rate": "share"}
"""Of a completion -> unit."""
_CONTEXTS = {"without_retrieval": "no retrieval", "with_retrieval": "retrieval"}


def report(found: Mapping[str, Any]) -> Report:
    """
    Args:
        found: what `evals.run.evaluate` returns. All but its `rows` is kept as it is under the task's `details`.
    """
    environment = found["environment"]
    return Report(
        schema_version=SCHEMA_VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        hone=environment["versions"].get("hone-assistant", "unknown"),
        environment=environment,
        sandbox=None,
        tasks=(task_report(found),),
    )


def task_report(found: Mapping[str, Any]) -> TaskReport:
    details = {name: value for name, value in found.items() if name != "rows"}
    rows: Mapping[str, Rows] = found.get("rows", {})
    return TaskReport(
        name=NAME,
        version=" ".join([NAME, *details["task_versions"]]),
        settings=details["settings"],
        models=tuple(_model(model, rows.get(model["digest"], {}), details) for model in details["models"]),
        comparisons=tuple(each for change in details["comparisons"] for each in _comparisons(change, details)),
        notes=(*_notes(details), *_model_notes(details)),
        samples=tuple(
            _sample(model, level, context, row)
            for model in details["models"]
            for level, contexts in rows.get(model["digest"], {}).items()
            for context, judged in contexts.items()
            for row in judged
        ),
        details=details,
    )


def _model(model: Mapping[str, Any], rows: Rows, details: Mapping[str, Any]) -> ModelResult:
    files = details["held_out"]["scored_files"]
    figures = {"bits_per_byte": _figure(model["bits_per_byte"], files, "bits per byte", "bootstrap over files")}
    for level, found in _levels(details).items():
        (measured,) = (each for each in found["models"] if each["name"] == model["name"])
        for context in _CONTEXTS:
            figures |= _completion_figures(measured[context], f"{_prefix(level)}{{}}_{context}")
    facts = {name: model[name] for name in ("asked", "name", "digest", "served", "base", "adapter")}
    lines = [row for judged in rows.get("line", {}).values() for row in judged]
    latency = tuple(float(row["seconds"]) for row in lines if row["seconds"] is not None)
    return ModelResult(facts, figures, {}, None, latency)


def _comparisons(found: Mapping[str, Any], details: Mapping[str, Any]) -> list[Comparison]:
    """The first is what the gate decides on unless it is told otherwise."""
    files = details["held_out"]["scored_files"]
    made = [_comparison(found, "bits_per_byte", found["bits_per_byte"], files, "bits per byte", "files")]
    for level, measured in _levels(details).items():
        (changes,) = (each for each in measured["comparisons"] if each["second"] == found["second"])
        for context in _CONTEXTS:
            places = measured["models"][0][context]["places"]
            made += [
                _comparison(found, f"{_prefix(level)}{name}_{context}", change, places, unit, "places")
                for name, unit in _FIGURES.items()
                if (change := changes[context].get(name))
            ]
    return made


def _levels(details: Mapping[str, Any]) -> Mapping[str, Any]:
    """Level -> `models` and `comparisons`. Reports of single lines alone have no `levels`."""
    if "levels" in details:
        return dict(details["levels"])
    return {"line": {part: [{**each, **each["lines"]} for each in details[part]] for part in ("models", "comparisons")}}


def _prefix(level: str) -> str:
    return "" if level == "line" else f"{level}_"


def _completion_figures(measured: Mapping[str, Any], name: str) -> dict[str, Figure]:
    """
    Args:
        name: of a figure, with a place for what it is.
    """
    places = measured["places"]
    figures = {
        name.format("edit_similarity"): _figure(measured["edit_similarity"], places, "", "bootstrap over places"),
        name.format("exact_match"): _figure(measured["exact_match"], places, "share", "Wilson over places"),
    }
    if measured.get("identifier_f1"):
        named = measured["identifier_places"]
        figures[name.format("identifier_f1")] = _figure(measured["identifier_f1"], named, "", "bootstrap over places")
    if measured.get("stop_rate"):
        figures[name.format("stop_rate")] = _figure(measured["stop_rate"], places, "share", "Wilson over places")
    return figures


def _comparison(
    found: Mapping[str, Any], figure: str, change: Mapping[str, Any], n: int, unit: str, over: str
) -> Comparison:
    method = f"paired bootstrap over {over}"
    relative = change["relative"]
    return Comparison(
        figure=figure,
        before=found["first"],
        after=found["second"],
        difference=_figure(change["difference"], n, unit, method),
        p=change.get("mcnemar_p"),
        detectable=change.get("detectable"),
        outcomes=tuple(change["outcomes"]) if "outcomes" in change else None,
        relative=_figure(relative, n, "share", method, _better(unit)) if relative and unit != "share" else None,
        clusters=tuple(tuple(row) for row in change.get("clusters", ())),
    )


def _figure(estimate: Mapping[str, float], n: int, unit: str, method: str, better: Better | None = None) -> Figure:
    return Figure(estimate["value"], estimate["low"], estimate["high"], n, unit, better or _better(unit), method)


def _better(unit: str) -> Better:
    return "lower" if unit == "bits per byte" else "higher"


def _sample(model: Mapping[str, Any], level: str, context: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A judged completion in the form of a sample row. Earlier versions kept its prompt as a hash alone, and only what
    completion made of the answer."""
    raw = row.get("raw", row["text"])
    asked = {"prompt": row.get("prompt"), "stop": row.get("stop", []), "max_tokens": row.get("max_tokens")}
    return {
        "key": row["key"],
        "task": row["task"],
        "item": f"{row['path']}:{row['line']} ({level}, {_CONTEXTS[context]})",
        "group": row["path"],
        "attempt": 0,
        "model": model["digest"],
        "name": model["name"],
        "ask": {**asked, "temperature": 0.0, "seed": None},
        "prompt_sha256": row["prompt_sha256"],
        "text": raw,
        "finish_reason": row["finish_reason"],
        "extracted": row["text"] if row["text"] != raw else "",
        "verdict": {
            "value": float(row["exact"]),
            "error": None if row["exact"] else "wrong answer",
            "detail": f"want {row['expected']!r}",
            "extra": {"edit_similarity": row["similarity"], "snippets": row["snippets"]},
        },
        **{name: row[name] for name in ("seconds", "first_token_seconds", "prompt_tokens", "completion_tokens")},
    }


def _notes(details: Mapping[str, Any]) -> list[str]:
    held, settings, machine = details["held_out"], details["settings"], details["environment"]
    retrieval, budget = settings["retrieval"], settings["budget"]
    name, commit = Path(details["repository"]["path"]).name, (details["repository"]["commit"] or "no commit")[:12]
    scored = ", ".join(sorted({f"{model['scored_bytes']:,}" for model in details["models"]}))
    facts = [
        f"repository {name} at {commit}: {held['files']} held-out files, {held['bytes']:,} bytes, "
        "none of them trained on",
        f"bits per byte: {held['scored_files']} files, {scored} bytes, windows of {settings['window_tokens']} tokens, "
        "fp32; interval by bootstrap over files",
        f"single-line completion: {held['places']} places in {held['place_files']} files, greedy, at most "
        f"{settings['max_tokens']} tokens, prompts of at most {budget['prompt']} tokens; similarity is "
        "1 - Levenshtein / longer length, bootstrap over places; exact match with Wilson interval and exact McNemar p",
        f"retrieval: {retrieval['method']}, {retrieval['files']} files in {retrieval['chunks']} chunks of "
        f"{retrieval['chunk_lines']} lines, at most {budget['snippet_count']} chunks and {budget['snippets']} tokens; "
        f"the file itself and all held-out files are hidden; {_snippets_shown(details)}",
        f"seed {settings['seed']}, load average {machine['load_average'][0]} at the start and "
        f"{machine['load_average_at_end'][0]} at the end",
    ]
    if details.get("folds"):
        facts += _fold_notes(details["folds"])
    if held["skipped"]:
        names = ", ".join(entry["path"] for entry in held["skipped"][:3])
        facts.append(f"{len(held['skipped'])} held-out files left out, as they changed or cannot be read: {names}")
    if held["from_commit"]:
        count = len(held["from_commit"])
        facts.append(f"{count} held-out files are taken from the commit, since the working files changed")
    if details["samples"]["resumed"]:
        facts.append(f"{details['samples']['resumed']} samples come from an earlier run, their latency too")
    return facts


def _fold_notes(folds: Mapping[str, Any]) -> list[str]:
    """Mean and standard deviation of each figure between the folds, a line a model and a line a comparison."""
    facts = []
    for kind in ("models", "comparisons"):
        for each in folds[kind]:
            who = each["name"] if kind == "models" else f"{each['second']} less {each['first']}"
            parts = [
                f"{name} {spread['mean']:.3f} (sd {spread['deviation']:.3f})"
                for name, spread in each["figures"].items()
                if spread["deviation"] is not None
            ]
            facts.append(f"{folds['count']} folds of files, {who}: {', '.join(parts)}")
    return facts


def _snippets_shown(details: Mapping[str, Any]) -> str:
    lines = [model["lines"]["with_retrieval"] for model in details["models"]]
    counts = sorted({line["places_with_snippets"] for line in lines})
    return f"something was shown at {' or '.join(map(str, counts))} of {lines[0]['places']} places"


def _model_notes(details: Mapping[str, Any]) -> list[str]:
    facts = []
    for model in details["models"]:
        base, name = model["base"], model["name"]
        adapter = f", adapter {model['adapter']['digest']}" if model["adapter"] else ""
        facts.append(f"{name}: base {base['name']}, weights {base['weights']}, tokenizer {base['tokenizer']}{adapter}")
        for context, label in _CONTEXTS.items():
            lines = model["lines"][context]
            parts = [
                f"{name}, {label}: {' and '.join(lines['mode'])} mode",
                _latency(lines["latency_seconds"]),
                f"{lines['stopped']:.0%} of answers ended where code does",
            ]
            if lines["cached_share"] is not None:
                parts.append(f"{lines['prompt_tokens_mean']:.0f} prompt tokens on average")
                parts.append(f"{lines['cached_share']:.0%} of them cached")
            facts.append(", ".join([*parts, f"prompts {lines['prompts_sha256']}"]))
    return facts


def _latency(seconds: Mapping[str, float] | None) -> str:
    if seconds is None:
        return "latency not measured"
    return f"latency p50 {quantity(seconds['p50'], 'seconds')}, p95 {quantity(seconds['p95'], 'seconds')}"
