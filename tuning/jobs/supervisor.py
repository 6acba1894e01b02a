"""The small process that runs a job: it waits for its turn, runs the steps, and writes how they ended.

It is alone in a session of its own, so a terminal that closes does not reach it, and it ignores SIGHUP. SIGUSR1 stops
the job after a checkpoint, and so does SIGTERM. Run as `python -m tuning.jobs.supervisor FOLDER`; the command returns
once the supervisor is at work.
"""

import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assistant.children import end_with_parent
from assistant.errors import HoneError
from assistant.models.registry import Registry
from assistant.paths import REGISTRY
from tuning.jobs import files, identity, memory, queue, record, state
from tuning.jobs.command import shown
from tuning.jobs.job import Job, changing, filled_step
from tuning.jobs.pulse import Pulse
from tuning.jobs.record import Ending, Record
from tuning.jobs.spec import Spec, Step

_TICK_SECONDS = 0.25
_PULSE_SECONDS = 2.0
_QUEUE_SECONDS = 1.0


class Supervisor:
    """One attempt at a job."""

    def __init__(self, job: Job, spec: Spec) -> None:
        self._job, self._spec = job, spec
        self.told: signal.Signals | None = None
        self._began = 0.0
        self._peak = 0
        self._next_pulse = 0.0
        self._pulse = Pulse("waiting", "", "", time.time(), 0.0, 0, 0)

    def tell(self, number: int, _: Any) -> None:
        """The handler of the signals that stop the job."""
        # What follows the first one is what comes of it.
        self.told = self.told or signal.Signals(number)

    def run(self) -> Record:
        return self.wait(self._turn) or self.run_steps()

    def run_steps(self) -> Record:
        """Without a wait for its turn."""
        self._tell_pulse(phase="running", why="")
        return self._steps() or self.ended("done", "all steps ended well", "")

    def wait(self, turn: Callable[[], str]) -> Record | None:
        """Until those it comes after are done and it is this job's turn; a record if that does not come.

        Args:
            turn: says why it must wait; empty when it need not any more.
        """
        jobs = self._job.folder.parent
        self._tell_pulse(phase="waiting", why="")
        while True:
            if self.told:
                return self.ended("stopped", self._stopped_by("while it waited"), self._again("queues it again"))
            after = queue.dependency(jobs, self._spec)
            if after.refused:
                return self.ended("failed", f"not started: {after.refused}", self._again("queues it again"))
            reason = after.waits or turn()
            if not reason:
                return None
            self._tell_pulse(phase="waiting", why=reason)
            self._sleep(_QUEUE_SECONDS)

    def _turn(self) -> str:
        jobs = self._job.folder.parent
        with changing(jobs):
            waiting, running = queue.others(jobs, self._job)
            mine = queue.Claim(self._job.id, self._spec)
            reason = queue.wait_reason(mine, waiting, running, queue.Machine.here())
            if not reason:
                # Seen by the other jobs of the queue from here on.
                self._tell_pulse(phase="running", why="")
            return reason

    def _steps(self) -> Record | None:
        self._began = time.time()
        done = state.steps_done(self._job)
        for step in self._spec.steps:
            if step.name in done:
                continue
            if self.told:
                words = self._stopped_by(f"before {step.name}")
                return self.ended("stopped", words, self._again("goes on there"), step.name)
            self._tell_pulse(step=step.name, memory=0)
            try:
                ended = self._run_step(step)
            except (OSError, HoneError) as error:
                words = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
                return self.ended("failed", f"{step.name} could not start: {words}", self._again("tries again"))
            if ended is not None:
                return ended
        return None

    def _run_step(self, step: Step) -> Record | None:
        """A record if the job ends with this step."""
        job, spec = self._job, self._spec
        begun = any(
            event.get("event") == "step began" and event.get("step") == step.name
            for event in files.read_lines(job.events)
        )
        if begun and _was_done(job, step):
            # It was killed after its last word and before that could be noted.
            with suppress(OSError):
                job.note("step ended", step=step.name, exit_code=0)
            return None
        goes_on = begun and step.resume and state.checkpoint_of(job, spec, step.name)
        argv = filled_step(job, step, step.resume if goes_on else step.argv)
        folder = job.step_folder(step)
        folder.mkdir(parents=True, exist_ok=True)
        job.note("step began", step=step.name, command=shown(argv))
        watch = memory.Watch.begin()
        with job.log.open("ab") as log, (folder / "report.json").open("wb") as report:
            log.write(f"$ {shown(argv)}\n".encode())
            log.flush()
            process = subprocess.Popen(
                argv,
                cwd=spec.folder,
                env=_environment(job, spec),
                stdin=subprocess.DEVNULL,
                stdout=report,
                stderr=log,
                process_group=0,
                # The supervisor has no threads that could hold a lock in the child.
                preexec_fn=_prepare(spec.nice, os.getpid()),  # noqa: PLW1509
            )
        started = identity.of(process.pid)
        if started is not None:
            job.put_identity("step", started, step=step.name)
        code = self._watch(process)
        # What it left behind must not go on holding memory.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            job.note("step ended", step=step.name, exit_code=code)
        except OSError as error:
            if code == 0:
                words = f"{step.name} ended well, which could not be noted: {error.strerror}"
                return self.ended("failed", words, self._again("does the step again"), step.name, code)
        if code == 0:
            return None
        return self._stopped(step, code) if self.told else self._failed(step, code, watch.evidence(process.pid))

    def _watch(self, process: "subprocess.Popen[bytes]") -> int:
        """Until the step ends; its exit code, negative: the signal that killed it."""
        asked = 0.0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                self._peak = max(self._peak, _peak_of(usage))
                # It has been waited for here.
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode
            if self.told and not asked:
                asked = time.monotonic()
                self._tell_pulse(phase="stopping")
                # Popen's own way would wait for it first, and whoever waits second never learns how it ended.
                os.kill(process.pid, signal.SIGTERM)
            elif asked and time.monotonic() - asked > self._spec.stop_seconds:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            if time.monotonic() >= self._next_pulse:
                held = memory.held(process.pid)
                self._peak = max(self._peak, held)
                self._tell_pulse(memory=held)
            time.sleep(_TICK_SECONDS)

    def _failed(self, step: Step, code: int, evidence: tuple[str, ...]) -> Record:
        lines = record.last_lines(self._job.log)
        told = self._job.report(step).get("explanation")
        explained = told if isinstance(told, str) else None
        kept = state.checkpoint_of(self._job, self._spec, step.name) is not None
        return self.ended(
            "died" if code < 0 else "failed",
            record.reason_of(step.name, code, lines, evidence, explained or record.complaint(self._job.log)),
            record.advice_of(self._job.id, code, lines, evidence, explained, kept),
            step.name,
            code,
            evidence,
        )

    def _stopped(self, step: Step, code: int) -> Record:
        kept = state.checkpoint_of(self._job, self._spec, step.name)
        where = f"in {step.name}" + (f" at step {kept.step} ({kept.share:.0%})" if kept else ", without a checkpoint")
        again = self._again("goes on from there" if kept else "does the step again")
        return self.ended("stopped", self._stopped_by(where), again, step.name, code)

    def _stopped_by(self, where: str) -> str:
        if self.told == signal.SIGTERM:
            return f"the system told it to end (SIGTERM), {where}"
        if self.told == signal.SIGUSR2:
            return f"its time limit is near, {where}"
        return f"stopped as told, {where}"

    def _again(self, what: str) -> str:
        return f"`hone jobs resume {self._job.id}` {what}"

    def ended(
        self,
        ending: Ending,
        reason: str,
        advice: str,
        step: str = "",
        code: int | None = None,
        evidence: tuple[str, ...] = (),
    ) -> Record:
        return Record(
            ending=ending,
            reason=reason,
            advice=advice,
            ended=record.now(),
            step=step or self._pulse.step,
            exit_code=code if code is not None and code >= 0 else None,
            signal=record.signal_name(-code) if code is not None and code < 0 else None,
            memory_evidence=evidence,
            peak_memory=self._peak,
            seconds=time.time() - self._began if self._began else 0.0,
            checkpoint=state.checkpoint_of(self._job, self._spec, step or self._pulse.step),
            last_lines=() if ending == "done" else record.last_lines(self._job.log),
        )

    def _tell_pulse(self, **changes: Any) -> None:
        self._next_pulse = time.monotonic() + _PULSE_SECONDS
        rest = {"at": time.time(), "began": self._began, "peak": self._peak}
        self._pulse = Pulse(**{**asdict(self._pulse), **rest, **changes})
        # The room is reserved; a disk that refuses all the same must not end the job.
        with suppress(OSError):
            files.fill(self._job.pulse, asdict(self._pulse), final=False)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.told and time.monotonic() < end:
            time.sleep(_TICK_SECONDS)


