"""Reports as the Evals screen shows them: as evaluations write them, with fixed figures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from evals.gate import decide
from evals.gate_inputs import Measured, Wanted
from evals.report import json as json_report
from evals.report import runs
from evals.report.results import calibrate, task_report
from evals.report.schema import Report, TaskReport
from tests.evals.report_fixtures import ENVIRONMENT, facts, report, row

BASE, TUNED = "smollm2-135m", "shop@4f2a9c81d07e"
_BODIES = (
    "    total = 0\n    for price in prices:\n        total += price\n    return total\n",
    "    return sum(prices)  # one line is enough\n",
    '    """Adds up what is in the cart."""\n    if not prices:\n        return 0\n    return sum(prices)\n',
)
_WRONG = (
    "    total = 0\n    for price in prices:\n        total = price\n    return total\n",
    "    return len(prices)  # counts them\n",
)
_ERRORS = ("wrong answer", "timeout", "no code")


def sample(model: str, number: int, good: bool, **changes: Any) -> dict[str, Any]:
    wrong = _ERRORS[number % 7 % 3]
    body = _BODIES[number % 3] if good else _WRONG[(number + (model == TUNED)) % 2]
    prompt = (
        f'def total_{number}(prices):\n    """Adds up the prices.\n\n    >>> total_{number}([1, 2])\n    3\n    """\n'
    )
    detail = {"wrong answer": "want 3, got 2", "timeout": "no result within 3 CPU seconds", "no code": "no function"}
    return row(
        model,
        f"HumanEval/{number}",
        value=float(good),
        error=None if good else wrong,
        ask={"prompt": prompt, "stop": ["\ndef", "\nclass"], "max_tokens": 512, "temperature": 0.0, "seed": number},
        text=body,
        extracted=prompt + body,
        verdict={
            "value": float(good),
            "error": None if good else wrong,
            "detail": "" if good else detail[wrong],
            "extra": {},
        },
        seconds=0.18 + 0.011 * (number * 37 % 97) + (0.05 if model == TUNED else 0.0),
        completion_tokens=24 + number % 41,
        **changes,
    )


def humaneval(count: int = 164) -> TaskReport:
    """The tuned model answers more of the items, and spoils some."""
    right = {BASE: lambda number: number % 8 == 0, TUNED: lambda number: number % 8 in (1, 2) or number % 16 == 0}
    subjects = [
        (facts(model) | {"name": model}, [sample(model, number, good(number)) for number in range(count)])
        for model, good in right.items()
    ]
    stated = [0.05 + 0.1 * (number % 10) for number in range(200)]
    observed = [number % 10 > (number * 7) % 11 for number in range(200)]
    return task_report(
        "humaneval",
        "humaneval@1",
        {"temperature": 0.0},
        subjects,
        calibration=lambda rows: calibrate(stated, observed) if rows[0]["name"] == TUNED else None,
        notes=(f"{count} of 164 items, 1 sample each, greedy, seed 0.",),
    )


def whole(*tasks: TaskReport, day: int = 2, **changes: Any) -> Report:
    return report(*tasks, created=f"2026-01-{day:02}T03:04:05+00:00", environment=ENVIRONMENT, **changes)


def gated(measured: TaskReport, day: int = 3) -> Report:
    made = whole(measured, day=day)
    decision = decide(
        {"humaneval": Measured(made, measured, TUNED, BASE, Path("report.json"))}, [Wanted("humaneval", None, 0.02)]
    )
    return replace(made, gate=decision)


def keep(made: Report, folder: Path, *command: str) -> Path:
    """Writes it and lists it among the runs."""
    json_report.write(made, folder / "report.json")
    runs.record(made, folder, command)
    return folder
