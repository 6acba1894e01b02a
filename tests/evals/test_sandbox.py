"""The sandbox as its callers see it: verdicts with their classes, commands, faults, the ladder."""

import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from evals.sandbox import calibrate, walls
from evals.sandbox.outcome import Limits, Outcome, Program, Rung, SandboxError
from evals.sandbox.sandbox import Sandbox, open_sandbox
from tests.evals.sandbox_fixtures import runs, skip_unless_here

QUICK = Limits(cpu_seconds=5.0, wall_seconds=20.0)


DEEPER = "y = f(1)\nfor _ in range(20): y = [y]\nf(y)"


@pytest.fixture(scope="module", params=["bubblewrap", "landlock", "none"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    rung: Rung = request.param
    skip_unless_here(rung)
    unsafe = rung == "none"
    with open_sandbox(unsafe=unsafe, workers=2, rungs=() if unsafe else (rung,)) as found:
        assert found.rung == rung
        yield found


@pytest.fixture(scope="module")
def best() -> Iterator[Sandbox]:
    with open_sandbox(workers=1) as found:
        yield found


def judge(sandbox: Sandbox, candidate: str, tests: str, entry_point: str | None = "f", setup: str = "") -> Outcome:
    return sandbox.run(Program(candidate, entry_point, tests, setup), QUICK)


def test_a_right_program_passes_and_says_what_it_took(sandbox: Sandbox) -> None:
    outcome = judge(sandbox, "print('loading')\ndef f(x):\n    print('called')\n    return x * 2", "assert f(2) == 4")
    assert (outcome.error, outcome.detail, outcome.output) == (None, "", "loading\ncalled\n")
    assert 0 < outcome.cpu_seconds < 5
    assert 0 < outcome.wall_seconds < 20


@pytest.mark.parametrize(
    ("candidate", "tests", "error", "detail"),
    [
        ("def f(x): return [x]", "assert f(1) == [1, 2]", "wrong answer", "want [1, 2], got [1]"),
        ("def f(x): return x", "assert [2] == f(1)", "wrong answer", "want [2], got 1"),
        ("def f(x): return x", "def check(c):\n  y = c(1)\n  assert 2 == y", "wrong answer", "want 2, got 1"),
        (
            "def f(x): return x",
            "assert f(1) > 1, 'more'",
            "wrong answer",
            "assertion failed (line 1 of the tests): more",
        ),
        ("def f(x): pass", "assert len(f(1)) == 1", "wrong answer", "TypeError"),
        ("def f(x): return object()", "assert f(1)", "wrong answer", "no plain value"),
        ("def f(x): return object()", "assert f(1) != 3", "wrong answer", "no plain value"),
        ("", "assert f(1)", "no code", "no code"),
        (" \n\n", "assert f(1)", "no code", "no code"),
        ("def f(x: return 1", "assert f(1)", "syntax", "SyntaxError"),
        ("def f(x): return '\0'", "assert f(1)", "syntax", ""),
        ("def g(x): return 1", "assert f(1)", "missing entry point", "there is no function f"),
        ("f = 3", "assert f(1)", "missing entry point", "there is no function f"),
        (
            "class C(int):\n  def __call__(self, x): return x\nf = C()",
            "assert f(1)",
            "missing entry point",
            "no function",
        ),
        ("helper = 3\ndef f(x): return 1", "assert helper(f(1)) == 1", "wrong answer", "not callable"),
        ("def f(x):\n  y = []\n  for _ in range(190): y = [y]\n  return y", DEEPER, "wrong answer", "nested deeper"),
        ("import no_such_package\ndef f(x): return 1", "assert f(1)", "import", "no_such_package"),
        ("def f(x):\n    import no_such_package", "assert f(1)", "import", "ModuleNotFoundError"),
        ("def f(x): return 1 / 0", "assert f(1) == 1", "exception", "ZeroDivisionError: division by zero"),
        ("1 / 0\ndef f(x): return 1", "assert f(1) == 1", "exception", "ZeroDivisionError"),
        ("class Odd(KeyError): pass\ndef f(x): raise Odd('k')", "assert f(1) == 1", "exception", "Odd: 'k'"),
        ("def f(x): raise KeyboardInterrupt", "assert f(1) == 1", "exception", "KeyboardInterrupt"),
        ("def f(x): return f(x)", "assert f(1) == 1", "exception", "RecursionError"),
        ("def f(x): raise AssertionError('own')", "assert f(1) == 1", "exception", "AssertionError: own"),
        ("import sys\ndef f(x): sys.exit(2)", "assert f(1) == 1", "exception", "SystemExit: 2"),
        ("def f(x): return input()", "assert f(1) == 1", "exception", "EOFError"),
        ("def f(x): raise ValueError('\\x1b[31m\\n' * 900)", "assert f(1) == 1", "exception", "?[31m ?[31m"),
        ("def f(x): return 1", "assert helper(f(1)) == 1", "missing entry point", "helper"),
    ],
)
def test_each_failure_has_its_class(best: Sandbox, candidate: str, tests: str, error: str, detail: str) -> None:
    outcome = judge(best, candidate, tests)
    assert outcome.error == error, outcome
    assert detail in outcome.detail
    assert "\n" not in outcome.detail
    assert len(outcome.detail) <= 600


@pytest.mark.parametrize(
    ("candidate", "tests"),
    [
        ("def f(x): x.sort()", "values = [3, 1]\nassert f(values) is None\nassert values == [1, 3]"),
        ("def f(d): d['b'] = {1}", "d = {'a': 1}\nf(d=d)\nassert d == {'a': 1, 'b': {1}}"),
        (
            "def f(g): return g(1) + g(2)",
            "seen = []\nassert f(lambda x: (seen.append(x), x * 10)[1]) == 30\nassert seen == [1, 2]",
        ),
        (
            "def f(g):\n  try: g()\n  except KeyError as e: return str(e)",
            "def g(): raise KeyError('k')\nassert f(g) == \"'k'\"",
        ),
        ("def f(n):\n  for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2]"),
        ("def f(n): return lambda x: x + n", "assert f(3)(4) == 7"),
        (
            "class P:\n  def __init__(self, x): self.x = x\ndef f(ps): return sum(p.x for p in ps)",
            "assert f([P(1), P(2)]) == 3",
        ),
        (
            "class S:\n  n = 0\n  def push(self, x): self.n += x\n"
            "  def __len__(self): return self.n\n  def __getitem__(self, k): return k",
            "s = S()\ns.push(3)\nassert len(s) == 3\nassert s[4] == 4\nassert s.n == 3\nassert str(s)",
        ),
        (
            "def f(x): raise ValueError('no')",
            "try:\n  f(1)\n  raise SystemError\nexcept ValueError as e:\n  assert str(e) == 'no'",
        ),
        (
            "def f(x): return {1: (1.5, None, True, b'b', 2j, frozenset({1}), 10**40, {2})}",
            "assert f(1) == {1: (1.5, None, True, b'b', 2j, frozenset({1}), 10**40, {2})}\n"
            "assert type(f(1)[1][2]) is bool",
        ),
        ("from collections import Counter\ndef f(s): return Counter(s)", "assert f('aab') == {'a': 2, 'b': 1}"),
        (
            "import math, typing\ndef f(x: typing.List[int]) -> float: return math.sqrt(sum(x))",
            "assert abs(f([4, 5]) - 3) < 1e-9",
        ),
        ("def f(x): return helper(x)", "assert f(2) == helper(2) == 3"),
        ("def f(v, t): return [x for x in v if type(x) is t]", "assert f([1, 'a', 2.5], str) == ['a']"),
        ("def f(x): return [type(x), ValueError]", "assert f({}) == [dict, ValueError]"),
    ],
)
def test_tests_can_do_all_that_they_do_in_one_process(best: Sandbox, candidate: str, tests: str) -> None:
    entry = "f" if "def f" in candidate else None
    outcome = judge(best, candidate, tests, entry, "def helper(x): return x + 1")
    assert outcome.error is None, outcome


def test_a_helper_of_the_setup_cannot_be_replaced_for_the_tests(best: Sandbox) -> None:
    outcome = judge(
        best, "def helper(x): return 0\ndef f(x): return x", "assert helper(f(5)) == 0", setup="def helper(x): return x"
    )
    assert (outcome.error, outcome.detail) == ("wrong answer", "want 0, got 5")


@pytest.mark.parametrize(
    ("tests", "setup"),
    [
        ("assert f(1) ==", ""),
        ("import no_such_package\nassert f(1) == 1", ""),
        ("assert f(1) == 1", "import no_such_package"),
        ("class C: pass\nassert f(C()) == 1", ""),
    ],
)
def test_broken_tests_are_a_fault_and_no_verdict(best: Sandbox, tests: str, setup: str) -> None:
    with pytest.raises(SandboxError) as raised:
        judge(best, "def f(x): return 1", tests, setup=setup)
    assert raised.value.exit_code == 3
    assert judge(best, "def f(x): return 1", "assert f(1) == 1").error is None


def test_verdicts_do_not_depend_on_the_order_of_sets_or_on_chance(best: Sandbox) -> None:
    candidate = "import random\ndef f(x): return [random.random(), ''.join(set('abcdefgh'))]"
    outcomes = {judge(best, candidate, "assert f(1) == 0").detail for _ in range(3)}
    with open_sandbox(workers=1) as another:
        outcomes.add(judge(another, candidate, "assert f(1) == 0").detail)
    assert len(outcomes) == 1


def test_many_threads_share_a_few_workers(sandbox: Sandbox) -> None:
    def one(number: int) -> bool:
        outcome = judge(sandbox, f"def f(x): return x + {number}", "assert f(1) % 2 == 0")
        return (outcome.error is None) == (number % 2 == 1)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(24)))