def supervise(job: Job, ready: int, run: Callable[[Supervisor], Record | None]) -> None:
    """Runs the job to its end and writes the record of it.

    Args:
        ready: a descriptor to tell on that the supervisor is at work.
        run: its work; gives no record when the job goes on elsewhere.
    """
    spec = job.spec()
    supervisor = Supervisor(job, spec)
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, supervisor.tell)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job.put_identity("supervisor", identity.own())
    os.write(ready, b"ready")
    os.close(ready)
    try:
        ended = run(supervisor)
    except Exception as error:
        # It is nobody's child: what is not written down is not known.
        traceback.print_exc()
        ended = supervisor.ended("died", f"its supervisor failed: {error!r}; see supervisor.log", "")
    if ended is not None:
        with changing(job.folder.parent):
            state.write_record(job, ended)


def _was_done(job: Job, step: Step) -> bool:
    """Whether a tuning run has reported an adapter that is registered: its checkpoints are gone, and it would begin
    anew."""
    report = job.report(step)
    if not step.run or not isinstance(report.get("adapter"), str):
        return False
    try:
        found = Registry(job.home / REGISTRY).find(report["adapter"])
    except HoneError:
        return False
    return found is not None and found.digest == report.get("digest")


def _prepare(nice: int, parent: int) -> Any:
    def in_child() -> None:
        os.nice(nice)
        # A step that trains leaves with a checkpoint when its supervisor ends, however that ends.
        end_with_parent(signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(143)

    return in_child


def _environment(job: Job, spec: Spec) -> dict[str, str]:
    threads = {} if spec.threads is None else dict.fromkeys(_THREADS, str(spec.threads))
    own = {"HONE_HOME": str(job.home), "HONE_JOB": str(job.folder)}
    return {**os.environ, **threads, **spec.environment, **own}


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "HONE_THREADS")


def _peak_of(usage: resource.struct_rusage) -> int:
    """Bytes; see getrusage(2): kilobytes but on macOS."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def begin(job: Job, run: Callable[[Supervisor], Record | None]) -> int:
    """Starts the supervisor of a job in a process of its own, and returns once it is at work; 0 when it is.

    Args:
        run: as of `supervise`.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        ready = os.read(reading, 16)
        return 0 if ready == b"ready" else 1
    os.close(reading)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(job.folder / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, target in ((0, nothing), (1, nothing), (2, log)):
        os.dup2(target, number)
    os.chdir("/")
    try:
        supervise(job, writing, run)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(begin(Job(Path(sys.argv[1])), Supervisor.run))
