"""The warm process inside the sandbox: waits for jobs, forks one process per program, watches it and kills all it left.

A job comes over the control socket: a JSON header with limits and a role, and file descriptors: a memory file with the
job itself, which only the forked process reads (so that no program finds another's text in this memory), and the
connection to the other side. A program never holds the control socket.

One program at a time. Whatever it started dies with it: with namespaces by the death of its PID namespace, which the
kernel carries out; with Landlock by one SIGKILL to all that the signal scope lets this process reach.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from . import landlock, scratch, system, watch
from .confine import prepare
from .start import become, fault, first_of_namespace
from .wire import Channel, Closed

_TICK = 0.05
_END_SECONDS = 0.02
_DEATH_SECONDS = 5.0
_PRELOADED = (
    "abc",
    "bisect",
    "cmath",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
    "types",
    "typing",
)


class _Fault(Exception):
    """The sandbox itself failed."""


def main(text: str) -> None:
    """Serves until the control socket closes. `text` is the worker's configuration, JSON."""
    config = json.loads(text)
    control = socket.socket(fileno=config["control"])
    channel = Channel(control, 1 << 30)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path += config["site"]
    for name in _PRELOADED:
        importlib.import_module(name)
    zygote = _Zygote(config, control)
    gc.collect()
    gc.freeze()
    channel.send({"ready": True})
    try:
        while True:
            header, files = _receive(control)
            if "stop" in header:
                continue  # It came after the end of its program.
            try:
                reply = zygote.run(header, files)
            except (_Fault, OSError) as error:
                reply = {"fault": str(error)}
            channel.send(reply)
    except Closed:
        if zygote.shared_scratch:
            with contextlib.suppress(OSError):
                os.rmdir(config["scratch"])
        os._exit(0)


