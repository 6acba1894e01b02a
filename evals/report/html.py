"""A report as one HTML file that needs no network: tables, plots, and every sample with filter and search.

What models wrote is untrusted. It reaches the page as JSON whose `<` are escaped, and the page's script shows it as
text; a content security policy lets no other script run and nothing be fetched.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from evals.report import markdown, plots, words
from evals.report.schema import Report, TaskReport
from evals.report.skim import prompt_of, prompt_title


def html(report: Report) -> str:
    import jinja2
    from markupsafe import Markup

    page = files("evals.report") / "page"
    style, script = ((page / name).read_text("utf-8") for name in ("page.css", "page.js"))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string((page / "page.html.j2").read_text("utf-8")).render(
        report=report,
        tasks=[_task(task) for task in report.tasks],
        gate_rows=markdown.gate_table(report.gate) if report.gate else None,
        machine=markdown.machine(report),
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
        data=Markup(_script_json([_samples(task) for task in report.tasks])),
    )
    return text + "\n"


def _task(task: TaskReport) -> dict[str, Any]:
    from markupsafe import Markup

    drawn = [
        ("Scores with 95 % intervals", plots.scores(task)),
        ("Error classes", plots.classes(task)),
        ("Calibration", plots.calibration(task)),
        ("Latency: share of samples answered within a time", plots.latency(task)),
    ]
    facts = {"settings": task.settings, "models": [model.facts for model in task.models]}
    return {
        "report": task,
        "figures": markdown.table(task),
        "classes": markdown.classes(task),
        "moves": markdown.moves(task),
        "comparisons": _comparisons(task),
        # Built by an XML library, which escapes texts and attributes.
        "plots": [(caption, Markup(svg)) for caption, svg in drawn if svg is not None],
        "facts": json.dumps(facts, indent=2, ensure_ascii=False),
    }


def _comparisons(task: TaskReport) -> list[list[str]]:
    rows = [
        [
            "figure",
            "from",
            "to",
            "difference",
            "p",
            "finds differences from",
            "both / only from / only to / neither",
            "method",
        ]
    ]
    for each in task.comparisons:
        unit = each.difference.unit
        rows.append(
            [
                words.label(each.figure),
                each.before,
                each.after,
                words.change(each.difference),
                "" if each.p is None else words.p_value(each.p),
                "" if each.detectable is None else words.distance(each.detectable, unit),
                "" if each.outcomes is None else " / ".join(map(str, each.outcomes)),
                each.difference.method,
            ]
        )
    return rows


def _samples(task: TaskReport) -> dict[str, Any]:
    """What the page's script shows: a row for each item and attempt, with every model's answer (null: not measured)."""
    names = [str(model.facts["name"]) for model in task.models]
    places = {name: number for number, name in enumerate(names)}
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for sample in task.samples:
        prompt = prompt_of(sample["ask"])
        row = rows.setdefault(
            (sample["item"], sample["attempt"]),
            {
                "item": sample["item"],
                "attempt": sample["attempt"],
                "prompt": prompt,
                "title": prompt_title(sample["ask"]),
                "sha256": sample["prompt_sha256"],
                "answers": [None] * len(names),
            },
        )
        row["answers"][places[sample["name"]]] = _answer(sample, prompt if prompt != row["prompt"] else None)
    attempts = len({attempt for _, attempt in rows})
    return {"name": task.version, "models": names, "attempts": attempts, "rows": list(rows.values())}


def _answer(sample: Mapping[str, Any], own_prompt: str | None) -> dict[str, Any]:
    verdict = sample["verdict"]
    return {
        "text": sample["text"],
        "extracted": sample["extracted"],
        "value": verdict["value"],
        "error": verdict["error"],
        "detail": verdict["detail"],
        "extra": json.dumps(verdict["extra"], ensure_ascii=False, indent=1) if verdict["extra"] else "",
        "finish": sample["finish_reason"],
        "seconds": sample["seconds"],
        "tokens": sample["completion_tokens"],
        "prompt": own_prompt,
        "title": prompt_title(sample["ask"]),
    }


def _script_json(value: object) -> str:
    """JSON that cannot end the script element it stands in, nor begin a comment or another element there."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
