"""The sandbox: opened once, it runs programs and commands on the best rung of the ladder that this machine has.

bubblewrap (namespaces, seccomp, limits), else Landlock with seccomp and limits, else none unless the user insists. Each
rung is tested against real attacks before it counts.
"""

import itertools
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from assistant import cores
from evals.sandbox import selftest, verdict, walls
from evals.sandbox.inside import scratch
from evals.sandbox.outcome import DEFAULT_LIMITS, CommandOutcome, Limits, Outcome, Program, Rung, SandboxError
from evals.sandbox.pair import Pair
from evals.sandbox.worker import Broken, Worker

_Content = TypeVar("_Content", Pair, Worker)

_GRACE_SECONDS = 10.0
_ATTEMPTS = 2


class Sandbox:
    """Runs untrusted code. Thread-safe; as many programs at a time as `workers`."""

    def __init__(self, rung: Rung, workers: int, landlock_abi: int | None = None) -> None:
        """Starts nothing yet; `open_sandbox` also tests the rung."""
        self.rung: Rung = rung
        self.workers = workers
        self._abi = landlock_abi
        self._slots = threading.Semaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[_Owned[Pair]] = []
        self._index = itertools.count()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the idle workers; those at work end with their program."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for pair in idle:
            pair.close()

    def run(self, program: Program, limits: Limits = DEFAULT_LIMITS) -> Outcome:
        """The verdict on a program.

        Raises:
            SandboxError: the sandbox failed twice, or the tests are broken.
        """
        if not program.candidate.strip():
            return Outcome("no code", "there is no code", 0.0, 0.0, "")
        with self._slots:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return self._run(program, limits, fresh=attempt > 1)
                except Broken as error:
                    if attempt == _ATTEMPTS:
                        raise SandboxError(f"{error}; no verdict") from error
        raise AssertionError("unreachable")

    def command(
        self,
        argv: Sequence[str],
        folder: Path,
        limits: Limits,
        environment: Mapping[str, str] = {},
        readable: Sequence[Path] = (),
    ) -> CommandOutcome:
        """Runs a command, such as a repository's tests, with `folder` as its working directory.

        Args:
            folder: a copy that the caller made and the command may change. Run by root its files get another owner.
            environment: beside a small fixed one.
            readable: trees that it may read beside the system's and the interpreter's, such as a virtual environment.

        Raises:
            SandboxError: the sandbox failed, or there is no such command.
        """
        folder = folder.resolve(strict=True)
        place = walls.Place(str(folder), walls.resolved(readable))
        try:
            owned = self._start(place)
        except Broken as error:
            raise SandboxError(f"{error}; {argv[0]} did not run") from error
        try:
            if owned.uid is not None:
                walls.give(str(folder), owned.uid)
            job = {"argv": list(argv), "folder": str(folder), "environment": {**owned.environment, **environment}}
            owned.content.give("command", job, limits)
            return verdict.command(owned.content.reply(limits.wall_seconds + _GRACE_SECONDS), limits)
        except Broken as error:
            raise SandboxError(f"{error}; {argv[0]} has no result") from error
        finally:
            owned.close()

    def _run(self, program: Program, limits: Limits, fresh: bool) -> Outcome:
        with self._lock:  # What broke one idle pair may have broken all.
            pair = self._idle.pop() if self._idle and not fresh else None
        pair = pair or self._new_pair()
        try:
            outcome = pair.content.run(program, limits)
        except SandboxError:
            self._give_back(pair)
            raise
        except BaseException:
            pair.close()
            raise
        self._give_back(pair)
        return outcome

    def _give_back(self, pair: "_Owned[Pair]") -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(pair)
                return
        pair.close()

    def _new_pair(self) -> "_Owned[Pair]":
        candidate = self._start(None)
        try:
            judge = self._start(None)
        except BaseException:
            candidate.close()
            raise
        return _Owned(Pair(candidate.content, judge.content), [*candidate.folders, *judge.folders], None, {})

    def _start(self, place: walls.Place | None) -> "_Owned[Worker]":
        index = next(self._index)
        uid = walls.owner(self.rung, index)
        folders = [] if self.rung == "bubblewrap" else [walls.temporary(None, uid)]
        try:
            start = walls.plan(self.rung, index, folders[0] if folders else None, place, self._abi)
            return _Owned(Worker(start), folders, uid, start.environment)
        except BaseException:
            _remove(folders)
            raise


@dataclass(frozen=True)
class _Owned(Generic[_Content]):
    """What runs, the folders to remove after it, and as whom."""

    content: _Content
    folders: list[str]
    uid: int | None
    environment: Mapping[str, str]

    def close(self) -> None:
        self.content.close()
        _remove(self.folders)


def _remove(folders: Sequence[str]) -> None:
    for folder in folders:
        with suppress(OSError):
            scratch.clear(folder)
            os.rmdir(folder)


def open_sandbox(
    unsafe: bool = False, workers: int | None = None, rungs: Sequence[Rung] = ("bubblewrap", "landlock")
) -> Sandbox:
    """The sandbox on the first rung that holds here.

    Args:
        unsafe: where none holds, run programs with the user's own rights, within limits only.
        workers: programs at a time; None: one for each core.
        rungs: to try, best first.

    Raises:
        SandboxError: none holds; says why for each.
    """
    if sys.platform != "linux":
        raise SandboxError("generated code runs on Linux only: no sandbox for this system; nothing was run")
    workers = workers or cores.usable()
    problems = []
    for rung in (*rungs, *(("none",) if unsafe else ())):
        try:
            sandbox = Sandbox(rung, workers)
            try:
                selftest.run(sandbox)
            except BaseException:
                sandbox.close()
                raise
            return sandbox
        except SandboxError as error:
            problems.append(f"{rung}: {error}")
    raise SandboxError(
        f"no sandbox holds here ({'; '.join(problems)}); install bubblewrap, or run generated code with your own "
        "rights by --unsafe-no-sandbox"
    )
