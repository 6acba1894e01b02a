"""A small repository with tests of every kind, and a sandbox without walls for tests of what happens around one."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.sandbox.outcome import CommandOutcome, ErrorClass, Limits
from evals.sandbox.sandbox import Sandbox

PRICES = '''"""Prices."""

import math


def total(rows):
    """The sum of the prices."""
    found = 0
    for row in rows:
        found += row["price"]
    return found


def discount(price, share):
    """The price less its share, never below 0."""
    if share > 1:
        return 0
    return price - price * share


class Cart:
    """Rows."""

    def __init__(self):
        self.rows = []

    def add(self, name, price):
        """Adds a row and gives the cart back."""
        self.rows.append({"name": name, "price": price})

        return self


def unused(x):
    return math.sqrt(x) + 1


def note(text):
    """Nobody looks at what it gives back."""
    return text.strip()


def unsure(x):
    """Its only test is flaky."""
    return x + 2


def broken(x):
    """Its only test fails."""
    return x + 3
'''
TESTS = """import os

import pytest

from shop.prices import Cart, broken, discount, note, total, unsure


@pytest.mark.parametrize("rows, want", [([], 0), ([1, 2], 3), ([5], 5)])
def test_total(rows, want):
    assert total([{"price": row} for row in rows]) == want


class TestDiscount:
    def test_share(self):
        assert discount(10, 0.5) == 5

    def test_never_below_zero(self):
        assert discount(10, 2) == 0


def test_cart():
    assert total(Cart().add("a", 1).add("b", 2).rows) == 3


def test_note():
    note(" a ")


def test_unsure():
    assert unsure(1) == 3
    assert os.environ["RUN_NUMBER"] != "2"


def test_broken():
    assert broken(1) == 0


@pytest.mark.skip
def test_skipped():
    unused(4)


@pytest.mark.xfail(reason="known")
def test_expected_to_fail():
    assert discount(1, 1) == 7


def helper():
    return 1


def test_helper():
    assert helper() == 1
"""
FILES: dict[str, str | bytes] = {
    "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["tests"]\naddopts = "-x --strict-markers"\n',
    "src/shop/__init__.py": "",
    "src/shop/prices.py": PRICES,
    "src/shop/other.py": "def other(x):\n    return x\n",
    "tests/test_prices.py": TESTS,
    ".gitignore": "*.pyc\n_version.py\nbuild/\n",
}


_FEW_PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Half a second a run instead of several with all the plugins that the tests of Hone use."""


@dataclass
class OpenSandbox:
    """Runs commands as they are: limits of time, but no isolation. Counts its runs in the variable RUN_NUMBER."""

    rung: str = "none"
    runs: list[Path] = field(default_factory=list)
    readable: list[Sequence[Path]] = field(default_factory=list)

    def command(
        self,
        argv: Sequence[str],
        folder: Path,
        limits: Limits,
        environment: Mapping[str, str] = {},
        readable: Sequence[Path] = (),
    ) -> CommandOutcome:
        self.runs.append(folder)
        self.readable.append(readable)
        started = time.monotonic()
        seconds = int(limits.cpu_seconds)
        process = subprocess.Popen(
            ["prlimit", f"--cpu={seconds}:{seconds + 1}", *argv],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "RUN_NUMBER": str(len(self.runs)), **_FEW_PLUGINS, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        error: ErrorClass | None = None
        try:
            out, complaints = process.communicate(timeout=limits.wall_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, complaints = process.communicate()
            error = "timeout"
        if process.returncode < 0:
            error = "timeout"
        wall = time.monotonic() - started
        code = process.returncode if error is None else None
        return CommandOutcome(code, error, out, complaints, wall, wall, None)


@dataclass
class FewPlugins:
    """A real sandbox in which pytest starts quickly."""

    sandbox: Sandbox

    def command(
        self,
        argv: Sequence[str],
        folder: Path,
        limits: Limits,
        environment: Mapping[str, str] = {},
        readable: Sequence[Path] = (),
    ) -> CommandOutcome:
        return self.sandbox.command(argv, folder, limits, {**_FEW_PLUGINS, **environment}, readable)


def as_sandbox(sandbox: OpenSandbox | FewPlugins) -> Any:
    return sandbox
