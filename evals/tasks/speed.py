"""How fast a model answers: time to first token, tokens per second for prompt and answer, at several requests at a
time, the engine's peak memory, and energy where the machine counts it.

Every request has a prompt that begins with another line, so that no prompt cache answers for it; in a chat, what the
template itself writes before is common to all. Nothing of it is kept between runs: another run is another measurement.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.engines.remote import is_local
from evals import statistics
from evals.errors import HarnessError
from evals.progress import Progress
from evals.report.schema import Better, Figure, ModelResult, TaskReport
from evals.subjects import Connect, Connected, Subject, by_the_server, respond
from evals.tasks import energy
from evals.tasks.base import Answer, Ask

if TYPE_CHECKING:
    import psutil

NAME = "speed"
VERSION = "speed@1"
LINES = 24
"""Of the prompt; about 11 tokens each."""
_ENGINES = ("assistant.engines.llamacpp_child", "assistant.gateway")


@dataclass(frozen=True)
class Plan:
    levels: tuple[int, ...] = (1, 2, 4)
    """Requests at a time."""
    requests: int = 8
    """Of each level at least; as many for each of its workers."""
    max_tokens: int = 64
    seed: int = 0
    chat: bool = False
    """Ask by chat: the server has nothing else."""
    read_energy: energy.Read = energy.read


@dataclass(frozen=True)
class Level:
    """What was measured with so many requests at a time."""

    together: int
    answers: tuple[Answer, ...]
    seconds: float
    """From the first request to the last answer."""
    joules: float | None
    counted: str
    """What the joules are of; empty where nothing was counted."""


def measure(subjects: Sequence[Subject], connect: Connect, plan: Plan = Plan(), show: bool = False) -> TaskReport:
    """
    Args:
        show: progress on standard error.

    Raises:
        HarnessError: a server counts no tokens, or an answer is too short to be timed.
        HoneError: a model cannot be had, or a request failed: one that was sent again would spoil the figures.
    """
    models, requests, notes = [], list[dict[str, Any]](), list[str]()
    for subject in subjects:
        with connect(subject) as opened:
            # No request may come beside those that are timed.
            connected = replace(opened, render=by_the_server)
            # Another machine's counters are not here.
            local = subject.endpoint is None or is_local(subject.endpoint.url)
            seen = plan if local else replace(plan, read_energy=lambda: energy.Reading({}, {}))
            progress = (
                Progress(f"{NAME}, {subject.name}", plan.requests * sum(plan.levels), "requests") if show else None
            )
            levels = [_level(connected, together, seen, progress) for together in plan.levels]
            if progress:
                progress.finish()
            memory = None if subject.endpoint else peak_memory()
            shared = memory is not None and not _own_engines()
        figures = _figures(levels, plan.seed)
        if memory is not None:
            figures["peak memory"] = Figure(
                float(memory), None, None, 1, "bytes", "lower", "VmHWM of gateway and engine"
            )
            if shared:
                notes.append(
                    f"{subject.name} answered from its running gateway: so many requests at a time as that one takes, "
                    "and its peak memory since it was started."
                )
        else:
            notes.append(f"The memory of {subject.name}'s engine cannot be seen from here.")
        if not local:
            notes.append(f"The energy that {subject.name}'s machine uses cannot be seen from here.")
        elif any(level.joules is None for level in levels):
            notes.append(f"This machine counts no energy that may be read here; none is given for {subject.name}.")
        # Waiting times of different loads are no one distribution.
        calmest = min(levels, key=lambda level: level.together)
        latencies = tuple(answer.seconds for answer in calmest.answers)
        models.append(ModelResult(subject.facts, figures, {}, None, latencies))
        requests += [_request(subject, level, answer) for level in levels for answer in level.answers]
    notes.append(f"Latencies are those of {_of_the_calmest(plan)}.")
    settings = {
        "requests_at_a_time": list(plan.levels),
        "requests": plan.requests,
        "max_tokens": plan.max_tokens,
        "prompt_lines": LINES,
        "temperature": 0.0,
        "style": "chat" if plan.chat else "completion",
        "seed": plan.seed,
    }
    return TaskReport(NAME, VERSION, settings, tuple(models), (), tuple(notes), (), {"requests": requests})


def _of_the_calmest(plan: Plan) -> str:
    least = min(plan.levels)
    return "requests that came alone" if least == 1 else f"requests that came {least} at a time"


def prompt(salt: str, together: int, number: int) -> str:
    """Python source; the first line of each differs from all others'."""
    name = hashlib.sha256(f"{salt}:{together}:{number}".encode()).hexdigest()[:8]
    lines = [f"    total_{line} = measure(values[{line}], scale_{name})" for line in range(LINES)]
    return "\n".join([f"def summary_{name}(values, scale_{name}):", *lines, ""])


