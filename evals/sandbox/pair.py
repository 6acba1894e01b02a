"""A candidate's worker and a judge's worker, and one program at a time between them."""

import secrets
import select
import socket
import time
from typing import Any

from evals.sandbox import verdict
from evals.sandbox.outcome import Limits, Outcome, Program
from evals.sandbox.worker import Broken, Worker

_MESSAGE_FACTOR = 16
_GRACE_SECONDS = 5.0
"""That the workers have beyond the wall limit to end a program and say so, before they count as broken."""
_END_SECONDS = 0.5
"""That a candidate which hung up has to end by itself, so that the way it ended can be told."""


class Pair:
    """Two warm workers. Not thread-safe."""

    def __init__(self, candidate: Worker, judge: Worker) -> None:
        self._candidate = candidate
        self._judge = judge

    def run(self, program: Program, limits: Limits) -> Outcome:
        """Raises:
        Broken: a worker failed; there is no verdict and the pair must be closed.
        SandboxError: the tests are broken.
        """
        nonce = secrets.token_hex(16)
        shared: dict[str, Any] = {
            "entry_point": program.entry_point,
            "setup": program.setup,
            "message_bytes": _MESSAGE_FACTOR * limits.output_bytes,
        }
        one, other = socket.socketpair()
        with one, other:
            self._judge.give("judge", {**shared, "tests": program.tests, "nonce": nonce}, limits, one)
            self._candidate.give("candidate", {**shared, "candidate": program.candidate}, limits, other)
        deadline = time.monotonic() + limits.wall_seconds + _GRACE_SECONDS
        judge, candidate = self._wait(deadline)
        return verdict.decide(judge, candidate, nonce, limits)

    def close(self) -> None:
        for worker in (self._candidate, self._judge):
            worker.close()

    def _wait(self, deadline: float) -> tuple[dict[str, Any], dict[str, Any]]:
        ready, _, _ = select.select([self._judge, self._candidate], [], [], deadline - time.monotonic())
        if not ready:
            raise Broken("the sandbox does not answer")
        if self._candidate in ready and self._judge not in ready:
            candidate = self._candidate.reply(0)
            return self._judge.reply(deadline - time.monotonic()), candidate
        judge = self._judge.reply(0)
        if verdict.hung_up(judge):
            self._candidate.replied(_END_SECONDS)
        if not self._candidate.replied(0):
            self._candidate.stop()
        return judge, self._candidate.reply(max(1.0, deadline - time.monotonic()))
