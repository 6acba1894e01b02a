"""From the reports of the two sides to an outcome."""

import json
import signal
from typing import Any

from evals.sandbox.inside.remote import one_line
from evals.sandbox.outcome import CommandOutcome, ErrorClass, Limits, Outcome, SandboxError


def decide(judge: dict[str, Any], candidate: dict[str, Any], nonce: str, limits: Limits) -> Outcome:
    """The outcome of a program. It passed only if the tests' process says so with the nonce, which it gives back after
    the last assertion and which the candidate's process never had.

    Raises:
        SandboxError: the tests themselves are broken.
    """
    said = _result(judge)
    if said is not None and "fault" in said:
        raise SandboxError(f"{said['fault']}; no verdict")
    error, detail = _class(said, judge, candidate, nonce, limits)
    return Outcome(error, detail, candidate["cpu"], candidate["wall"], candidate["out"], candidate["late"])


def _class(
    said: dict[str, Any] | None, judge: dict[str, Any], candidate: dict[str, Any], nonce: str, limits: Limits
) -> tuple[ErrorClass | None, str]:
    if said is not None and said["error"] is None and said.get("nonce") == nonce:
        return None, ""
    if said is not None and said["error"] not in {None, "gone"}:
        return said["error"], said["detail"]
    ended = end(candidate, limits)
    if said is not None:
        if ended is None:
            return "forged", "left with success before the tests were through"
        if candidate["reason"] == "stopped":
            return "forged", "closed the channel of the answers"
        return ended
    if ended is not None and candidate["reason"] not in {"ended", "stopped"}:
        return ended
    if judge["reason"] in {"cpu", "wall", "memory"}:
        error: ErrorClass = "memory" if judge["reason"] == "memory" else "timeout"
        return error, "the tests reached the limit on the answers"
    raise SandboxError(f"the process of the tests died ({end(judge, limits)}); no verdict")


def end(report: dict[str, Any], limits: Limits) -> tuple[ErrorClass, str] | None:
    """How a job ended by itself or at a limit; None: with success."""
    reason, code = report["reason"], report["exit"]
    limit: dict[str, tuple[ErrorClass, str]] = {
        "cpu": ("timeout", f"more than {limits.cpu_seconds:g} CPU seconds"),
        "wall": ("timeout", f"more than {limits.wall_seconds:g} seconds"),
        "memory": ("memory", f"more than {limits.memory_bytes} bytes"),
        "output": ("output limit", f"printed more than {limits.output_bytes} bytes"),
        "disk": ("output limit", "wrote too much into files"),
        "processes": ("killed", f"started more than {limits.processes} processes"),
        "stopped": ("killed", "stopped"),
    }
    if reason in limit:
        return limit[reason]
    if code is None:
        return "killed", "killed"
    if code == -signal.SIGXCPU:
        return limit["cpu"]
    if code < 0:
        return "killed", f"killed by {_signal(-code)}"
    return None if code == 0 else ("exception", f"left with exit status {code}")


def command(report: dict[str, Any], limits: Limits) -> CommandOutcome:
    """The outcome of a command."""
    ended = end(report, limits)
    by_itself = report["reason"] == "ended" and report["exit"] is not None and report["exit"] >= 0
    return CommandOutcome(
        exit_code=report["exit"] if by_itself else None,
        error=None if by_itself or ended is None else ended[0],
        stdout=report["out"],
        stderr=report["err"],
        cpu_seconds=report["cpu"],
        wall_seconds=report["wall"],
        peak_bytes=report["peak"],
    )


def _result(judge: dict[str, Any]) -> dict[str, Any] | None:
    try:
        said = json.loads(judge["result"])
    except ValueError:
        return None
    return {**said, "detail": one_line(said.get("detail", ""))}


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def hung_up(judge: dict[str, Any]) -> bool:
    """Whether the tests ended because the candidate was gone."""
    said = _result(judge)
    return said is None or said.get("error") == "gone"
