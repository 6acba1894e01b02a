"""What a process gives up before it runs what nobody has read."""

import math
import os
import resource
from dataclasses import dataclass
from typing import Any

from . import landlock, seccomp, system


@dataclass(frozen=True)
class Walls:
    """What can be made once for all programs of a worker."""

    filter: bytes | None
    rules: int | None
    """A file descriptor."""


def prepare(config: dict[str, Any]) -> Walls:
    """Raises: OSError."""
    if config["rung"] == "bubblewrap":
        return Walls(seccomp.build(namespaces=True, sockets=config["sockets"]), None)
    if config["rung"] == "none":
        return Walls(None, None)
    abi = config["abi"]
    scoped = abi >= landlock.SIGNALS_FROM
    built = seccomp.build(namespaces=False, sockets="none", signals=scoped, truncate=abi >= 3, forks=scoped)
    return Walls(built, landlock.ruleset(abi, config["readable"], config["writable"]))


def confine(config: dict[str, Any], limits: dict[str, Any], walls: Walls) -> None:
    """Limits, identity, capabilities, files, system calls: in that order, for this process and its children for good.

    Args:
        config: of the worker (`worker.Worker`).
        limits: the fields of `Limits`.

    Raises:
        OSError, KeyError: a wall could not be put up; nothing may run.
    """
    os.setsid()
    _limit(config, limits)
    _drop(config)
    system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
    if walls.rules is not None:
        landlock.confine(walls.rules)
        os.close(walls.rules)
    if walls.filter is not None:
        seccomp.install(walls.filter)


def _limit(config: dict[str, Any], limits: dict[str, Any]) -> None:
    cpu = math.ceil(limits["cpu_seconds"]) + 1
    values = {
        resource.RLIMIT_AS: (limits["memory_bytes"],) * 2,
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_FSIZE: (config["file_bytes"],) * 2,
        resource.RLIMIT_NPROC: (config["others"] + limits["processes"],) * 2,
        resource.RLIMIT_NOFILE: (256, 256),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
    }
    for kind, (soft, hard) in values.items():
        highest = resource.getrlimit(kind)[1]
        cap = max(soft, hard) if highest == resource.RLIM_INFINITY else highest
        resource.setrlimit(kind, (min(soft, cap), min(hard, cap)))


def _drop(config: dict[str, Any]) -> None:
    uid = config["uid"]
    if uid is not None:
        # Python may lie in a folder that only root may enter; what can be read at all the mounts or Landlock say.
        keep = 1 << system.CAP_DAC_READ_SEARCH if config["search"] else 0
        if keep:
            system.prctl(system.PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        system.set_capabilities(keep)
        if keep:
            system.prctl(system.PR_CAP_AMBIENT, system.PR_CAP_AMBIENT_RAISE, system.CAP_DAC_READ_SEARCH)
    elif config["rung"] == "bubblewrap":
        system.prctl(system.PR_CAP_AMBIENT, system.PR_CAP_AMBIENT_CLEAR_ALL)
        system.set_capabilities(0)