def test_a_worker_that_is_killed_is_replaced(sandbox: Sandbox) -> None:
    assert judge(sandbox, "def f(x): return 1", "assert f(1) == 1").error is None
    zygotes = [child for child in psutil.Process().children(recursive=True) if "inside" in " ".join(child.cmdline())]
    assert zygotes
    for zygote in zygotes:
        # The walls around one of them end with it.
        with suppress(psutil.NoSuchProcess):
            zygote.kill()
    for _ in range(4):
        assert judge(sandbox, "def f(x): return 1", "assert f(1) == 1").error is None


def test_an_old_landlock_keeps_the_walls_by_refusing_more() -> None:
    skip_unless_here("landlock")
    candidate = """
import os, subprocess
def refused(action):
    try: action()
    except OSError: return True
def f(path):
    actions = [os.fork, lambda: os.kill(os.getppid(), 0), lambda: subprocess.run(["true"])]
    actions.append(lambda: os.truncate(path, 0))
    return [refused(action) for action in actions]
"""
    with Sandbox("landlock", 1, landlock_abi=1) as old:
        outcome = judge(old, candidate, f"assert f({str(Path(__file__))!r}) == [True] * 4")
        assert outcome.error is None, outcome
        threads = (
            "import threading\ndef f(x):\n  t = threading.Thread(target=lambda: None); t.start(); t.join(); return 1"
        )
        assert judge(old, threads, "assert f(1) == 1").error is None


