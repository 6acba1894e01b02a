"""The verdict on a program: what the sandbox saw, and whether the token limit cut the answer short."""

from typing import TYPE_CHECKING

from evals.errors import HarnessError
from evals.sandbox.outcome import ErrorClass, Limits, Program
from evals.tasks.base import Answer, Verdict
from evals.tasks.code import Extracted

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

DETAIL_CHARACTERS = 400
LIMITS = Limits()
"""Of one program, where a task says nothing else."""


def run(
    extracted: Extracted, answer: Answer, program: Program, sandbox: "Sandbox | None", limits: Limits = LIMITS
) -> Verdict:
    """Runs the program and judges it; a right one has 1, any other 0.

    A wrong program whose answer ended at the token limit, in the middle of the code, counts as truncated: its first
    error says more about the limit than about the model.

    Raises:
        HarnessError: there is no sandbox, or it fails.
    """
    if sandbox is None:
        raise HarnessError("a program can be judged in a sandbox only, and there is none; nothing was scored")
    if not extracted.code.strip():
        return Verdict(0.0, _class("no code", extracted, answer), "the answer shows no code", extracted.code)
    outcome = sandbox.run(program, limits)
    # The figures of the machine stay out of the verdict but for these, which calibrate the limits.
    extra = {"cpu_seconds": round(outcome.cpu_seconds, 3), "wall_seconds": round(outcome.wall_seconds, 3)}
    if outcome.error is None:
        return Verdict(1.0, None, "", extracted.code, extra)
    error = _class(outcome.error, extracted, answer)
    detail = outcome.detail if error == outcome.error else f"cut by the token limit ({outcome.error}: {outcome.detail})"
    return Verdict(0.0, error, one_line(detail), extracted.code, extra)


def one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= DETAIL_CHARACTERS else text[: DETAIL_CHARACTERS - 3] + "..."


def _class(error: ErrorClass, extracted: Extracted, answer: Answer) -> ErrorClass:
    cut = answer.finish_reason == "length" and not extracted.ended
    return "truncated" if cut and error != "forged" else error
