"""What goes into the sandbox and what comes out of it."""

from dataclasses import dataclass
from typing import Literal

from evals.errors import HarnessError

ErrorClass = Literal[
    "no code",
    "syntax",
    "missing entry point",
    "import",
    "wrong answer",
    "exception",
    "timeout",
    "memory",
    "killed",
    "output limit",
    "truncated",
    "forged",
]
"""Why a program failed. `forged`: it left without an answer and claimed success (`os._exit(0)`), or it wrote into the
channel of the answers. `killed`: by a signal, or for too many processes. The sandbox never says `truncated`."""

Rung = Literal["bubblewrap", "landlock", "none"]


class SandboxError(HarnessError):
    """There is no sandbox, or it or the trusted tests failed: no verdict on any program."""


@dataclass(frozen=True)
class Limits:
    """Of one program with all the processes that it starts.

    CPU seconds are the sum over its processes; wall seconds are the backstop for what sleeps. `memory_bytes` bounds the
    address space of each process and the resident memory of all together; `output_bytes` standard output and standard
    error together, and a sixteenth of one answer to the tests.
    """

    cpu_seconds: float = 3.0
    wall_seconds: float = 10.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 20
    processes: int = 32


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Program:
    """A candidate and the tests that decide about it.

    `tests` never enter the candidate's process. They run in another one against proxies of the candidate's functions:
    arguments and results cross as plain built-in values (None, bool, int, float, complex, str, bytes, bytearray, list,
    tuple, dict, set, frozenset, range, and these types themselves), so no `__eq__` of the candidate is ever asked.
    Changes that a call makes to its list, dict, set and bytearray arguments are brought back; functions of the tests
    can be passed as arguments; other objects of the candidate are handles that can be called, indexed and iterated but
    never compare equal to anything.

    A name that the tests use and neither they nor `setup` define is looked up in the candidate, so helpers that the
    tests rely on (`poly` of HumanEval/32) belong in `setup`: a candidate could replace its own. Code that uses the
    candidate's own names belongs in `tests`.
    """

    candidate: str
    """Untrusted Python source."""
    entry_point: str | None
    """The function under test; `check(candidate)` of the tests gets it."""
    tests: str
    """Trusted source: assert statements, or a function `check(candidate)`."""
    setup: str = ""
    """Trusted source, run before both, in each of the two processes."""


@dataclass(frozen=True)
class Outcome:
    """`error` None: every assertion held. CPU and wall seconds are those of the candidate, start included.

    `late_seconds`, by the sandbox's own clock: from when the candidate was to be gone (its wall limit, or the moment
    another limit was seen to be passed, it ended or the tests were through) until nothing that it started lived.
    """

    error: ErrorClass | None
    detail: str
    cpu_seconds: float
    wall_seconds: float
    output: str
    late_seconds: float = 0.0


@dataclass(frozen=True)
class CommandOutcome:
    """`exit_code` None: it was killed, `error` says why; `error` None with any exit code: it ended by itself.

    `peak_bytes` is the resident memory of all its processes together, sampled; of one that ended before the first
    sample, what the kernel has for its largest process.
    """

    exit_code: int | None
    error: ErrorClass | None
    stdout: str
    stderr: str
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int | None
