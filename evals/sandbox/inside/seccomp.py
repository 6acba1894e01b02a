"""A seccomp filter: system calls that no program of ours needs and that reach around the other walls.

Numbers: asm/unistd_64.h (x86-64) and asm-generic/unistd.h (aarch64) of Linux; those from 424 on are the same on both.
"""

import ctypes
import struct

from . import system

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000

_RETURN_ALLOW, _RETURN_ERRNO, _RETURN_KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _AND, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENT_0, _ARGUMENT_1 = 0, 4, 16, 24
_EPERM, _ENOSYS = 1, 38
_AF_UNIX = 1
_SOCK_TYPE, _SOCK_DGRAM = 0xF, 2
_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020000  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET

# name: number on x86-64, number on aarch64 (None: it has none)
_KERNEL: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "pivot_root": (155, 41),
    "adjtimex": (159, 171),
    "chroot": (161, 51),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "lookup_dcookie": (212, 18),
    "clock_settime": (227, 112),
    "mq_open": (240, 180),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "migrate_pages": (256, 238),
    "unshare": (272, 97),
    "move_pages": (279, 239),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "clock_adjtime": (305, 266),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "mount_setattr": (442, 442),
    "quotactl_fd": (443, 443),
    "memfd_secret": (447, 447),
    "process_mrelease": (448, 448),
    "open_tree_attr": (467, 467),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
}
# Outside namespaces: what reaches other processes of the user.
_OTHERS: dict[str, tuple[int | None, int | None]] = {
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30),
    "sched_setattr": (314, 274),
}
_SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "kill": (62, 129),
    "rt_sigqueueinfo": (129, 138),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
# Landlock does not govern these; they would change files that the program may only read.
_ATTRIBUTES: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "utime": (132, None),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utimes": (235, None),
    "fchownat": (260, 54),
    "futimesat": (261, None),
    "fchmodat": (268, 53),
    "utimensat": (280, 88),
    "fchmodat2": (452, 452),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
_TRUNCATE, _SOCKET, _CLONE, _CLONE3, _FORK, _VFORK = (76, 45), (41, 198), (56, 220), (435, 435), (57, None), (58, None)
_PRLIMIT, _SOCKETPAIR = (302, 261), (53, 199)


def install(program: bytes) -> None:
    """Filters this process and its children for good; wants no_new_privs. A call that is refused fails with EPERM.

    Raises:
        OSError: the kernel refuses.
    """
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HL", len(program) // 8, ctypes.addressof(code))
    header_buffer = ctypes.create_string_buffer(header, len(header))
    system.prctl(system.PR_SET_SECCOMP, 2, ctypes.addressof(header_buffer))


def build(namespaces: bool, sockets: str, signals: bool = True, truncate: bool = True, forks: bool = True) -> bytes:
    """The filter.

    Args:
        namespaces: other processes and files of the user are out of sight; else what reaches them is refused too, and
            changes of a file's mode, owner and times do nothing and report success.
        sockets: "internet" (the network namespace is empty), "unix" or "none" (pairs of streams remain).
        signals, truncate, forks: False refuses them: what Landlock of an old kernel leaves open.

    Raises:
        OSError: a processor that we have no numbers for.
    """
    column = ("x86_64", "aarch64").index(system.machine()) if system.machine() in _ARCHITECTURES else None
    if column is None:
        raise OSError(_ENOSYS, f"no seccomp filter for the processor {system.machine()}")
    rules: list[bytes] = []
    for numbers in _KERNEL.values():
        rules += _refuse(numbers[column])
    if not namespaces:
        for numbers in (*_OTHERS.values(), *(() if signals else _SIGNALS.values())):
            rules += _refuse(numbers[column])
        for numbers in _ATTRIBUTES.values():
            rules += _refuse(numbers[column], 0)
        rules += _if(_PRLIMIT[column], _unless_argument_is(0, _EPERM))
    if not truncate:
        rules += _refuse(_TRUNCATE[column])
    if sockets == "unix":
        rules += _if(_SOCKET[column], _unless_argument_is(_AF_UNIX, _EPERM))
    elif sockets == "none":
        rules += _refuse(_SOCKET[column]) + _if(_SOCKETPAIR[column], _refuse_datagrams())
    # clone3 passes its flags in memory, where no filter sees them; the C library then falls back to clone.
    rules += _refuse(_CLONE3[column], _ENOSYS)
    clone = [_step(_LOAD, _ARGUMENT_0), _step(_JUMP_ANY_BIT, _CLONE_NEW, 0, 1), _step(_RETURN, _RETURN_ERRNO | _EPERM)]
    if not forks:
        clone += [_step(_JUMP_ANY_BIT, _CLONE_THREAD, 1, 0), _step(_RETURN, _RETURN_ERRNO | _EPERM)]
        rules += _refuse(_FORK[column]) + _refuse(_VFORK[column])
    rules += _if(_CLONE[column], [*clone, _step(_RETURN, _RETURN_ALLOW)])
    return b"".join([*_head(_ARCHITECTURES[system.machine()], column == 0), *rules, _step(_RETURN, _RETURN_ALLOW)])


def _head(architecture: int, x86: bool) -> list[bytes]:
    head = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_JUMP_EQUAL, architecture, 1, 0),
        _step(_RETURN, _RETURN_KILL),
        _step(_LOAD, _NUMBER),
    ]
    if x86:  # The x32 numbers name the same calls once more.
        head += [_step(_JUMP_AT_LEAST, _X32, 0, 1), _step(_RETURN, _RETURN_KILL)]
    return head


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


def _refuse(number: int | None, error: int = _EPERM) -> list[bytes]:
    return _if(number, [_step(_RETURN, _RETURN_ERRNO | error)])


def _if(number: int | None, body: list[bytes]) -> list[bytes]:
    """`body` must end with a return: after it the number is no longer in the accumulator."""
    return [] if number is None else [_step(_JUMP_EQUAL, number, 0, len(body)), *body]


def _unless_argument_is(value: int, error: int) -> list[bytes]:
    return [
        _step(_LOAD, _ARGUMENT_0),
        _step(_JUMP_EQUAL, value, 0, 1),
        _step(_RETURN, _RETURN_ALLOW),
        _step(_RETURN, _RETURN_ERRNO | error),
    ]


def _refuse_datagrams() -> list[bytes]:
    """One of a pair could still be sent to any named socket of the machine."""
    return [
        _step(_LOAD, _ARGUMENT_1),
        _step(_AND, _SOCK_TYPE),
        _step(_JUMP_EQUAL, _SOCK_DGRAM, 0, 1),
        _step(_RETURN, _RETURN_ERRNO | _EPERM),
        _step(_RETURN, _RETURN_ALLOW),
    ]