def test_where_no_rung_holds_nothing_runs() -> None:
    with pytest.raises(SandboxError, match="--unsafe-no-sandbox") as raised:
        open_sandbox(rungs=())
    assert raised.value.exit_code == 3


def test_a_rung_that_lacks_its_program_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert walls.check("bubblewrap") is not None
    with pytest.raises(SandboxError, match="bwrap is not installed"):
        open_sandbox(rungs=("bubblewrap",))
    with open_sandbox(unsafe=True, rungs=("bubblewrap",)) as sandbox:
        assert sandbox.rung == "none"


def test_limits_follow_the_slowest_reference() -> None:
    def took(cpu: float, wall: float) -> Outcome:
        return Outcome(None, "", cpu, wall, "")

    limits = Limits(cpu_seconds=3, wall_seconds=10)
    assert calibrate.fitting([took(0.1, 0.1), took(0.2, 2.0)], limits) == limits
    slow = calibrate.fitting([took(1.5, 3.0), took(0.2, 0.1)], limits)
    assert (slow.cpu_seconds, slow.wall_seconds) == (6.0, 12.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "given").write_text("given", "ascii")
    (tmp_path / "secret").write_text("secret", "ascii")
    return tmp_path / "work"


def python(text: str) -> list[str]:
    return ["python3", "-c", text]


