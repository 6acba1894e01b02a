"""`hone --plain` in a terminal that can do nothing but print, with the embedded model."""

import os
import pty
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.tui.test_hang_up import HONE

_SECONDS = 120


@dataclass
class Terminal:
    """The other end of the terminal that `hone --plain` leads."""

    process: int
    descriptor: int
    seen: bytes = b""

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def until(self, text: str, more: int = 0) -> None:
        """Reads until `text` came, and so many bytes behind it."""
        end = time.monotonic() + _SECONDS
        while text.encode() not in self.seen or len(self.seen.partition(text.encode())[2]) < more:
            assert time.monotonic() < end, self.seen[-2000:]
            self.read()

    def read(self) -> bool:
        try:
            data = os.read(self.descriptor, 65_536)
        except OSError:
            data = b""
        self.seen += data
        return bool(data)

    def exit_code(self) -> int:
        while self.read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def start(home: Path, folder: Path, *arguments: str) -> Terminal:
    process, descriptor = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execve(HONE, [str(HONE), "--plain", *arguments], {**os.environ, "HONE_HOME": str(home), "TERM": "dumb"})
    return Terminal(process, descriptor)


@pytest.mark.model
def test_ask_stop_leave_come_back_and_hang_up(session_home: Path, tmp_path: Path):
    question = "Describe the history of programming languages at length."
    first = start(session_home, tmp_path)
    first.until("answers here")
    first.until("> ")
    first.type(f"{question}\n")
    first.until(question, more=60)
    first.type("\x03")
    first.until("stopped; what came is kept")
    first.type("/context\n")
    first.until("left for the answer")
    first.type("\x04")
    assert first.exit_code() == 0
    assert b"\x1b" not in first.seen, "nothing but text"
    session = first.seen.rsplit(b"--session ", 1)[1].split()[0].decode()

    again = start(session_home, tmp_path, "--session", session)
    again.until(f"> {question}")
    again.until("stopped; what came is kept")
    again.until("answers here")
    children = psutil.Process(again.process).children(recursive=True)
    assert children
    os.close(again.descriptor)
    os.waitpid(again.process, 0)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    assert b"Traceback" not in again.seen
