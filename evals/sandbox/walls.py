"""How the zygote of a worker is started on each rung: its command line, and the walls it puts up around programs."""

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.sandbox import machine
from evals.sandbox.inside import landlock
from evals.sandbox.outcome import Rung, SandboxError

_HOME = "/scratch"
_CODE = "/hone"
_INSIDE = Path(__file__).parent / "inside"
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from inside import zygote; sys.path.pop(0); zygote.main(sys.argv[2])"
)
SCRATCH_BYTES = 16 << 20
"""That a program may write to files."""
COMMAND_BYTES = 1 << 30
"""That a command may write to one file, and to temporary ones together."""
_SPARE = 256
"""Threads that the user may start meanwhile without taking them from a program's share."""


@dataclass(frozen=True)
class Place:
    """Where a command runs: a writable folder, trees to read, a folder for temporary files."""

    folder: str
    readable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Start:
    """A zygote's command line and configuration. `environment` is all that it gets."""

    argv: tuple[str, ...]
    config: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)


def check(rung: Rung) -> str | None:
    """Why a rung cannot even be tried here, None: it can."""
    if rung == "bubblewrap" and shutil.which("bwrap") is None:
        return "bwrap is not installed (Debian: apt install bubblewrap)"
    if rung == "landlock" and landlock.version() == 0:
        return "the kernel has no Landlock"
    if rung == "landlock" and platform.machine() not in {"x86_64", "aarch64"}:
        return f"no seccomp filter for the processor {platform.machine()}"
    return None


def plan(rung: Rung, index: int, scratch: str | None, place: Place | None, abi: int | None = None) -> Start:
    """How to start a zygote.

    Args:
        index: of the worker; no two that live have the same.
        scratch: an empty folder for programs' files, on rungs without a mount namespace.
        place: of a command; None: the zygote serves programs.
        abi: act as on a kernel whose Landlock has only this version.

    Raises:
        SandboxError: the rung cannot be had.
    """
    if problem := check(rung):
        raise SandboxError(f"no {rung} sandbox: {problem}")
    if rung == "bubblewrap":
        return _bubblewrap(index, place)
    if scratch is None:
        raise ValueError("a scratch folder is needed")
    return _bare(rung, index, scratch, place, min(landlock.version(), abi or 1 << 30))


def owner(rung: Rung, index: int) -> int | None:
    """The user that programs of a worker run as; None: the user's own."""
    if rung == "bubblewrap" and machine.is_root(machine.CAP_SYS_ADMIN, machine.CAP_SETUID, machine.CAP_SETGID):
        return machine.uid_for(index)
    if rung == "landlock" and machine.is_root(machine.CAP_SETUID, machine.CAP_SETGID):
        return machine.uid_for(index)
    return None


def _config(rung: Rung, uid: int | None, place: Place | None, **more: Any) -> dict[str, Any]:
    return {
        "rung": rung,
        "uid": uid,
        "search": False,
        "abi": 0,
        "readable": [],
        "writable": [],
        "sockets": "none",
        "fresh": [],
        "scratch": None,
        "scratch_bytes": SCRATCH_BYTES,
        "file_bytes": SCRATCH_BYTES if place is None else COMMAND_BYTES,
        "others": machine.processes_of_user() + _SPARE if uid is None else 0,
        "site": [],
        **more,
    }


