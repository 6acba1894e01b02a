"""Sandboxes run by this user and by nobody."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evals.sandbox import machine, walls
from evals.sandbox.outcome import CommandOutcome, Limits, Outcome, Program, Rung
from evals.sandbox.sandbox import open_sandbox

ROOT = Path(__file__).parent.parent.parent
NOBODY = 65534


class Runner:
    """Runs programs on one rung, as this user or another."""

    def __init__(self, driver: subprocess.Popen[str] | None, sandbox: Any) -> None:
        self._driver = driver
        self._sandbox = sandbox
        self.process = driver.pid if driver else os.getpid()

    def run(self, program: Program, limits: Limits) -> Outcome:
        if self._driver is None:
            return self._sandbox.run(program, limits)
        return Outcome(**self._ask({"program": asdict(program), "limits": asdict(limits)}))

    def command(self, argv: list[str], folder: Path, limits: Limits) -> CommandOutcome:
        if self._driver is None:
            return self._sandbox.command(argv, folder, limits)
        return CommandOutcome(**self._ask({"argv": argv, "folder": str(folder), "limits": asdict(limits)}))

    def zygotes(self) -> list[int]:
        """The processes that candidates are forked from; only of this user's own, without namespaces."""
        return [owned.content._candidate._process.pid for owned in self._sandbox._idle]

    def _ask(self, ask: dict[str, Any]) -> dict[str, Any]:
        assert self._driver is not None
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps(ask) + "\n")
        self._driver.stdin.flush()
        return json.loads(self._driver.stdout.readline())


def skip_unless_here(rung: Rung) -> None:
    if problem := walls.check(rung):
        pytest.skip(problem)


@contextmanager
def runner(rung: Rung, user: str) -> Iterator[Runner]:
    """A runner as `own` user, or as `nobody` where the tests run as root."""
    skip_unless_here(rung)
    if user == "own":
        with open_sandbox(workers=1, rungs=(rung,)) as sandbox:
            yield Runner(None, sandbox)
        return
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    with code_for_all() as folder, driver(rung, folder, NOBODY) as process:
        yield Runner(process, None)


@contextmanager
def driver(rung: Rung, folder: Path, uid: int) -> Iterator[subprocess.Popen[str]]:
    """The driver as this user, ready."""
    with subprocess.Popen(
        [interpreter_for_all(), "-s", str(folder / "sandbox_driver.py"), rung],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        user=uid,
        group=uid,
        extra_groups=[],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"rung": rung, "uid": uid}
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def code_for_all() -> Iterator[Path]:
    """The sandbox's code where every user can read it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = (
            "assistant/__init__.py",
            "assistant/cores.py",
            "assistant/errors.py",
            "evals/__init__.py",
            "evals/errors.py",
        )
        for part in parts:
            (folder / part).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / part, folder / part)
        shutil.copytree(ROOT / "evals/sandbox", folder / "evals/sandbox", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(Path(__file__).with_name("sandbox_driver.py"), folder)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        yield folder


def interpreter_for_all() -> str:
    """A Python 3.11 or newer that nobody may start: not the one of a virtual environment below a closed home."""
    for python in (machine.interpreter(), "/usr/bin/python3", "/usr/local/bin/python3"):
        check = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(check, user=NOBODY, group=NOBODY, extra_groups=[], check=False, cwd="/").returncode == 0:
                return python
        except OSError:
            continue
    return pytest.skip(f"user nobody may start no Python 3.11 or newer ({sys.executable})")


def runs(argument: str) -> bool:
    """Whether a process of the machine has this in its command line."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and argument.encode() in (entry / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False
