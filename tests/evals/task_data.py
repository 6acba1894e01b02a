"""Answers and published data for the tests of tasks."""

import os
from pathlib import Path

import pytest

from evals.tasks.base import Answer


def answer(text: str, finish_reason: str = "stop") -> Answer:
    return Answer(text, finish_reason, None, None, 0.0, None)


def published(name: str) -> Path:
    """A file or folder of published benchmark data below HONE_TEST_DATA; the test is skipped where there is none."""
    folder = os.environ.get("HONE_TEST_DATA")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"set HONE_TEST_DATA to a folder that has {name}")
    return Path(folder) / name