def test_a_command_works_in_its_folder_and_nowhere_else(sandbox: Sandbox, folder: Path) -> None:
    text = """
import os, sys
print(open("given").read(), os.environ["X"])
open("new", "w").write("n")
sys.stderr.write("e")
"""
    outcome = sandbox.command(python(text), folder, QUICK, {"X": "y"})
    assert (outcome.exit_code, outcome.error, outcome.stdout, outcome.stderr) == (0, None, "given y\n", "e")
    assert (folder / "new").read_text("ascii") == "n"
    assert outcome.cpu_seconds > 0
    assert outcome.peak_bytes is not None
    if sandbox.rung == "none":
        return
    for action in ("open('../secret')", "open('../new', 'w')", "open('/etc/hone', 'w')"):
        outcome = sandbox.command(python(action), folder, QUICK)
        assert outcome.exit_code == 1, outcome
        assert "Error" in outcome.stderr
    network = "import socket; socket.create_connection(('192.0.2.1', 80), 3)"
    assert sandbox.command(python(network), folder, QUICK).exit_code == 1


def test_a_command_reads_the_trees_it_is_given(sandbox: Sandbox, folder: Path) -> None:
    text = f"print(open({str(folder.parent / 'secret')!r}).read())"
    assert sandbox.command(python(text), folder, QUICK, readable=[folder.parent]).stdout == "secret\n"
    if sandbox.rung != "none":
        write = f"open({str(folder.parent / 'secret')!r}, 'w')"
        assert sandbox.command(python(write), folder, QUICK, readable=[folder.parent]).exit_code == 1
        assert sandbox.command(python("open('new', 'w')"), folder, QUICK, readable=[folder.parent]).exit_code == 0


@pytest.mark.parametrize(
    ("text", "error", "limits"),
    [
        ("while True: pass", "timeout", Limits(cpu_seconds=0.5, wall_seconds=20)),
        ("import time; time.sleep(600)", "timeout", Limits(cpu_seconds=5, wall_seconds=1)),
        ("while True: print('x' * 1000)", "output limit", QUICK),
        ("import os; os.kill(os.getpid(), 9)", "killed", QUICK),
        ("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", "timeout", Limits(0.5, processes=8)),
    ],
)
def test_a_command_ends_at_its_limits(best: Sandbox, folder: Path, text: str, error: str, limits: Limits) -> None:
    outcome = best.command(python(text), folder, limits)
    assert outcome.error in {error, "killed"} if "fork" in text else outcome.error == error, outcome
    assert outcome.exit_code is None
    assert outcome.cpu_seconds <= limits.cpu_seconds + 1
    assert len(outcome.stdout) <= limits.output_bytes


def test_what_a_command_leaves_behind_dies(sandbox: Sandbox, folder: Path) -> None:
    mark = f"86400.{secrets.randbelow(10**9):09d}"
    text = f"import subprocess; subprocess.Popen(['sleep', '{mark}'], start_new_session=True); print('done')"
    assert sandbox.command(python(text), folder, QUICK).stdout == "done\n"
    assert not runs(mark)


def test_a_command_that_does_not_exist_is_a_fault(best: Sandbox, folder: Path) -> None:
    with pytest.raises(SandboxError, match="no-such-command"):
        best.command(["no-such-command"], folder, QUICK)


def test_a_virtual_environment_runs_its_own_python(best: Sandbox, folder: Path) -> None:
    outcome = best.command(
        [sys.executable, "-c", "import sys; print(sys.prefix)"], folder, QUICK, readable=[Path(sys.prefix)]
    )
    assert outcome.stdout.strip() == sys.prefix, outcome
