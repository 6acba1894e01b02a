"""Every attack that a candidate could try, on every rung of this machine, as root and as an ordinary user."""

import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil
import pytest

from evals.sandbox.outcome import Limits, Program
from tests.evals.sandbox_fixtures import ROOT, Runner, runner, runs, skip_unless_here

TESTS = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3\n"
QUICK = Limits(cpu_seconds=4.0, wall_seconds=20.0, memory_bytes=512 << 20)
CPU = Limits(cpu_seconds=0.5, wall_seconds=20.0)
WALL = Limits(cpu_seconds=4.0, wall_seconds=1.0)
MARK = f"86400.{secrets.randbelow(10**9):09d}"


@dataclass(frozen=True)
class Attack:
    name: str
    candidate: str
    """Wrong in any case: whatever it returns, it is not x + 1, unless it has found out what the tests want."""
    classes: tuple[str, ...]
    limits: Limits = QUICK


ATTACKS = (
    Attack(
        "an object that is equal to everything",
        """
class E:
    def __eq__(self, other): return True
    def __bool__(self): return True
def f(x): return E()
""",
        ("wrong answer",),
    ),
    Attack(
        "a list of such objects",
        """
class E:
    def __eq__(self, other): return True
    __hash__ = object.__hash__
def f(x): return [E()]
""",
        ("wrong answer",),
    ),
    Attack(
        "a built-in type's child that is equal to everything",
        """
class I(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = int.__hash__
def f(x): return I(0)
""",
        ("wrong answer",),
    ),
    Attack(
        "a child that says it is an int of another value",
        """
class I(int):
    def __index__(self): return 2
    def __int__(self): return 2
    def __pos__(self): return 2
    def __add__(self, other): return 2
    def __repr__(self): return "2"
def f(x): return I(0)
""",
        ("wrong answer",),
    ),
    Attack(
        "the frames of the callers",
        """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for name, value in list(frame.f_locals.items()):
            if isinstance(value, list): value.append("passed")
            if isinstance(value, dict): value.update(error=None, passed=True)
        frame = frame.f_back
    return 0
""",
        ("wrong answer", "exception", "forged"),
    ),
    Attack(
        "the tests in its own memory",
        """
import gc
backwards = "(etadidnac tressa"
def f(x):
    for each in gc.get_objects():
        if isinstance(each, (dict, list, tuple)) and backwards in repr(each)[::-1]:
            return x + 1
    return 0
""",
        ("wrong answer",),
    ),
    Attack("os._exit(0)", "import os\ndef f(x): os._exit(0)", ("forged",)),
    Attack("sys.exit(0)", "import sys\ndef f(x): sys.exit(0)", ("forged",)),
    Attack("sys.exit(0) while it is loaded", "import sys\ndef f(x): return 0\nsys.exit(0)", ("forged",)),
    Attack("os._exit(3)", "import os\ndef f(x): os._exit(3)", ("exception",)),
    Attack(
        "other builtins",
        """
import builtins
for name in ("isinstance", "len", "getattr", "hasattr", "callable", "all", "any"):
    setattr(builtins, name, lambda *a, **k: True)
builtins.AssertionError = type("Never", (Exception,), {})
def f(x): return 0
""",
        ("wrong answer", "exception", "forged"),
    ),
    Attack(
        "another json",
        """
import json
json.dumps = lambda *a, **k: '{"error": null, "n": 1, "v": {"error": null}}'
def f(x): return 0
""",
        ("forged", "wrong answer"),
    ),
    Attack(
        "writing to every open file",
        """
import os
def f(x):
    for number in range(3, 64):
        for text in (b'{"error": null, "detail": "", "nonce": ""}', b"\\0\\0\\0\\x0f" + b'{"error": null}'):
            try: os.write(number, text)
            except OSError: pass
    return 0
""",
        ("forged", "output limit"),
    ),
    Attack(
        "hanging up and going on",
        "import os, time\ndef f(x):\n    os.closerange(3, 256)\n    time.sleep(600)",
        ("forged",),
    ),
    Attack(
        "killing the parent and all others",
        """
import os, signal
def f(x):
    for victim in (os.getppid(), 1, -1):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try: os.kill(victim, number)
            except OSError: pass
    return 0
""",
        ("wrong answer",),
    ),
    Attack("killing itself", "import os\ndef f(x): os.kill(os.getpid(), 9)", ("killed",)),
    Attack(
        "swallowing every signal",
        """
import signal
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
def f(x):
    while True: pass
""",
        ("timeout",),
        CPU,
    ),
    Attack(
        "swallowing every exception",
        """
def f(x):
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
        ("timeout",),
        CPU,
    ),
    Attack("sleeping", "import time\ndef f(x): time.sleep(10**6)", ("timeout",), WALL),
    Attack("stopping itself", "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGSTOP)", ("timeout",), WALL),
    Attack("a fork bomb", "import os\ndef f(x):\n    while True: os.fork()", ("exception", "killed", "memory"), CPU),
    Attack(
        "a fork bomb that swallows errors",
        """
import os
def f(x):
    while True:
        try: os.fork()
        except OSError: pass
""",
        ("timeout", "killed"),
        CPU,
    ),
    Attack(
        "processes that hand over to the next and end",
        """
import os
def f(x):
    while True:
        if os.fork(): os._exit(0)
""",
        ("forged", "timeout", "killed"),
        CPU,
    ),
    Attack("10 GB of memory", "def f(x): return len(bytearray(10 << 30))", ("memory",)),
    Attack(
        "10 GB of memory, little by little",
        "def f(x):\n    held = []\n    while True: held.append(bytearray(16 << 20))",
        ("memory",),
    ),
    Attack(
        "memory in many processes",
        """
import os, time
def f(x):
    for _ in range(8):
        if os.fork() == 0:
            held = bytearray(b"x") * (128 << 20)
            time.sleep(600)
    time.sleep(600)
""",
        ("memory",),
    ),
    Attack(
        "10 GB of output",
        "def f(x):\n    for _ in range(10 << 10): print('x' * (1 << 20))\n    return 0",
        ("output limit",),
    ),
    Attack(
        "endless output without a newline",
        "import sys\ndef f(x):\n    while True: sys.stdout.write('x' * 1000)",
        ("output limit",),
    ),
    Attack("an answer of 32 MB", "def f(x): return 'x' * (32 << 20)", ("output limit",)),
    Attack(
        "a very deep answer",
        "def f(x):\n    deep = []\n    for _ in range(10**5): deep = [deep]\n    return deep",
        ("exception", "wrong answer"),
    ),
    Attack(
        "files without end",
        """
def f(x):
    for at in range(10**6):
        with open(f"file{at}", "wb") as file: file.write(b"x" * (8 << 20))
""",
        ("exception", "output limit"),
    ),
    Attack("the environment of process 1", "def f(x): return open('/proc/1/environ', 'rb').read()", ("exception",)),
    Attack("a file of the machine", "def f(x): return open('/etc/shadow', 'rb').read()", ("exception",)),
    Attack(
        "another user namespace",
        """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def f(x): return x + 1 if libc.unshare(0x10000000) == 0 else 0
""",
        ("wrong answer",),
    ),
    Attack(
        "becoming root",
        """
import os
def f(x):
    try: os.setuid(0)
    except OSError: return 0
    return x + 1 if os.geteuid() == 0 else 0
""",
        ("wrong answer",),
    ),
    Attack(
        "a zombie left behind",
        "import os\ndef f(x):\n    if os.fork() == 0: os._exit(0)\n    return 0",
        ("wrong answer",),
    ),
    Attack(
        "threads left behind",
        """
import threading
def spin():
    while True: pass
def f(x):
    for _ in range(3): threading.Thread(target=spin).start()
    return 0
""",
        ("wrong answer",),
    ),
    Attack(
        "processes left behind",
        f"""
import subprocess
def f(x):
    for _ in range(3): subprocess.Popen(["sleep", "{MARK}"], start_new_session=True)
    return 0
""",
        ("wrong answer",),
    ),
    Attack(
        "a daemon left behind",
        f"""
import os
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 256)
            os.execvp("sleep", ["sleep", "{MARK}"])
        os._exit(0)
    return 0
""",
        ("wrong answer",),
    ),
)


class Idle:
    """A thread that wants to wake up every few milliseconds and does nothing: by how much it woke too late, the machine
    had no time for whoever was to run."""

    def __enter__(self) -> Self:
        self.lost_seconds = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            due = time.monotonic() + _PAUSE
            self._ended.wait(_PAUSE)
            self.lost_seconds += max(0.0, time.monotonic() - due)


_PAUSE = 0.005


@pytest.fixture(
    scope="module",
    params=[(rung, user) for rung in ("bubblewrap", "landlock") for user in ("own", "nobody")],
    ids="-".join,
)
def attacked(request: pytest.FixtureRequest) -> Iterator[Runner]:
    with runner(*request.param) as found:
        yield found


@pytest.fixture(scope="module")
def calm(attacked: Runner) -> float:
    """Seconds in which this machine ends one process that sleeps, at its wall limit."""
    ended = [attacked.run(Program("import time\ndef f(x): time.sleep(10**6)", "f", TESTS), WALL) for _ in range(3)]
    assert {outcome.error for outcome in ended} == {"timeout"}
    return statistics.median(outcome.late_seconds for outcome in ended)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_attack_passes_and_each_has_its_class(attacked: Runner, attack: Attack, calm: float) -> None:
    with Idle() as idle:
        outcome = attacked.run(Program(attack.candidate, "f", TESTS), attack.limits)
    assert outcome.error in attack.classes, outcome
    assert outcome.cpu_seconds <= attack.limits.cpu_seconds + 1
    # Within its limit plus one second, by the sandbox's own clock. Alone, that would blame the sandbox for a busy
    # machine: so the time comes on top that an idle thread lost meanwhile, and for a slow machine ten times what the
    # end of one process takes that does not resist. An attack that puts off its end for longer fails on any machine.
    allowed = 1 + idle.lost_seconds + 10 * calm
    assert outcome.late_seconds <= allowed, (outcome, calm)
    assert outcome.wall_seconds <= attack.limits.wall_seconds + allowed, (outcome, calm)
    assert len(outcome.output) <= attack.limits.output_bytes
    assert not runs(MARK)
    # The next program finds a clean sandbox.
    right = attacked.run(Program("import os\ndef f(x): return x + 1 + len(os.listdir())", "f", TESTS), QUICK)
    assert right.error is None, right


def test_an_end_that_comes_too_late_is_seen() -> None:
    """What the test above rests on: a sandbox that is held up beyond the limit says by how much."""
    with runner("landlock", "own") as held:
        assert held.run(Program("def f(x): return x + 1", "f", TESTS), QUICK).error is None
        (zygote,) = held.zygotes()

        def hold() -> None:
            while not psutil.Process(zygote).children():
                time.sleep(0.005)
            os.kill(zygote, signal.SIGSTOP)
            time.sleep(WALL.wall_seconds + 1.5)
            os.kill(zygote, signal.SIGCONT)

        holding = threading.Thread(target=hold)
        holding.start()
        outcome = held.run(Program("import time\ndef f(x): time.sleep(10**6)", "f", TESTS), WALL)
        holding.join()
    assert outcome.error == "timeout"
    assert outcome.late_seconds > 1
    assert outcome.wall_seconds == pytest.approx(WALL.wall_seconds + outcome.late_seconds, abs=1e-6)


def test_tcp_and_udp_reach_nobody(attacked: Runner) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        tcp.setblocking(False)
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        connect = f"socket.create_connection(('127.0.0.1', {tcp.getsockname()[1]}), 5)"
        send = f"socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {udp.getsockname()[1]}))"
        for action in (connect, send):
            outcome = attacked.run(Program(f"import socket\ndef f(x): {action}\n", "f", TESTS), QUICK)
            assert outcome.error == "exception", outcome
        with pytest.raises(BlockingIOError):
            tcp.accept()
        with pytest.raises(BlockingIOError):
            udp.recv(1)


def test_named_sockets_of_the_machine_hear_nothing(attacked: Runner) -> None:
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as named:
        Path(name).chmod(0o777)
        named.bind(f"{name}/named")
        Path(name, "named").chmod(0o666)
        named.setblocking(False)
        send = f".sendto(b'x', '{name}/named')"
        for source in (
            "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
            "socket.socketpair(type=socket.SOCK_DGRAM)[0]",
        ):
            outcome = attacked.run(Program(f"import socket\ndef f(x): {source}{send}\n", "f", TESTS), QUICK)
            assert outcome.error == "exception", outcome
        with pytest.raises(BlockingIOError):
            named.recv(1)


def test_nothing_is_read_or_written_outside(attacked: Runner) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "secret").write_text("secret", "ascii")
        (folder / "secret").chmod(0o666)
        for action in (
            f"open('{folder}/secret').read()",
            f"open('{folder}/secret', 'a').write('x')",
            f"open('{folder}/new', 'w')",
            f"os.truncate('{folder}/secret', 0)",
            f"os.unlink('{folder}/secret')",
            f"os.link('{folder}/secret', 'here')",
            f"os.rename('{folder}', '{folder}2')",
            "open('/usr/hone', 'w')",
        ):
            outcome = attacked.run(Program(f"import os\ndef f(x): {action}\n", "f", TESTS), QUICK)
            assert outcome.error == "exception", (action, outcome)
        # Landlock does not govern these; they must not happen, whatever they return.
        harmless = (
            f"import os\ndef f(x):\n    os.chmod('{folder}/secret', 0)\n    os.utime('{folder}/secret', (0, 0))\n"
        )
        attacked.run(Program(harmless, "f", TESTS), QUICK)
        assert [path.name for path in folder.iterdir()] == ["secret"]
        assert (folder / "secret").read_text("ascii") == "secret"
        assert (folder / "secret").stat().st_mode & 0o777 == 0o666
        assert (folder / "secret").stat().st_mtime > 0


def test_a_command_stays_in_its_folder(attacked: Runner) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        folder = Path(name, "work")
        folder.mkdir()
        folder.chmod(0o777)
        text = f"""
import os, socket, subprocess
try: open({name!r} + "/new", "w")  # It may be there for the command, but not on the machine.
except OSError: pass
for action in (
    lambda: open("/usr/hone", "w"),
    lambda: open("/proc/1/environ", "rb").read(),
    lambda: socket.create_connection(("192.0.2.1", 80), 3),
    lambda: os.kill({attacked.process}, 9),
):
    try: action()
    except OSError: continue
    print("possible")
open("own", "w").write("x")
subprocess.Popen(["sleep", "{MARK}"], start_new_session=True)
print(os.getcwd())
"""
        outcome = attacked.command(["python3", "-c", text], folder, QUICK)
        assert (outcome.exit_code, outcome.stdout) == (0, f"{folder}\n"), outcome
        assert not runs(MARK)
        assert [path.name for path in Path(name).iterdir()] == ["work"]
        assert (folder / "own").read_text("ascii") == "x"


def test_one_program_leaves_nothing_for_the_next(attacked: Runner) -> None:
    leave = """
import os
def f(x):
    for folder in (".", "/tmp", "/dev/shm", os.environ["HOME"]):
        try: open(os.path.join(folder, "left"), "w").write("x")
        except OSError: pass
    os.mkdir("closed", mode=0)
    return x + 1
"""
    find = """
import os
def f(x):
    found = [p for p in (".", "/tmp", "/dev/shm", os.environ["HOME"]) if os.path.exists(os.path.join(p, "left"))]
    return found or x + 1
"""
    assert attacked.run(Program(leave, "f", "assert f(1) == 2"), QUICK).error is None
    assert attacked.run(Program(find, "f", TESTS), QUICK).error is None


@pytest.mark.parametrize("rung", ["bubblewrap", "landlock"])
def test_programs_die_with_the_process_that_runs_them(rung: str, tmp_path: Path) -> None:
    skip_unless_here(rung)  # type: ignore[arg-type]
    mark = f"86400.{secrets.randbelow(10**9):09d}"
    candidate = f"import subprocess\ndef f(x): subprocess.run(['sleep', '{mark}'])"
    command = [sys.executable, str(Path(__file__).with_name("sandbox_driver.py")), rung]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["rung"] == rung
        ask = {"program": asdict(Program(candidate, "f", TESTS)), "limits": asdict(Limits(60, 600))}
        process.stdin.write(json.dumps(ask) + "\n")
        process.stdin.flush()
        while not runs(mark):
            time.sleep(0.05)
        process.kill()
    deadline = time.monotonic() + 120
    while runs(mark):
        assert time.monotonic() < deadline
        time.sleep(0.05)
