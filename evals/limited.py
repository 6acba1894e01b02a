"""A task whose programs get other limits than its own."""

from dataclasses import replace
from typing import Any, cast

from evals.ablate import Changed
from evals.sandbox.outcome import Limits
from evals.tasks.base import Task


def limited(task: Task, limits: Limits | None) -> Task:
    """As it is for None.

    Raises:
        TypeError: the task has no limits.
    """
    if limits is None:
        return task
    if isinstance(task, Changed):
        return replace(task, task=limited(task.task, limits))
    return cast(Task, replace(cast(Any, task), limits=limits))
