"""From the fork to the program: namespaces, descriptors, walls, and then what was asked for."""

import fcntl
import json
import os
import signal
from dataclasses import replace
from typing import Any, NoReturn

from . import candidate, judge, system
from .confine import Walls, confine


def first_of_namespace(config: dict[str, Any], header: dict[str, Any], ends: dict[str, int], walls: Walls) -> NoReturn:
    """The first process of a PID namespace: signals from inside do not reach it, and all die when it ends."""
    system.unshare(system.CLONE_NEWNS)
    system.mount("none", "/", None, system.MS_REC | system.MS_PRIVATE)
    hidden = system.MS_NOSUID | system.MS_NODEV
    for path in config["fresh"][:1]:
        system.mount("tmpfs", path, "tmpfs", hidden, f"size={config['scratch_bytes']},nr_inodes=4096,mode=1777")
    for path in config["fresh"][1:]:
        system.mount(config["fresh"][0], path, None, system.MS_BIND)
    if header["role"] == "command":
        system.mount("proc", "/proc", "proc", hidden | system.MS_NOEXEC)
    else:
        system.mount("tmpfs", "/proc", "tmpfs", hidden | system.MS_RDONLY, "size=4k,mode=555")
    program = os.fork()
    if program == 0:
        become(config, header, ends, walls)
    for name, each in ends.items():
        if name != "status":
            os.close(each)
    while True:
        process, status = os.wait()
        if process == program:
            os.write(ends["status"], b"S%d" % status)
            os._exit(0)


def become(config: dict[str, Any], header: dict[str, Any], ends: dict[str, int], walls: Walls) -> NoReturn:
    """Becomes the job: no descriptors but its own, all walls up, then the code of its role."""
    job = json.loads(_contents(ends["job"]))
    null = os.open(os.devnull, os.O_RDWR)
    wanted = {0: null, 1: ends.get("out", null), 2: ends.get("err", ends.get("out", null))}
    wanted |= {3: ends["status"], 4: ends.get("result", null), 5: ends.get("connection", null)}
    wanted |= {6: null if walls.rules is None else walls.rules}
    high = {at: fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 64) for at, each in wanted.items()}
    for at, each in high.items():
        os.dup2(each, at, inheritable=at < 3)
    system.close_from(7)
    walls = replace(walls, rules=None if walls.rules is None else 6)
    status = 3
    try:
        confine(config, header["limits"], walls)
        os.chdir(job.get("folder") or config["scratch"])
        if header["role"] == "command":
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            os.execvpe(job["argv"][0], job["argv"], job["environment"])
    except BaseException as error:
        fault(status, f"{type(error).__name__}: {error}")
    os.closerange(6, 7)
    os.close(status)
    code = 1
    try:
        if header["role"] == "judge":
            judge.main(job, 5, 4)
        else:
            os.close(4)
            candidate.main(job, 5)
        code = 0
    finally:
        os._exit(code)


def _contents(descriptor: int) -> bytes:
    with open(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


def fault(status: int, text: str) -> NoReturn:
    """Ends with the word that the sandbox failed, before anything ran."""
    os.write(status, b"F" + " ".join(text.split()).encode("utf-8", "replace")[:2000] + b"\n")
    os._exit(125)
