"""The outer end of a zygote: starts it, gives it jobs, ends it."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from evals.sandbox.inside.wire import Channel, Closed, ProtocolError, TooLong
from evals.sandbox.outcome import Limits
from evals.sandbox.walls import Start

_READY_SECONDS = 60.0


class Broken(Exception):
    """A worker died, hangs or could not start; its program has no verdict."""


class Worker:
    """One zygote and its job, if any. Not thread-safe."""

    def __init__(self, start: Start) -> None:
        """Raises: Broken."""
        self._control, theirs = socket.socketpair()
        self._channel = Channel(self._control, 1 << 30)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        bubblewrap = start.config["rung"] == "bubblewrap"
        facts, facts_end = os.pipe() if bubblewrap else (-1, -1)
        passed = [theirs.fileno(), *([facts_end] if bubblewrap else [])]
        argv = list(start.argv)
        if bubblewrap:
            argv[1:1] = ["--info-fd", str(facts_end)]
        try:
            self._process = subprocess.Popen(
                [*argv, json.dumps({**start.config, "control": theirs.fileno()})],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=start.environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            self._control.close()
            self._errors.close()
            raise Broken(f"the sandbox does not start: {error}") from error
        finally:
            theirs.close()
            if bubblewrap:
                os.close(facts_end)
        try:
            self._init = _init_process(facts) if bubblewrap else None
            self._await_ready()
        except BaseException:
            self.close()
            raise
        finally:
            if bubblewrap:
                os.close(facts)

    def fileno(self) -> int:
        return self._control.fileno()

    def give(self, role: str, job: dict[str, Any], limits: Limits, connection: socket.socket | None = None) -> None:
        """Starts a job. Its text goes by a file that only its own process reads.

        Raises:
            Broken: the worker is gone.
        """
        file = os.memfd_create("job")
        try:
            with os.fdopen(os.dup(file), "wb") as writer:
                writer.write(json.dumps(job).encode("ascii"))
            body = json.dumps({"role": role, "limits": asdict(limits)}).encode("ascii")
            files = [file, *([connection.fileno()] if connection else [])]
            socket.send_fds(self._control, [len(body).to_bytes(4, "big") + body], files)
        except OSError as error:
            raise Broken(f"the sandbox is gone: {error}{self._last_words()}") from error
        finally:
            os.close(file)

    def stop(self) -> None:
        """Ends the job; the reply still comes. Raises: Broken."""
        with self._translated():
            self._channel.send({"stop": True})

    def replied(self, seconds: float) -> bool:
        """Whether the reply is there, after this long at most."""
        return bool(select.select([self], [], [], max(0.0, seconds))[0])

    def reply(self, seconds: float) -> dict[str, Any]:
        """What became of the job.

        Raises:
            Broken: no reply in time, or the sandbox failed.
        """
        if not self.replied(seconds):
            raise Broken("the sandbox does not answer")
        with self._translated():
            reply = self._channel.receive()
        if "fault" in reply:
            raise Broken(f"the sandbox failed: {reply['fault']}")
        return dict(reply)

    def close(self) -> None:
        """Ends it and all that it runs."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            for process in (getattr(self, "_init", None), self._process.pid):
                if process is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
            self._process.wait()
        self._control.close()
        self._errors.close()

    def _await_ready(self) -> None:
        self.reply(_READY_SECONDS)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (Closed, ProtocolError, TooLong) as error:
            raise Broken(f"the sandbox is gone{self._last_words()}") from error

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        code = self._process.returncode
        return (f" (exit {code})" if code is not None else "") + (f": {lines[-1][:300]}" if lines else "")


def _init_process(facts: int) -> int | None:
    """The first process of bubblewrap's PID namespace as seen from here: its death is the death of all."""
    text = b""
    deadline = time.monotonic() + _READY_SECONDS
    while select.select([facts], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(facts, 4096)
        text += part
        if not part:
            break
        with contextlib.suppress(ValueError):
            return int(json.loads(text)["child-pid"])
    return None
