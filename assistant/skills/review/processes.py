"""Analyzers as processes that end with the review, whatever they started."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import HoneError
from assistant.skills.review.request import CancelledError

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Ended:
    code: int
    """Negative: the signal that killed it."""
    output: bytes
    complaint: str
    """The last line of its standard error."""


def run(
    name: str,
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    seconds: float,
    cancelled: Callable[[], bool],
) -> Ended:
    """Runs a program to its end, without a shell and without input.

    Raises:
        HoneError: it cannot be started, or takes longer than `seconds`.
        CancelledError: as it says.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=complaints,
                start_new_session=True,
            )
        except OSError as error:
            raise HoneError(f"{name} cannot run: {error.strerror}") from error
        end = time.monotonic() + seconds
        try:
            while process.poll() is None:
                if cancelled():
                    raise CancelledError("the review was cancelled")
                if time.monotonic() > end:
                    raise HoneError(f"{name} took longer than {seconds:g} s")
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
        finally:
            # Also what it left running.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        complaints.seek(0)
        lines = complaints.read().decode("utf-8", "replace").strip().split("\n")
        return Ended(process.returncode, output.read(), lines[-1])