def peak_memory() -> int | None:
    """Bytes that the gateway and its engine had in memory at most, together; None where the system does not say."""
    import psutil

    from assistant.gateway.process import find_running

    engines = _own_engines()
    running = find_running()
    if not engines and running is not None:
        with suppress(psutil.Error):
            gateway = psutil.Process(running.pid)
            engines = [gateway, *gateway.children(recursive=True)]
    peaks = []
    for process in engines:
        with suppress(OSError):
            peaks.append(_high_water(process.pid) or 0)
    return sum(peaks) or None


def _own_engines() -> "list[psutil.Process]":
    """The gateway and the engine that this process has started."""
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(name in process.cmdline() for name in _ENGINES):
                found.append(process)
    return found


def _level(connected: Connected, together: int, plan: Plan, progress: Progress | None) -> Level:
    stopped = threading.Event()
    # A server that runs for long may hold the prompts of an earlier measurement.
    salt = secrets.token_hex(8)

    def ask(number: int) -> Answer:
        text = prompt(salt, together, number)
        asked = _ask(text, plan)
        return respond(connected, asked, temperature=0.0, seed=plan.seed, stopped=stopped)

    # The first answer of a level meets a server that may still be waking up.
    ask(-1)
    before = plan.read_energy()
    started = time.perf_counter()
    with ThreadPoolExecutor(together) as workers:
        answers = []
        for answer in workers.map(ask, range(plan.requests * together)):
            answers.append(answer)
            if progress:
                progress.add()
    seconds = time.perf_counter() - started
    joules = energy.joules(before, plan.read_energy())
    for answer in answers:
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            raise HarnessError("the server does not count tokens (no `usage` in its answers), so no speed can be given")
        if answer.completion_tokens < 2 or answer.first_token_seconds is None:
            raise HarnessError("the model ended an answer at once, so its speed cannot be told")
    return Level(together, tuple(answers), seconds, joules, before.sources)


def _ask(text: str, plan: Plan) -> Ask:
    if not plan.chat:
        return Ask(text, (), (), plan.max_tokens)
    from evals.tasks.base import Message

    return Ask(None, (Message("user", f"{text}\nGo on with this code."),), (), plan.max_tokens)


def _figures(levels: Sequence[Level], seed: int) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for level in levels:
        at = f"at {level.together}"

        def add(
            name: str, of: Callable[[Answer], float], unit: str, better: Better, level: Level = level, at: str = at
        ) -> None:
            values = [of(answer) for answer in level.answers]
            found = statistics.mean(values, seed)
            method = f"mean, bootstrap over {len(values)} requests"
            figures[f"{name} {at}"] = Figure(found.value, found.low, found.high, len(values), unit, better, method)

        add("time to first token", _first, "seconds", "lower")
        add("prompt tokens per second", lambda a: (a.prompt_tokens or 0) / _first(a), "tokens per second", "higher")
        # The first token comes out of the prompt, so n tokens are n - 1 steps.
        add(
            "answer tokens per second",
            lambda a: ((a.completion_tokens or 0) - 1) / max(a.seconds - _first(a), 1e-9),
            "tokens per second",
            "higher",
        )
        tokens = sum(answer.completion_tokens or 0 for answer in level.answers)
        count, each = len(level.answers), "tokens per second"
        together = Figure(tokens / level.seconds, None, None, count, each, "higher", "answer tokens / wall time")
        figures[f"answer tokens per second together {at}"] = together
        if level.joules is not None:
            method = f"{level.counted}, idle power included"
            per_token = Figure(level.joules / tokens, None, None, count, "joules", "lower", method)
            figures[f"energy per answer token {at}"] = per_token
    return figures


def _first(answer: Answer) -> float:
    return max(answer.first_token_seconds or 0.0, 1e-9)


def _request(subject: Subject, level: Level, answer: Answer) -> dict[str, Any]:
    return {
        "name": subject.name,
        "together": level.together,
        "seconds": answer.seconds,
        "first_token_seconds": answer.first_token_seconds,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "finish_reason": answer.finish_reason,
    }


def _high_water(pid: int) -> int | None:
    """Linux keeps the largest resident size of each process (kB)."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    return None
