"""The model card that a tuning run leaves, in Markdown, and its picture of the loss. From the manifest and the metrics
alone, so that it can be written again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assistant import atomic
from tuning.plot import loss_svg, read_metrics

FILE_NAME = "card.md"
_FOR_FORGES = "README.md"
"""The same text under the name that forges and model hubs show."""
PLOT = "loss.svg"
METRICS = "metrics.jsonl"
SECTIONS = {"lora": "LoRA", "examples": "Examples", "corpus": "Corpus settings", "feedback": "Feedback settings"}
"""Of a configuration, with their titles."""


def write_card(folder: Path, content: Mapping[str, Any], metrics: Path | None = None) -> None:
    """Writes the card, and the plot where there are metrics, into an adapter's folder.

    Args:
        content: the manifest.
        metrics: the run's metrics.jsonl; None takes the one in `folder`, where there is one.

    Raises:
        OSError: the disk is full.
    """
    metrics = metrics or folder / METRICS
    plot = loss_svg(read_metrics(metrics)) if metrics.exists() else None
    if plot:
        atomic.write_text(folder / PLOT, plot)
    text = card(content, PLOT if plot else None)
    for name in (FILE_NAME, _FOR_FORGES):
        atomic.write_text(folder / name, text)


def card(content: Mapping[str, Any], plot: str | None = None) -> str:
    """A model card, from the manifest. What a manifest does not have is left out, not guessed.

    Args:
        plot: the plot's file name beside the card.
    """
    title = f"{content['name']}@{content['digest'][:12]}"
    base = content["base"]
    sections = [
        _front_matter(content),
        f"# {title}",
        f"A LoRA of {base['name']} (weights {base['weights'][:12]}), {_made(content)} by Hone on {content['created']}.",
        _section("Parents", _parents(content.get("parents", []))),
        _section("Corpus", _table(_corpus(content["corpus"]))),
        _section("Configuration", _settings(content.get("configuration", {}))),
        _section("Training", _table(_training(content.get("figures") or {})) if content.get("figures") else ""),
        f"![Loss by optimizer step]({plot})" if plot else "",
        _section("Reviewer", _table(_reviewer(content.get("reviewer") or {}))),
        _section("Evaluation", _table(_evaluation(content.get("evals", [])))),
        _section("Proof of export", _table(_proof(content.get("proof") or {}))),
        _section("Limits", _limits(content)),
        _section("Versions", ", ".join(f"{name} {number}" for name, number in content.get("versions", {}).items())),
    ]
    return "\n\n".join(part for part in sections if part) + "\n"


def _front_matter(content: Mapping[str, Any]) -> str:
    return f"---\nlibrary_name: peft\nbase_model: {content['base']['name']}\ntags: [lora, code]\n---"


def _made(content: Mapping[str, Any]) -> str:
    if not content.get("parents"):
        return "tuned"
    return "scaled" if len(content["parents"]) == 1 else "combined"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _table(rows: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in rows.items() if value not in (None, "")}
    if not shown:
        return ""
    lines = [f"| {name} | {_cell(value)} |" for name, value in shown.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _parents(parents: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"- {parent['id']}, weight {parent['weight']:g}" for parent in parents)


def _corpus(corpus: Mapping[str, Any]) -> dict[str, Any]:
    files = corpus.get("files", [])
    sides = Counter(file["split"] for file in files)
    # Records of earlier versions have no verdict but a reason that begins with one.
    dropped = Counter(
        str(each.get("verdict") or each["reason"].partition(":")[0]) for each in corpus.get("dropped", [])
    )
    redactions = {kind: count for kind, count in corpus.get("redactions", {}).items() if count}
    return {
        "sources": "; ".join(_source(source) for source in corpus.get("sources", [])),
        "files": f"{sides['train']} train, {sides['validation']} validation, {sides['test']} held out for tests",
        "bytes": f"{sum(file.get('bytes', 0) for file in files):,}",
        "languages": _counted(Counter(str(file.get("language")) for file in files if file.get("language"))),
        "licences": _counted(Counter(str(file["licence"] or "unknown") for file in files if "licence" in file)),
        "left out": _counted(dropped) or "nothing",
        "secrets and personal data replaced": _counted(Counter(redactions)) or "0",
    }


def _source(source: Mapping[str, Any]) -> str:
    if not source.get("commit"):
        # Not its path: a card is shared, and where a folder lies on somebody's machine is nobody's business.
        return _named(str(source.get("path", "a folder")))
    return f"commit {source['commit']}" + (" with local changes" if source.get("dirty") else "")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _settings(configuration: Mapping[str, Any]) -> str:
    """A table of the run's own settings, and one of each section's; what a section says is not said twice."""
    sections = {name: configuration[name] for name in SECTIONS if isinstance(configuration.get(name), Mapping)}
    if not sections.get("feedback", {}).get("rows"):
        sections.pop("feedback", None)
    lora = sections.get("lora", {})
    if lora and "alpha" in configuration:
        # What the default came to.
        sections["lora"] = {**lora, "alpha": configuration["alpha"]}
    own = {name: value for name, value in configuration.items() if name not in SECTIONS and name not in lora}
    if "corpus" in sections:
        sections["corpus"] = _shareable(sections["corpus"])
    tables = [("", own), *((f"### {SECTIONS[name]}\n\n", section) for name, section in sections.items())]
    shown = [(title, _table(_configuration(_switched_on(values)))) for title, values in tables]
    return "\n\n".join(f"{title}{table}" for title, table in shown if table)


def _switched_on(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value not in (None, "none", False)}


def _shareable(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """The corpus settings without the sources, which stand above, and with the names of files in place of paths."""
    return {
        **{name: value for name, value in corpus.items() if name != "sources"},
        "replay_source": corpus.get("replay_source") and _named(corpus["replay_source"]),
        "decontaminate_files": [_named(file) for file in corpus.get("decontaminate_files", ())],
        # Off is worth telling.
        "redact": None if (redact := corpus.get("redact")) is None else "yes" if redact else "no",
    }


def _named(source: str) -> str:
    """A source as it can be told: a data set of the hub by its name, a path by its last part."""
    place = source.removeprefix("hf:")
    on_hub = place != source and place.count("/") < 2 and not place.startswith((".", "/", "~"))
    return source if on_hub else Path(place).name


def _configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    def shown(value: Any) -> str | None:
        if value is None or value in ({}, []):
            return None
        if isinstance(value, float):
            return f"{value:g}"
        if isinstance(value, Mapping):
            return ", ".join(f"{key}: {shown(each)}" for key, each in value.items())
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    return {name.replace("_", " "): shown(value) for name, value in configuration.items()}


def _training(figures: Mapping[str, Any]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    if "steps" in figures:
        rows["trained"] = (
            f"{figures['steps']} steps, {figures['tokens']:,} tokens in {figures['seconds'] / 60:.1f} min "
            f"({figures['tokens_per_second']:,.0f} tokens per second)"
            + (", stopped early by hand" if figures.get("interrupted") else "")
        )
    before, after = figures.get("validation_before"), figures.get("validation_after")
    rows["validation, bits per byte"] = (
        "not measured"
        if before is None or after is None
        else f"{before:.3f} -> {after:.3f} ({after / before - 1:+.1%})"
    )
    if isinstance(scales := figures.get("scales"), Mapping):
        rows["validation by adapter scale"] = ", ".join(
            f"{scale}: {'not measured' if bits is None else format(bits, '.3f')}" for scale, bits in scales.items()
        )
    known = {"steps", "tokens", "seconds", "tokens_per_second", "interrupted", "validation_before", "validation_after"}
    others = {name: value for name, value in figures.items() if name not in {*known, "scales"}}
    return {**rows, **_configuration(others)}


def _reviewer(reviewer: Mapping[str, Any]) -> dict[str, Any]:
    """How what it would write of changed lines is read, and what that gave on changes of the validation files."""
    if not reviewer:
        return {}
    found = reviewer["validation"]
    return {
        "formulation": reviewer["formulation"],
        "a line is called wrong from probability": f"{reviewer['threshold']:.4f}",
        "probability": "1 / (1 + exp(-z)), z = slope x (log((1 - p(line)) / p(line)) - usual) + intercept "
        "- log(lines judged)",
        "usual, of a right line": f"{reviewer['usual']:.4f} {reviewer['per_log_length']:+.4f} x log(1 + characters)",
        **{
            f"slope and intercept, {kind} lines": f"{reviewer[kind]['slope']:.4f}, {reviewer[kind]['intercept']:+.4f}"
            for kind in ("added", "replaced")
        },
        "validation changes": f"{found['changes']}, {found['clean_changes']} of them clean",
        "false alarms per clean change": f"{found['false_alarms_per_clean_change']:.3f} "
        f"(at most {found['most_false_alarms']:g} are wanted)",
        "bugs found at their line": f"{found['recall']:.1%}",
        "of the lines called wrong, wrong": f"{reviewer['precision']:.1%} where half of the changes are clean",
        "area under the ROC curve": f"changes {_number(found['auc_change'])}, lines {_number(found['auc_line'])}",
    }


def _evaluation(evals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One row per measurement: `{"name": ..., "base": ..., "tuned": ...}`, with anything else in words as `note`."""
    return {
        str(each["name"]): f"{_number(each.get('base'))} -> {_number(each.get('tuned'))}"
        + (f" ({each['note']})" if each.get("note") else "")
        for each in evals
    }


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _proof(proof: Mapping[str, Any]) -> dict[str, Any]:
    if not proof:
        return {}
    rows: dict[str, Any] = {
        "reloaded adapter, greatest log-probability difference": _difference(proof.get("reload_difference")),
        "llama.cpp agrees with transformers": f"{proof['agreement']:.1%} of {proof['positions']} next tokens "
        f"(bare base {proof['base_agreement']:.1%})",
        "next tokens that the adapter changes": f"{proof['changed']:.1%}",
    }
    if "merged_difference" in proof:
        rows["merged into the base, greatest log-probability difference"] = _difference(proof["merged_difference"])
    merged, unmerged = proof.get("quantized_bits_per_byte"), proof.get("unmerged_bits_per_byte")
    if merged is not None and unmerged is not None:
        rows[f"merged and stored as {proof['quantized_type']}, bits per byte"] = (
            f"{merged:.3f}, unmerged {unmerged:.3f} ({merged / unmerged - 1:+.2%})"
        )
    rows["compared on"] = proof.get("compared_on", "held-out files")
    return rows


def _difference(value: float | None) -> str | None:
    return None if value is None else f"{value:.2g}"


def _limits(content: Mapping[str, Any]) -> str:
    corpus = "the corpora of its parents" if content.get("parents") else "one corpus"
    lines = [
        f"- It runs only on the base it was made for; Hone checks the digest ({content['base']['digest'][:12]}).",
        f"- It was tuned on {corpus}: expect it to imitate that code's habits, its mistakes included.",
        "- Secrets were replaced where a pattern knows them; no pattern knows all.",
        "- `manifest.json` has every file's hash and side of the split; what is not listed as held out proves nothing "
        "about this adapter.",
    ]
    if not content.get("evals"):
        lines.append("- No evaluation stands in this card; `hone eval repo` makes one on the held-out files.")
    return "\n".join(lines)
