"""A terminal that goes away takes the app with it, and the app its gateway."""

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.model
HONE = Path(sys.executable).with_name("hone")
_SECONDS = 120


def start(home: Path) -> tuple[int, int]:
    """`hone` as the leader of a new terminal; its process and the other end."""
    process, terminal = pty.fork()
    if process == 0:
        environment = {**os.environ, "HONE_HOME": str(home), "TERM": "xterm-256color"}
        os.execve(HONE, [str(HONE)], environment)
    resize(terminal, 24)
    return process, terminal


def resize(terminal: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))


def read_until(terminal: int, text: bytes) -> None:
    read, end = b"", time.monotonic() + _SECONDS
    while text not in read:
        assert time.monotonic() < end, read[-2000:]
        read += os.read(terminal, 65536)


def ended(process: int) -> bool:
    return os.waitpid(process, os.WNOHANG)[0] == process


@pytest.mark.parametrize("stuck", [False, True])
def test_a_closed_terminal_ends_the_app_and_its_gateway(session_home: Path, stuck: bool) -> None:
    process, terminal = start(session_home)
    try:
        read_until(terminal, b"ready")
        children = psutil.Process(process).children(recursive=True)
        assert children
        if stuck:
            # Nobody reads any more: the app draws until nothing more can be written, and waits.
            for rows in range(60):
                resize(terminal, 20 + rows % 20)
                os.kill(process, signal.SIGWINCH)
                time.sleep(0.05)
        os.close(terminal)
        end = time.monotonic() + _SECONDS
        while not ended(process):
            assert time.monotonic() < end, "the app outlives its terminal"
            time.sleep(0.2)
    except BaseException:
        os.kill(process, signal.SIGKILL)
        raise
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