def _bubblewrap(index: int, place: Place | None) -> Start:
    uid = owner("bubblewrap", index)
    trees = machine.interpreter_trees()
    site = {path: f"{_CODE}/site{at}" for at, path in enumerate(machine.package_folders())}
    # Counted per user namespace since Linux 5.14: bubblewrap's own process, the zygote, the first of the program's.
    counted_apart = uid is None and _kernel() >= (5, 14)
    config = _config(
        "bubblewrap", uid, place, site=list(site.values()), sockets="unix" if place is None else "internet"
    )
    # What a command is given to read may be root's alone, and so may the packages and the interpreter.
    config["search"] = place is not None or machine.closed_to_others(map(Path, [*trees, *site]))
    if counted_apart:
        config["others"] = 8
    if place is None:
        # /tmp cannot be covered where the interpreter itself lies in it.
        covered = ["/dev/shm"] + ([] if any(machine.under(tree, "/tmp") for tree in trees) else ["/tmp"])
        config |= {"scratch": _HOME, "fresh": [_HOME, *covered]}
    arguments = [shutil.which("bwrap") or "bwrap", *_namespaces(uid), "--cap-drop", "ALL"]
    capabilities = ["SYS_ADMIN"] if uid is None else ["SYS_ADMIN", "SETUID", "SETGID", "KILL", "DAC_READ_SEARCH"]
    for name in capabilities:
        arguments += ["--cap-add", f"CAP_{name}"]
    arguments += _system_mounts()
    mounts = {_INSIDE.as_posix(): f"{_CODE}/inside", **{tree: tree for tree in trees}, **site}
    arguments += ["--proc", "/proc"]
    if place is None:
        # bubblewrap's own /dev has terminals, for which it makes a second user namespace; from inside that one the
        # zygote could not go back to its PID namespace after a program.
        for path in (_HOME, "/tmp", "/dev", "/dev/shm"):
            arguments += ["--perms", "0755", "--dir", path]
        for device in machine.DEVICES:
            arguments += ["--dev-bind", device, device]
    else:
        arguments += ["--dev", "/dev"]
        for path in ("/tmp", "/dev/shm"):
            arguments += ["--perms", "1777", "--size", str(COMMAND_BYTES), "--tmpfs", path]
        mounts |= {path: path for path in place.readable}
    binds = [(len(Path(target).parts), "--ro-bind", source, target) for source, target in mounts.items()]
    if place is not None:
        binds = [bind for bind in binds if bind[3] != place.folder]
        binds.append((len(Path(place.folder).parts), "--bind", place.folder, place.folder))
    # What lies in another mount comes after it.
    ordered = sorted(binds)
    arguments += _parents([target for *_, target in ordered])
    for _, option, source, target in ordered:
        arguments += [option, source, target]
    arguments += [*(["--remount-ro", "/dev"] if place else []), "--remount-ro", "/", "--chdir", "/", "--"]
    environment = machine.environment(_HOME if place is None else "/tmp")
    return Start((*arguments, *_python(_CODE)), config, environment)


def _namespaces(uid: int | None) -> list[str]:
    # With uid 0 but without its capabilities bubblewrap would not think of a user namespace by itself.
    user = ["--unshare-user", "--uid", "65534", "--gid", "65534"] if uid is None else []
    others = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    return [*user, *others, "--hostname", "sandbox"]


def _system_mounts() -> list[str]:
    arguments: list[str] = []
    for path in machine.SYSTEM_FOLDERS:
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            arguments += ["--ro-bind", path, path]
    for path in machine.configuration_files():
        arguments += ["--ro-bind", path, path]
    return arguments


def _upwards(path: str) -> list[Path]:
    return [Path(path), *Path(path).parents]


def _parents(targets: Sequence[str]) -> list[str]:
    """Folders that bubblewrap would make for its own user alone."""
    arguments: list[str] = []
    made = {Path("/")}
    for target in map(Path, targets):
        for parent in reversed(target.parents):
            mounted = any(machine.under(str(parent), folder) for folder in (*machine.SYSTEM_FOLDERS, *targets))
            if parent not in made and not mounted:
                made.add(parent)
                arguments += ["--perms", "0755", "--dir", str(parent)]
    return arguments


def _bare(rung: Rung, index: int, scratch: str, place: Place | None, abi: int) -> Start:
    uid = owner(rung, index)
    packages = machine.package_folders() if place is None else []
    readable = [
        *machine.SYSTEM_FOLDERS,
        *machine.configuration_files(),
        *machine.interpreter_trees(),
        *machine.DEVICES,
        *machine.FACTS,
        "/sys/devices/system/cpu",
        *packages,
        *(place.readable if place else ()),
    ]
    folders = [scratch, *([place.folder] if place else [])]
    config = _config(
        rung,
        uid,
        place,
        abi=abi,
        readable=readable,
        writable=[*folders, *machine.DEVICES[:3]],
        scratch=scratch,
        site=packages,
        search=place is not None or machine.closed_to_others(parent for path in readable for parent in _upwards(path)),
    )
    return Start(_python(str(_INSIDE.parent)), config, machine.environment(scratch))


def _python(code: str) -> tuple[str, ...]:
    return (machine.interpreter(), "-s", "-P", "-S", "-c", _BOOT, code)


def _kernel() -> tuple[int, ...]:
    numbers = platform.release().split("-")[0].split(".")
    return tuple(int(number) for number in numbers if number.isdigit())


def temporary(scratch_parent: str | None, uid: int | None) -> str:
    """A new empty folder that the programs' user may write to."""
    import tempfile

    folder = tempfile.mkdtemp(prefix="hone-sandbox-", dir=scratch_parent)
    if uid is not None:
        os.chown(folder, uid, uid)
    return folder


def give(folder: str, uid: int) -> None:
    """Makes a tree another user's, links themselves and not what they name."""
    os.chown(folder, uid, uid)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(os.path.join(parent, name), uid, uid, follow_symlinks=False)


def resolved(paths: Sequence[Path]) -> tuple[str, ...]:
    """Absolute, existing, each once, as written and with links followed: programs use both."""
    found = [str(each) for path in paths if path.exists() for each in (path.absolute(), path.resolve())]
    return tuple(dict.fromkeys(found))
