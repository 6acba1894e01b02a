"""A report as Markdown, and as the table a terminal shows."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assistant import atomic
from assistant.errors import HoneError

_CONTEXT_NAMES = {"without_retrieval": "no retrieval", "with_retrieval": "retrieval"}


def table(report: Mapping[str, Any]) -> list[list[str]]:
    """Rows of cells, the header first: one column a model, and the change of each further model against the first."""
    models, comparisons = report["models"], report["comparisons"]
    several = len(comparisons) > 1
    changes = [f"change to {comparison['second']}" if several else "change" for comparison in comparisons]
    rows = [["", *(model["name"] for model in models), *changes]]
    rows.append(
        [
            "bits per byte, held-out files",
            *(_number(model["bits_per_byte"]) for model in models),
            *(_relative(comparison["bits_per_byte"]) for comparison in comparisons),
        ]
    )
    for context, label in _CONTEXT_NAMES.items():
        figures = [model["lines"][context] for model in models]
        changed = [comparison["lines"][context] for comparison in comparisons]
        rows += [
            [
                f"edit similarity, {label}",
                *(_number(f["edit_similarity"]) for f in figures),
                *(_relative(c["edit_similarity"]) for c in changed),
            ],
            [
                f"exact match, {label}",
                *(_percent(f["exact_match"]) for f in figures),
                *(
                    f"{_points(c['exact_match']['difference'])}, p = {c['exact_match']['mcnemar_p']:.3f}"
                    for c in changed
                ),
            ],
            [f"latency p50 / p95, {label}", *(_latency(f["latency_seconds"]) for f in figures), *("" for _ in changed)],
        ]
    return rows


def plain(report: Mapping[str, Any]) -> str:
    """The table in aligned columns, and what it was measured on."""
    rows = table(report)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *_facts(report)]) + "\n"


def markdown(report: Mapping[str, Any]) -> str:
    rows = [[_escape(cell) for cell in row] for row in table(report)]
    lines = [
        "# Held-out completion and bits per byte",
        "",
        _row(rows[0]),
        _row(["---"] * len(rows[0])),
        *map(_row, rows[1:]),
        "",
    ]
    lines += [
        "Brackets hold 95 % intervals. Changes are relative to the first model, paired on the same places or files.",
        "",
    ]
    lines += ["## What was measured", "", *(f"- {_escape(fact)}" for fact in _facts(report)), ""]
    lines += ["## Models", "", *(f"- {_escape(fact)}" for fact in _model_facts(report)), ""]
    lines += ["## Machine", "", *(f"- {_escape(fact)}" for fact in _machine_facts(report)), ""]
    skipped = report["held_out"]["skipped"]
    if skipped:
        lines += [
            "## Held-out files left out",
            "",
            *(f"- `{entry['path']}`: {_escape(entry['reason'])}" for entry in skipped),
            "",
        ]
    return "\n".join(lines)


def write(report: Mapping[str, Any], folder: Path | None) -> None:
    """Writes report.json and report.md to `folder`; appends the Markdown to `$GITHUB_STEP_SUMMARY` when that is set.

    Raises:
        HoneError: a file cannot be written.
    """
    text = markdown(report)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    try:
        if folder is not None:
            atomic.write_json(folder / "report.json", report)
            atomic.write_text(folder / "report.md", text)
        if summary:
            with open(summary, "a", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise HoneError(f"cannot write the report: {error.filename or folder}: {error.strerror}") from error


def _facts(report: Mapping[str, Any]) -> list[str]:
    held, settings, machine = report["held_out"], report["settings"], report["environment"]
    retrieval, budget = settings["retrieval"], settings["budget"]
    name, commit = Path(report["repository"]["path"]).name, (report["repository"]["commit"] or "no commit")[:12]
    scored = ", ".join(sorted({f"{model['scored_bytes']:,}" for model in report["models"]}))
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
        f"the file itself and all held-out files are hidden; {_snippets_shown(report)}",
        f"seed {settings['seed']}, load average {machine['load_average'][0]} at the start and "
        f"{machine['load_average_at_end'][0]} at the end",
    ]
    if held["skipped"]:
        names = ", ".join(entry["path"] for entry in held["skipped"][:3])
        facts.append(f"{len(held['skipped'])} held-out files left out, as they changed or cannot be read: {names}")
    if held["from_commit"]:
        count = len(held["from_commit"])
        facts.append(f"{count} held-out files are taken from the commit, since the working files changed")
    if report["samples"]["resumed"]:
        facts.append(f"{report['samples']['resumed']} samples come from an earlier run, their latency too")
    return facts


def _snippets_shown(report: Mapping[str, Any]) -> str:
    lines = [model["lines"]["with_retrieval"] for model in report["models"]]
    counts = sorted({line["places_with_snippets"] for line in lines})
    return f"something was shown at {' or '.join(map(str, counts))} of {lines[0]['places']} places"


def _model_facts(report: Mapping[str, Any]) -> list[str]:
    facts = []
    for model in report["models"]:
        base, name = model["base"], model["name"]
        adapter = f", adapter {model['adapter']['digest']}" if model["adapter"] else ""
        facts.append(f"{name}: base {base['name']}, weights {base['weights']}, tokenizer {base['tokenizer']}{adapter}")
        for context, label in _CONTEXT_NAMES.items():
            lines = model["lines"][context]
            parts = [
                f"{name}, {label}: {' and '.join(lines['mode'])} mode",
                f"{lines['stopped']:.0%} of answers ended by themselves",
            ]
            if lines["cached_share"] is not None:
                parts.append(f"{lines['prompt_tokens_mean']:.0f} prompt tokens on average")
                parts.append(f"{lines['cached_share']:.0%} of them cached")
            facts.append(", ".join([*parts, f"prompts {lines['prompts_sha256']}"]))
    return facts


def _machine_facts(report: Mapping[str, Any]) -> list[str]:
    found = report["environment"]
    memory = f"{found['memory_bytes'] / 2**30:.1f} GiB"
    return [
        f"{found['processor']}, {found['physical_cores']} physical cores, {memory}, {found['platform']}",
        f"engine {found['engine']}, {found['threads']} threads",
        ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
    ]


def _number(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _percent(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.1%} [{estimate['low']:.1%}, {estimate['high']:.1%}]"


def _relative(comparison: Mapping[str, Any]) -> str:
    estimate = comparison["relative"]
    return (
        f"{estimate['value']:+.1%} [{estimate['low']:+.1%}, {estimate['high']:+.1%}]"
        if estimate
        else "no relative change (first is 0)"
    )


def _points(estimate: Mapping[str, float]) -> str:
    return f"{100 * estimate['value']:+.1f} [{100 * estimate['low']:+.1f}, {100 * estimate['high']:+.1f}] points"


def _latency(seconds: Mapping[str, float] | None) -> str:
    if seconds is None:
        return "not measured"
    return f"{1000 * seconds['p50']:.0f} / {1000 * seconds['p95']:.0f} ms"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
