"""Limits that fit this machine, from programs that are known to be right."""

from collections.abc import Iterable
from dataclasses import replace

from evals.sandbox.outcome import Limits, Outcome

FACTOR = 4.0
"""As EvalPlus: a program may take four times what the reference solution takes."""
_GENEROUS = 20.0


def generous(limits: Limits) -> Limits:
    """Limits for the reference solutions themselves, before it is known how fast the machine is."""
    return replace(limits, cpu_seconds=_GENEROUS * limits.cpu_seconds, wall_seconds=_GENEROUS * limits.wall_seconds)


def fitting(references: Iterable[Outcome], limits: Limits) -> Limits:
    """`limits`, or as much CPU and wall time more as the slowest reference needs four times over."""
    slowest_cpu = slowest_wall = 0.0
    for outcome in references:
        slowest_cpu = max(slowest_cpu, outcome.cpu_seconds)
        slowest_wall = max(slowest_wall, outcome.wall_seconds)
    return replace(
        limits,
        cpu_seconds=max(limits.cpu_seconds, FACTOR * slowest_cpu),
        wall_seconds=max(limits.wall_seconds, FACTOR * slowest_wall),
    )
