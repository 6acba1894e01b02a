"""The verdict of a repository's own tests on the body of a function."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evals.sandbox.outcome import ErrorClass, Limits
from evals.tasks.base import Verdict
from evals.tasks.repo_functions import Function
from evals.tasks.repo_tests import SUITE_LIMITS, Run, Workspace

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

_TRICKS = re.compile(
    r"\b(?:_getframe|f_back|get_objects|get_referrers|_exit|settrace|setprofile|_pytest|unittest)\b"
    # To call an object's own comparison is honest; to define or to set one is not.
    r"|(?<!\.)\b__eq__\b|\.__eq__\b(?!\s*\()"
)
"""What code needs to be equal to everything (`unittest.mock.ANY` is), or to reach the test that judges it. A body
that has one which the original has not is forged."""

MIN_CPU_SECONDS = 10.0


@dataclass(frozen=True)
class Covered:
    """A function and the tests that decide about it."""

    function: Function
    tests: tuple[str, ...]
    seconds: float
    """That they took."""


def verdict(covered: Covered, body: str, space: Workspace, sandbox: "Sandbox", start_seconds: float) -> Verdict:
    """Runs a function's tests with another body.

    Limits come from what the original took: four times its CPU seconds, `MIN_CPU_SECONDS` at least.
    """
    function = covered.function
    tricks = sorted({*_TRICKS.findall(body)} - {*_TRICKS.findall(function.body)})
    if tricks:
        return Verdict(0.0, "forged", f"uses {', '.join(tricks)}, which the original does not", body)
    seconds = max(MIN_CPU_SECONDS, 4 * (start_seconds + covered.seconds))
    limits = Limits(
        cpu_seconds=seconds,
        wall_seconds=3 * seconds + 10,
        memory_bytes=SUITE_LIMITS.memory_bytes,
        output_bytes=SUITE_LIMITS.output_bytes,
        processes=SUITE_LIMITS.processes,
    )
    run = space.run(sandbox, limits, replaced={function.path: function.file_with(body)}, only=covered.tests)
    error, detail = _judged(run, covered.tests)
    passed = sum(test in run.tests and run.tests[test].outcome == "passed" for test in covered.tests)
    extra = {
        "tests_passed": passed,
        "tests": len(covered.tests),
        "cpu_seconds": run.outcome.cpu_seconds,
        "wall_seconds": run.outcome.wall_seconds,
    }
    return Verdict(float(error is None), error, detail, body, extra)


def _judged(run: Run, wanted: Sequence[str]) -> tuple[ErrorClass | None, str]:
    if run.outcome.error is not None:
        return run.outcome.error, f"after {run.outcome.cpu_seconds:.1f} CPU seconds"
    if not run.ended:
        code = run.outcome.exit_code
        return ("forged" if code == 0 else "exception"), f"the process ended before its tests did, exit code {code}"
    for file, message in run.broken:
        return _class_of(message), f"{file}: {line_of(message)}"
    for name in wanted:
        test = run.tests.get(name)
        if test is None or test.outcome == "unfinished":
            return "forged", f"{name} did not come to its end"
        if test.outcome != "passed":
            return _class_of(test.message), f"{name}: {line_of(test.message) or test.outcome}"
    if not run.honest:
        return "forged", "a test that must fail did not"
    return None, ""


def _class_of(message: str) -> ErrorClass:
    kind = message.partition("\n")[0].partition(":")[0].strip()
    if kind in ("ImportError", "ModuleNotFoundError"):
        return "import"
    # `Failed` is pytest's own: an exception that was expected and did not come.
    return "wrong answer" if not message or kind.startswith(("assert ", "AssertionError", "Failed")) else "exception"


def line_of(message: str) -> str:
    """A message on one line, 300 characters at most."""
    return " ".join(message.split())[:300]
