"""Landlock: what a process and its children may read and write, and whom they may signal. docs.kernel.org, "Landlock".

No helper program and no privilege is needed; the kernel must have it (5.13; signals from 6.12).
"""

import ctypes
import os
from collections.abc import Iterable

from . import system

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR

_TCP = 1 | 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2
SIGNALS_FROM = 6
"""The first version that keeps signals inside."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The kernel's version of the interface; 0: it has none."""
    try:
        return system.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


def scope_signals() -> None:
    """From now on signals of this process and its children reach only each other. Wants version 6 and no_new_privs.

    Raises:
        OSError: the kernel refuses.
    """
    rules = _create(_Ruleset(0, 0, _SIGNALS), 24)
    try:
        confine(rules)
    finally:
        os.close(rules)


def ruleset(abi: int, readable: Iterable[str], writable: Iterable[str]) -> int:
    """A file descriptor for `confine`: only `readable` trees can be read and executed, only `writable` ones be changed.
    Paths that do not exist are left out.

    Raises:
        OSError: the kernel refuses.
    """
    handled = (1 << 13) - 1
    handled |= _REFER if abi >= 2 else 0
    handled |= _TRUNCATE if abi >= 3 else 0
    handled |= _IOCTL_DEV if abi >= 5 else 0
    rules = _Ruleset(handled, _TCP if abi >= 4 else 0, (_ABSTRACT_SOCKETS | _SIGNALS) if abi >= SIGNALS_FROM else 0)
    made = _create(rules, 24 if abi >= SIGNALS_FROM else 16 if abi >= 4 else 8)
    for path in readable:
        _allow(made, path, _READ & handled)
    for path in writable:
        _allow(made, path, handled)
    return made


def confine(rules: int) -> None:
    """From now on, for good, what `ruleset` allowed. Wants no_new_privs.

    Raises:
        OSError: the kernel refuses.
    """
    system.syscall(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0))


def _create(rules: _Ruleset, size: int) -> int:
    return system.syscall(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))


def _allow(rules: int, path: str, allowed: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not os.path.isdir(path):
            allowed &= _FILES
        rule = _PathBeneath(allowed, parent)
        system.syscall(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), 0)
    finally:
        os.close(parent)
