"""One sample: what is read of it in a thread, and how its verdicts are told."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.content import Content

from evals.report import words
from evals.report.schema import TaskReport
from evals.report.skim import Place, ReportFile, prompt_of, prompt_title
from tui.evals import plots
from tui.evals.compared import change_between
from tui.evals.filters import Pair
from tui.evals.lines import one_line
from tui.evals.plots import MUTED
from tui.evals.text_view import MOST

if TYPE_CHECKING:
    from assistant.skills.review.changes import FileChange

Row = Mapping[str, Any]
_PYTHON = ("humaneval", "mbpp", "infill", "repo-exec")
_PATH = re.compile(r"[^:@]+\.\w+")


@dataclass(frozen=True)
class Sample:
    number: int
    """Of its place."""
    path: str
    """Its ending says which language the answers are in; empty: none is known."""
    rows: tuple[Row | None, ...]
    """Of the two models, or of the one; None: not measured."""
    prompt: str
    change: "FileChange | None"
    """From the first model's answer to the second one's; None where one is missing."""


def read(file: ReportFile, task: TaskReport, number: int, place: Place, pair: Pair) -> Sample:
    """
    Raises:
        HarnessError: the file was changed in its place.
    """
    answers = [place.answers[one] for one in dict.fromkeys((pair.before, pair.after))]
    rows = tuple(file.row(answer.span) if answer is not None else None for answer in answers)
    path = language_path(task.name, place.item)
    change = None
    if len(rows) == 2 and rows[0] is not None and rows[1] is not None:
        before, after = (str(row.get("text"))[:MOST] for row in rows if row is not None)
        change = change_between(before, after, path or "answer.txt")
    return Sample(number, path, rows, _prompt(rows), change)


def language_path(task: str, item: str) -> str:
    """A path whose ending says which language answers are in; empty where the task does not tell."""
    if task == "repo" and (found := _PATH.match(item)):
        return found.group()
    return "answer.py" if task.startswith(_PYTHON) else ""


def verdict_line(row: Row | None, number: int, name: str) -> Content:
    """One line: whose, right or what was wrong, and what the answer cost."""
    who = (f"{plots.mark(number)} ", plots.colour(number)), f"{one_line(name)}  "
    if row is None:
        return Content.assemble(("· ", MUTED), *who, ("not measured", MUTED))
    verdict = row.get("verdict") or {}
    error, value = verdict.get("error"), verdict.get("value")
    sign, style = ("✓ ", "$text-success") if error is None else ("✕ ", "$text-error")
    graded = f" {value:.3f}" if isinstance(value, float) and value not in (0.0, 1.0) else ""
    first = str(verdict.get("detail") or "").strip().split("\n", 1)[0]
    more = f" · {one_line(first)}" if first else ""
    said = one_line(str(error)) if error else "right"
    return Content.assemble((sign, style), *who, (f"{said}{graded}", style), (_cost(row), MUTED), (more, MUTED))


def verdict_text(rows: Mapping[str, Row | None]) -> str:
    """All that is known of the verdicts, by the model's name."""
    return "\n\n".join(f"{name}\n{_verdict(row) if row is not None else 'not measured'}" for name, row in rows.items())


def answer_text(row: Row | None) -> str:
    if row is None:
        return "(not measured)"
    return str(row.get("text") or "") or "(the answer is empty)"


def _prompt(rows: tuple[Row | None, ...]) -> str:
    """What was shown, once where both models were shown the same; each has a chat template of its own."""
    known = [row for row in rows if row is not None]
    if not known:
        return "(not measured)"
    ask = known[0].get("ask") or {}
    decoding = {name: ask[name] for name in ("max_tokens", "temperature", "seed", "stop") if ask.get(name) is not None}
    shown: dict[str, list[str]] = {}
    for row in known:
        shown.setdefault(_shown(row), []).append(str(row.get("name")))
    parts = [f"{text} of {', '.join(names)}" if len(shown) > 1 else text for text, names in shown.items()]
    return "\n\n".join([*parts[:-1], f"{parts[-1]}\n── {json.dumps(decoding, ensure_ascii=False)}"])


def _shown(row: Row) -> str:
    ask = row.get("ask") or {}
    text = prompt_of(ask) or f"(only the digest of the prompt was kept: {row.get('prompt_sha256')})"
    return f"{text}\n\n── {prompt_title(ask)}"


def _cost(row: Row) -> str:
    seconds, tokens, ended = (row.get(name) for name in ("seconds", "completion_tokens", "finish_reason"))
    parts = [
        "cut at the token limit" if ended == "length" else "",
        f"{tokens} tokens" if tokens is not None else "",
        words.quantity(seconds, "seconds") if isinstance(seconds, int | float) else "",
    ]
    return "".join(f" · {part}" for part in parts if part)


def _verdict(row: Row) -> str:
    verdict = row.get("verdict") or {}
    value, sandbox = verdict.get("value"), row.get("sandbox")
    lines = [f"verdict: {verdict.get('error') or 'right'}, value {value}" + (f", ran in {sandbox}" if sandbox else "")]
    if verdict.get("detail"):
        lines += ["", str(verdict["detail"])]
    if verdict.get("extra"):
        lines += ["", json.dumps(verdict["extra"], indent=2, ensure_ascii=False)]
    if row.get("extracted"):
        lines += ["", "what was judged:", str(row["extracted"])]
    return "\n".join(lines)
