"""Attacks a rung before the first program: what must not happen is tried, and watched from outside."""

import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from evals.sandbox.outcome import Limits, Program, SandboxError

if TYPE_CHECKING:
    from evals.sandbox.sandbox import Sandbox

_LIMITS = Limits(cpu_seconds=5.0, wall_seconds=20.0)

_ATTACKS = """
import os, socket, subprocess

def attempt(action):
    try:
        action()
    except OSError:
        return "refused"
    return "done"

def read(path):
    with open(path, "rb") as file:
        file.read()

def write(path):
    with open(path, "w") as file:
        file.write("x")

def connect(port):
    with socket.create_connection(("127.0.0.1", port), 2):
        pass

def send(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", port))

def leave(seconds):
    try:
        subprocess.Popen(["sleep", seconds], start_new_session=True)
    except OSError:
        pass

def attacks(secret, target, tcp, udp, victim, seconds):
    leave(seconds)
    write(os.path.join(os.environ["HOME"], "own"))
    return {
        "reading a file of the user": attempt(lambda: read(secret)),
        "reading the environment of process 1": attempt(lambda: read("/proc/1/environ")),
        "writing outside": attempt(lambda: write(target)),
        "connecting by TCP": attempt(lambda: connect(tcp)),
        "a signal to another process": attempt(lambda: os.kill(victim, 0)),
        "sending by UDP": attempt(lambda: send(udp)),
    }
"""
_FORGERIES = {
    "a result that is equal to everything": "class E:\n    def __eq__(self, o): return True\ndef f(x): return E()",
    "an exit with success": "import os\ndef f(x): os._exit(0)",
    "a wrong answer": "def f(x): return x",
}
_TESTS = "def check(candidate):\n    assert candidate(1) == 2\n"


def run(sandbox: "Sandbox") -> None:
    """Returns if the rung holds; the rung `none` need only judge rightly.

    Raises:
        SandboxError: it does not hold; says what was possible.
    """
    _judges(sandbox)
    if sandbox.rung != "none":
        _holds(sandbox)


def _judges(sandbox: "Sandbox") -> None:
    right = sandbox.run(Program("def f(x): return x + 1", "f", _TESTS), _LIMITS)
    if right.error is not None:
        raise SandboxError(f"a right program fails in it ({right.error}: {right.detail})")
    for name, candidate in _FORGERIES.items():
        if sandbox.run(Program(candidate, "f", _TESTS), _LIMITS).error is None:
            raise SandboxError(f"{name} passes in it")


def _holds(sandbox: "Sandbox") -> None:
    folder = Path(tempfile.mkdtemp(prefix="hone-selftest-"))
    seconds = f"{86_400 + secrets.randbelow(10**6)}.{secrets.randbelow(10**9):09d}"
    try:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            tcp.listen()
            udp.bind(("127.0.0.1", 0))
            udp.setblocking(False)
            folder.chmod(0o755)
            secret = folder / "secret"
            secret.write_text("secret", "ascii")
            secret.chmod(0o644)
            open_to_all = folder / "open"
            open_to_all.mkdir()
            open_to_all.chmod(0o777)
            ports = (tcp.getsockname()[1], udp.getsockname()[1])
            arguments = (str(secret), str(open_to_all / "target"), *ports, _victim(), seconds)
            tests = f"result = attacks{arguments!r}\nassert [k for k, v in result.items() if v != 'refused'] == []\n"
            outcome = sandbox.run(Program(_ATTACKS, "attacks", tests), _LIMITS)
            if outcome.error is not None:
                raise SandboxError(f"it does not hold ({outcome.error}: {outcome.detail})")
            if _received(udp):
                raise SandboxError("sending by UDP is possible in it")
        if any(open_to_all.iterdir()):
            raise SandboxError("writing outside is possible in it")
        if _runs(seconds):
            raise SandboxError("a process that a program left behind lives on")
    finally:
        shutil.rmtree(folder)


def _victim() -> int:
    """This process; a small number could name one of the sandbox's own, so then one that no process has."""
    return process if (process := os.getpid()) > 100 else (1 << 22) - 1


def _received(udp: socket.socket) -> bool:
    try:
        return bool(udp.recv(1))
    except BlockingIOError:
        return False


def _runs(argument: str) -> bool:
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and argument.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False
