"""Sample rows and reports as evaluations leave them."""

from collections.abc import Sequence
from typing import Any

from evals.report.results import Measure, calibrate, task_report
from evals.report.schema import Report, TaskReport

HOSTILE = "</script><script>window.forged = 1</script><img src=x onerror='window.forged=2'><!-- \u2028 ]]> \x00\x1b[31m"
ENVIRONMENT = {"engine": "xllamacpp 1", "threads": 2, "versions": {"python": "3.11"}, "load_average": [0.1, 0.2, 0.3]}


def row(model: str, item: str, *, value: float = 1.0, error: str | None = None, **changes: Any) -> dict[str, Any]:
    """A line of samples.jsonl; wrong ones have an error unless they are graded."""
    if error is None and value == 0:
        error = "wrong answer"
    return {
        "key": f"{model}/{item}/{changes.get('attempt', 0)}",
        "task": "humaneval@1",
        "item": item,
        "group": item,
        "attempt": 0,
        "model": f"digest-{model}",
        "name": model,
        "ask": {"prompt": f"def task_{item}():\n", "stop": ["\ndef"], "max_tokens": 64, "temperature": 0.0, "seed": 0},
        "prompt_sha256": "0" * 64,
        "text": f"    return {item!r}  # by {model}\n",
        "finish_reason": "stop",
        "extracted": f"def task_{item}():\n    return {item!r}\n",
        "verdict": {"value": value, "error": error, "detail": "want [1, 2], got [1]" if error else "", "extra": {}},
        "seconds": 0.25,
        "first_token_seconds": 0.1,
        "prompt_tokens": 10,
        "completion_tokens": 8,
    } | changes


def facts(model: str) -> dict[str, Any]:
    return {"asked": model, "name": model, "digest": f"digest-{model}"}


def task(models: dict[str, list[dict[str, Any]]], name: str = "humaneval", **options: Any) -> TaskReport:
    subjects = [(facts(model), rows) for model, rows in models.items()]
    return task_report(name, f"{name}@1", {"temperature": 0.0}, subjects, **options)


def report(*tasks: TaskReport, created: str = "2026-01-02T03:04:05+00:00", **changes: Any) -> Report:
    given: dict[str, Any] = {
        "schema_version": 2,
        "created": created,
        "hone": "0.1.0",
        "environment": ENVIRONMENT,
        "sandbox": "bubblewrap",
        "tasks": tasks,
    }
    return Report(**(given | changes))


def greedy(model: str, right: Sequence[bool], **changes: Any) -> list[dict[str, Any]]:
    """One sample an item."""
    return [row(model, f"i{number:03}", value=float(good), **changes) for number, good in enumerate(right)]


def pair(both: int, lost: int, won: int, neither: int, **options: Any) -> TaskReport:
    """Models `old` and `new` with these outcomes."""
    old = [True] * (both + lost) + [False] * (won + neither)
    new = [True] * both + [False] * lost + [True] * won + [False] * neither
    return task({"old": greedy("old", old), "new": greedy("new", new)}, **options)


def hostile_report() -> Report:
    """Two models, hostile texts wherever a model or a user writes, several attempts, and a calibration."""
    models: dict[str, list[dict[str, Any]]] = {}
    for name, wrong in (("old", 3), (f"new<{HOSTILE[:20]}", 2)):
        rows = [
            row(name, f"i{number:03}", value=float((number + attempt) % wrong > 0), attempt=attempt)
            for number in range(70)
            for attempt in range(2)
        ]
        rows[0] |= {"text": HOSTILE, "extracted": HOSTILE, "item": rows[0]["item"]}
        rows[0]["verdict"] |= {"detail": HOSTILE, "extra": {"note": HOSTILE}}
        rows[1]["verdict"] |= {"error": "timeout", "value": 0.0}
        conversation = [{"role": "user", "content": HOSTILE}]
        rows[2]["ask"] = {"messages": conversation}
        rows[8]["ask"] = {"messages": conversation, "rendered": None}
        rendered = {"prompt": f"<|user|>{HOSTILE}<|{name}|>", "verbatim": [[8, 17]]}
        rows[10]["ask"] = {"messages": conversation, "rendered": rendered}
        rows[4] |= {"seconds": None, "completion_tokens": None}
        rows[3]["text"] = "half of a pair: \ud800"
        models[name] = rows
    made = task(
        models,
        calibration=lambda rows: calibrate([0.1, 0.4, 0.9, 0.9], [False, True, True, True]),
        notes=(f"a note {HOSTILE}",),
    )
    reviewed = [
        row(
            "old",
            "pkg/a b.py@1",
            group="pkg/a b.py",
            verdict={
                "value": 1.0,
                "error": None,
                "detail": "",
                "extra": {
                    "path": "pkg/a b.py",
                    "findings": [
                        {
                            "line": 3,
                            "last": 4,
                            "bug_class": "off-by-one",
                            "reason": HOSTILE,
                            "fix": ["x = 1"],
                            "confidence": 0.5,
                        },
                        {"line": 9, "last": 9, "bug_class": "wrong-name", "reason": "no such name", "fix": []},
                    ],
                },
            },
        ),
        row(
            "old",
            "b.py@1",
            verdict={"value": 0.0, "error": "no code", "detail": "", "extra": {"path": "b.py", "findings": None}},
        ),
    ]
    hits = Measure(name="precision", parts=lambda row: (1.0, float(len(row["verdict"]["extra"]["findings"] or ()))))
    return report(made, task({"old": reviewed}, name="review", measures=[hits]))
