"""Answers and published data for the tests of tasks."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evals.sandbox.sandbox import Sandbox
from evals.tasks.base import Answer, Item, Task


def answer(text: str, finish_reason: str = "stop") -> Answer:
    return Answer(text, finish_reason, None, None, 0.0, None)


def misjudged(task: Task, known: Iterable[tuple[Item, str, bool]], sandbox: Sandbox) -> list[tuple[str, bool, str]]:
    """Known answers that were judged otherwise: the item, whether it had to pass, and what was said. Judged several at
    a time, as a run does."""

    def look(each: tuple[Item, str, bool]) -> tuple[str, bool, str] | None:
        item, text, passes = each
        verdict = task.judge(item, answer(text), sandbox)
        return None if (verdict.value == 1.0) == passes else (item.id, passes, f"{verdict.error}: {verdict.detail}")

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return [found for found in threads.map(look, known) if found]


def published(name: str) -> Path:
    """A file or folder of published benchmark data below HONE_TEST_DATA; the test is skipped where there is none."""
    folder = os.environ.get("HONE_TEST_DATA")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"set HONE_TEST_DATA to a folder that has {name}")
    return Path(folder) / name
