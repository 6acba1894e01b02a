"""Command lines of Hone as processes of their own."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tuning.jobs.command import HONE


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """Its last word on why it failed."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        ours = [line.removeprefix("hone: ") for line in lines if line.startswith("hone: ")]
        return (ours or lines or [f"it ended with exit code {self.code}"])[-1]

    @property
    def job(self) -> str:
        """The id of the job that was started; empty when there is none in what it printed."""
        try:
            told = json.loads(self.out)
        except ValueError:
            return ""
        return str(told.get("job") or "") if isinstance(told, dict) else ""


def run(words: Sequence[str]) -> Done:
    """Runs `hone WORDS` in this folder to its end. A signal for the terminal does not reach it."""
    done = subprocess.run(
        [*HONE, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        start_new_session=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