def _receive(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Raises: Closed."""
    try:
        head, files, _, _ = socket.recv_fds(control, 4, 4, socket.MSG_WAITALL)
        body = control.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if len(head) == 4 else b""
    except OSError as error:
        raise Closed from error
    if not body:
        raise Closed
    return json.loads(body), files


class _Zygote:
    def __init__(self, config: dict[str, Any], control: socket.socket) -> None:
        self.config = config
        self._control = control
        self.namespaces = config["rung"] == "bubblewrap"
        self._scoped = False
        self._started = False
        self._own_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if self.namespaces else -1
        # Where a container fixes it the kernel chooses by size alone.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("800")
        system.prctl(system.PR_SET_DUMPABLE, 0)
        system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)
        self._walls = prepare(config)
        if config["rung"] == "landlock":
            system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
            if config["abi"] >= landlock.SIGNALS_FROM:
                self._scope()

    def _scope(self) -> None:
        """SIGKILL to all (-1) is safe only where the scope holds; a process from before it proves that it does."""
        read, write = os.pipe()
        outside = os.fork()
        if outside == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        os.kill(outside, 0)
        landlock.scope_signals()
        try:
            os.kill(outside, 0)
        except PermissionError:
            self._scoped = True
        os.close(write)
        os.close(read)
        os.waitpid(outside, 0)
        if not self._scoped:
            raise _Fault("Landlock does not keep signals inside")

    def run(self, header: dict[str, Any], files: list[int]) -> dict[str, Any]:
        """Runs one job to its end; nothing of it is left then."""
        try:
            return _Run(self, header, files).result()
        finally:
            if self.shared_scratch:
                scratch.clear(self.config["scratch"])

    def start(self, header: dict[str, Any], ends: dict[str, int]) -> int:
        """Forks the job; the process to wait for is its own process, or the first of its PID namespace."""
        if self.namespaces:
            if self._started:
                system.setns(self._own_namespace, system.CLONE_NEWPID)
            system.unshare(system.CLONE_NEWPID)
            self._started = True
        process = os.fork()
        if process:
            return process
        try:
            self._control.detach()
            if self.namespaces:
                first_of_namespace(self.config, header, ends, self._walls)
            become(self.config, header, ends, self._walls)
        except BaseException as error:
            fault(ends["status"], f"{type(error).__name__}: {error}")

    def kill(self, main: int | None) -> None:
        """Kills the job and all that it started. `main` None: it is dead already."""
        if self._scoped:
            try:
                os.kill(-1, signal.SIGKILL)
            except ProcessLookupError:
                return
        elif self.config["rung"] != "none":  # Its namespace dies with it; under an old Landlock it started nothing.
            if main is not None:
                os.kill(main, signal.SIGKILL)
        else:
            for process in watch.below(os.getpid()).processes:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def stopped(self) -> bool:
        """Whether the other side says stop. Raises: Closed."""
        return "stop" in _receive(self._control)[0]

    @property
    def control(self) -> int:
        return self._control.fileno()

    @property
    def shared_scratch(self) -> bool:
        """Programs get no fresh one by mounting."""
        return not self.namespaces and self.config["scratch"] is not None


class _Run:
    """One job from start to end."""

    def __init__(self, zygote: _Zygote, header: dict[str, Any], files: list[int]) -> None:
        self._zygote = zygote
        self._limits = header["limits"]
        self._started = time.monotonic()
        self._reason = "ended"
        self._status: int | None = None
        self._cpu = 0.0
        self._peak = 0
        self._dead = False
        self._killed_cpu = 0.0
        names = {"judge": ("status", "result"), "candidate": ("status", "out"), "command": ("status", "out", "err")}
        pipes = {name: os.pipe() for name in names[header["role"]]}
        self._read = {name: read for name, (read, _) in pipes.items()}
        self._data = {name: bytearray() for name in pipes}
        ends = {name: write for name, (_, write) in pipes.items()}
        ends |= zip(("job", "connection"), files, strict=False)
        try:
            self._main = zygote.start(header, ends)
        finally:
            for each in ends.values():
                os.close(each)
        for each in self._read.values():
            os.set_blocking(each, False)

    def result(self) -> dict[str, Any]:
        handle = os.pidfd_open(self._main)
        try:
            self._watch(handle)
        finally:
            due = time.monotonic()
            if self._reason == "wall":
                due = self._started + self._limits["wall_seconds"]
            self._end()
            dead = time.monotonic()
            os.close(handle)
            self._drain()
            for each in self._read.values():
                os.close(each)
        return self._reply(dead - self._started, dead - due)

    def _watch(self, handle: int) -> None:
        poll = select.poll()
        for each in (handle, self._zygote.control, *self._read.values()):
            poll.register(each, select.POLLIN)
        names = {read: name for name, read in self._read.items()}
        next_tick = self._started + _TICK
        while True:
            events = poll.poll(max(0.0, next_tick - time.monotonic()) * 1000)
            ready = {descriptor for descriptor, _ in events}
            for each in ready & names.keys():
                if not self._take(names[each]):
                    poll.unregister(each)
                    del names[each]
            if handle in ready:
                return
            if self._zygote.control in ready and self._zygote.stopped():
                # Its CPU time is exact if it ends by itself, now that nothing is asked of it any more.
                select.select([handle], [], [], _END_SECONDS)
                self._reason = "stopped"
            if time.monotonic() >= next_tick:
                self._check()
                next_tick = time.monotonic() + _TICK
            if self._reason != "ended":
                return

    def _take(self, name: str) -> bool:
        """Reads what there is; whether there may be more."""
        try:
            data = os.read(self._read[name], 1 << 16)
        except BlockingIOError:
            return True
        held = self._data[name]
        held += data
        excess = sum(map(len, self._data.values())) - self._limits["output_bytes"]
        if name in {"out", "err"} and excess > 0:
            self._reason = "output"
            del held[-excess:]
        return bool(data)

    def _drain(self) -> None:
        for name in self._read:
            while len(self._data[name]) <= self._limits["output_bytes"]:
                before = len(self._data[name])
                if not self._take(name) or len(self._data[name]) == before:
                    break

    def _check(self) -> None:
        self._reap()
        used = watch.below(os.getpid())
        self._peak = max(self._peak, used.resident_bytes)
        limits = self._limits
        if used.cpu_seconds + self._cpu > limits["cpu_seconds"]:
            self._reason = "cpu"
        elif time.monotonic() - self._started > limits["wall_seconds"]:
            self._reason = "wall"
        elif used.resident_bytes > limits["memory_bytes"]:
            self._reason = "memory"
        elif len(used.processes) > limits["processes"] + 1:
            self._reason = "processes"
        elif self._zygote.shared_scratch:
            config = self._zygote.config
            if scratch.holds_more_than(config["scratch"], config["scratch_bytes"]):
                self._reason = "disk"

    def _reap(self) -> bool:
        """Collects what has ended; whether any child is left."""
        while True:
            try:
                process, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if process == 0:
                return True
            self._cpu += usage.ru_utime + usage.ru_stime
            if process == self._main:
                self._status = status
                self._dead = True
                self._peak = self._peak or usage.ru_maxrss * 1024

    def _end(self) -> None:
        deadline = time.monotonic() + _DEATH_SECONDS
        pause = 0.0002
        if self._reap() and not self._dead:
            # The kernel forgets the time of those that die with their namespace.
            self._killed_cpu = watch.below(os.getpid()).cpu_seconds
        while self._reap():
            if time.monotonic() > deadline:
                raise _Fault("processes of the program do not die")
            self._zygote.kill(None if self._dead else self._main)
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def _reply(self, wall: float, late: float) -> dict[str, Any]:
        message = bytes(self._data["status"])
        if message.startswith(b"F"):
            raise _Fault(message[1:].partition(b"\n")[0].decode("utf-8", "replace"))
        status = int(message[1:]) if message.startswith(b"S") else None if self._zygote.namespaces else self._status
        return {
            "reason": self._reason,
            "exit": os.waitstatus_to_exitcode(status) if status is not None else None,
            "cpu": max(self._cpu, self._killed_cpu),
            "wall": wall,
            "late": late,
            "peak": self._peak or None,
            **{name: bytes(data).decode("utf-8", "replace") for name, data in self._data.items() if name != "status"},
        }
