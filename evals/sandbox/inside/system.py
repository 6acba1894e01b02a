"""The few system calls that the standard library lacks."""

import ctypes
import os
import platform
import resource
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

CAP_DAC_READ_SEARCH = 2

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

_CLOSE_RANGE = 436
# Numbers from 424 on are the same on every processor.
_CAPSET = {"x86_64": 126, "aarch64": 91}


def machine() -> str:
    return platform.machine()


def call(name: str, *arguments: Any) -> int:
    """A function of the C library. Raises: OSError."""
    result = getattr(_LIBC, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return int(result)


def syscall(number: int, *arguments: Any) -> int:
    """Raises: OSError."""
    result = _LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return int(result)


def prctl(option: int, *arguments: int) -> int:
    """Raises: OSError."""
    padded = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    return call("prctl", ctypes.c_int(option), *padded)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Raises: OSError."""
    texts = [None if each is None else os.fsencode(each) for each in (source, target, kind, data)]
    call("mount", texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])


def unshare(flags: int) -> None:
    """Raises: OSError."""
    call("unshare", ctypes.c_int(flags))


def setns(descriptor: int, kind: int) -> None:
    """Raises: OSError."""
    call("setns", ctypes.c_int(descriptor), ctypes.c_int(kind))


def close_from(first: int) -> None:
    """Closes all file descriptors from this one on."""
    try:
        syscall(_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(0))
    except OSError:  # Before Linux 5.9.
        os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def set_capabilities(bits: int) -> None:
    """Permitted, effective and inheritable set of this process. Raises: OSError, KeyError (unknown processor)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    syscall(_CAPSET[machine()], ctypes.byref(header), ctypes.byref(data))
