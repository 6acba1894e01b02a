"""A repository's own tests, run in the sandbox by `repo_probe` on a fresh copy of a snapshot."""

import json
import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.errors import HoneError
from evals.sandbox.outcome import CommandOutcome, Limits
from evals.tasks import repo_probe

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

SUITE_LIMITS = Limits(
    cpu_seconds=1800.0, wall_seconds=3600.0, memory_bytes=8 << 30, output_bytes=64 << 20, processes=256
)
_REQUEST, _RESULT = ".hone-request.json", ".hone-result.json"
_MAX_RESULT_BYTES = 256 << 20


@dataclass(frozen=True)
class Test:
    outcome: str
    """passed, failed, skipped, xfail, or unfinished."""
    seconds: float
    message: str
    """Of a failure: `SomeError: what it says`."""

    __test__ = False


@dataclass(frozen=True)
class Run:
    """How one run of tests ended."""

    outcome: CommandOutcome
    ended: bool
    """The probe reported: the run was not cut short."""
    honest: bool
    """The test that must fail did."""
    tests: Mapping[str, Test]
    """By pytest's test id."""
    broken: tuple[tuple[str, str], ...]
    """(file, why) of test files that could not be read."""
    covered: Mapping[str, Mapping[int, frozenset[str]]]
    """file -> line -> ids of the tests that ran it; empty unless asked for."""
    exit_code: int | None
    """Pytest's."""


@dataclass(frozen=True)
class Workspace:
    """What a run of tests needs."""

    snapshot: Path
    python: Path
    readable: tuple[Path, ...]
    """What the interpreter imports from, and the probe."""
    probe: Path
    roots: tuple[str, ...]
    arguments: tuple[str, ...]
    """For pytest, such as the folder of the tests."""

    def run(
        self,
        sandbox: "Sandbox",
        limits: Limits,
        *,
        replaced: Mapping[str, str] | None = None,
        only: Sequence[str] | None = None,
        cover: Sequence[str] | None = None,
    ) -> Run:
        """Runs tests on a fresh copy of the snapshot.

        Args:
            replaced: path -> text of files that are other than in the snapshot.
            only: ids of the tests to run; None runs all.
            cover: files whose lines are recorded with the tests that run them.

        Raises:
            HarnessError: the sandbox fails.
        """
        with tempfile.TemporaryDirectory(prefix="hone-tests-", ignore_cleanup_errors=True) as temporary:
            folder = Path(temporary) / "repository"
            shutil.copytree(self.snapshot, folder, symlinks=True)
            for path, text in (replaced or {}).items():
                (folder / path).write_bytes(text.encode())
            nonce = secrets.token_hex(16)
            files = sorted({test.partition("::")[0] for test in only}) if only is not None else []
            request = {
                "nonce": nonce,
                "roots": list(self.roots),
                "arguments": [*self.arguments, *files] if only is None else files,
                "only": None if only is None else list(only),
                "cover": None if cover is None else list(cover),
                "result": _RESULT,
            }
            (folder / _REQUEST).write_text(json.dumps(request), "utf-8")
            outcome = sandbox.command(
                [str(self.python), str(self.probe), _REQUEST],
                folder,
                limits,
                # Hashes of strings, and so the order of sets, are the same in every run.
                {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
                self.readable,
            )
            return _read(folder / _RESULT, nonce, outcome)


@contextmanager
def workspace(
    root: Path, snapshot: Path, python: Path, roots: Sequence[str], arguments: Sequence[str] = ()
) -> Iterator[Workspace]:
    """Puts the probe, and coverage beside it, where the sandbox may read them.

    The user's tree at `root` is not shown, but for a virtual environment in it: an installed version of the packages
    would be tested instead of the copy's.

    Raises:
        HoneError: the interpreter does not run, or has no pytest.
    """
    import coverage

    with tempfile.TemporaryDirectory(prefix="hone-probe-") as temporary:
        support = Path(temporary)
        support.chmod(0o755)
        shutil.copy(repo_probe.__file__, support / "repo_probe.py")
        package = Path(coverage.__file__).parent
        shutil.copytree(package, support / "coverage", ignore=shutil.ignore_patterns("__pycache__", "htmlfiles"))
        readable = (*_import_paths(python, root), support)
        yield Workspace(snapshot, python, readable, support / "repo_probe.py", tuple(roots), tuple(arguments))


def find_python(root: Path) -> Path:
    """The interpreter of the repository's own virtual environment, else the one that runs Hone."""
    for name in (".venv", "venv"):
        for inside in ("bin/python", "Scripts/python.exe"):
            if (root / name / inside).exists():
                return root / name / inside
    return Path(sys.executable)


_ASK = (
    "import importlib.util, json, sys; print(json.dumps({'pytest': bool(importlib.util.find_spec('pytest')), "
    "'prefixes': [sys.prefix, sys.base_prefix, sys.exec_prefix], 'paths': sys.path}))"
)


def _import_paths(python: Path, root: Path) -> tuple[Path, ...]:
    """Folders that the interpreter and its packages lie in, none inside another one."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            [str(python), "-c", _ASK], capture_output=True, text=True, check=True, env=environment, timeout=60
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise HoneError(f"{python} does not run as a Python interpreter; name another with --python") from error
    if not answer["pytest"]:
        raise HoneError(f"{python} has no pytest, so the tests cannot run; name your project's own with --python")
    paths = {Path(path) for path in answer["paths"] if path and not Path(path).resolve().is_relative_to(root)}
    found = sorted(path for path in {*paths, *map(Path, answer["prefixes"])} if path.exists())
    return tuple(path for path in found if not any(other != path and path.is_relative_to(other) for other in found))


def _read(result: Path, nonce: str, outcome: CommandOutcome) -> Run:
    """A result without the nonce, or of another form, is none: whatever ran may have written it."""
    nothing = Run(outcome, False, False, {}, (), {}, None)
    try:
        loaded = json.loads(_regular(result))
        if loaded["nonce"] != nonce:
            return nothing
        tests = {
            name: Test(str(test["outcome"]), float(test["seconds"]), str(test["message"]))
            for name, test in loaded["tests"].items()
        }
        covered = {
            file: {int(line): frozenset(names) for line, names in lines.items()}
            for file, lines in (loaded["covered"] or {}).items()
        }
        broken = tuple((str(entry["file"]), str(entry["message"])) for entry in loaded["collection"])
        code = int(loaded["exit_code"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return nothing
    canary = next((name for name in tests if name.endswith(repo_probe.CANARY)), None)
    honest = canary is not None and tests[canary].outcome == "failed"
    return Run(outcome, True, honest, {name: tests[name] for name in tests if name != canary}, broken, covered, code)


def _regular(file: Path) -> bytes:
    """The content of what must be a regular file: not a link out of the folder, not a pipe that never ends."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_RESULT_BYTES:
            raise ValueError("no regular file")
        return opened.read()
