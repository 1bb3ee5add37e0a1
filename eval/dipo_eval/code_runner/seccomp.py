"""A filter of system calls for hostile code: what is not listed here fails with EPERM.

An ordinary Python program that computes needs few calls: files, memory, clocks, signals to itself. There is no way to
start another program or process, to open a network socket, to share memory (System V, memfd), or to reach the
parts of the kernel with most vulnerabilities: io_uring, bpf, perf, keyctl, userfaultfd, ptrace, mounts, namespaces.

Sources: seccomp(2); Linux's Documentation/userspace-api/seccomp_filter.rst; the numbers are those of
asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64), compared with the installed headers by a test.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from dipo_eval.code_runner import kernel

# Name: number on x86_64, on aarch64 (None: aarch64 has no such call).
ALLOWED: dict[str, tuple[int, int | None]] = {
    # files
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68),
    "close": (3, 57), "close_range": (436, 436), "lseek": (8, 62),
    "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None),
    "readlinkat": (267, 78), "getdents": (78, None), "getdents64": (217, 61), "getcwd": (79, 17), "chdir": (80, 49),
    "fchdir": (81, 50), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None),
    "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "chmod": (90, None),
    "fchmod": (91, 52), "fchmodat": (268, 53), "umask": (95, 166), "utimensat": (280, 88), "truncate": (76, 45),
    "ftruncate": (77, 46), "fsync": (74, 82), "fdatasync": (75, 83),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    # pipes and waiting
    "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73), "select": (23, None),
    "pselect6": (270, 72), "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None),
    "epoll_pwait": (281, 22), "eventfd2": (290, 19), "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211),
    "recvmsg": (47, 212), "shutdown": (48, 210),
    # memory, signals, clocks
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "brk": (12, 214),
    "madvise": (28, 233), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132),
    "pause": (34, None), "alarm": (37, None), "getitimer": (36, 102), "setitimer": (38, 103),
    "restart_syscall": (219, 128), "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    # the process itself
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158), "getresuid": (118, 148),
    "getresgid": (120, 150), "getpgid": (121, 155), "getpgrp": (111, None), "getsid": (124, 156), "uname": (63, 160),
    "capget": (125, 90),
    "sysinfo": (99, 179), "getrusage": (98, 165), "getrlimit": (97, 163), "setrlimit": (160, 164), "getcpu": (309, 168),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "futex": (202, 98), "set_robust_list": (273, 99),
    "get_robust_list": (274, 100), "set_tid_address": (218, 96), "rseq": (334, 293), "arch_prctl": (158, None),
    "membarrier": (324, 283), "getrandom": (318, 278), "exit": (60, 93), "exit_group": (231, 94), "wait4": (61, 260),
    "waitid": (247, 95),
}  # fmt: skip
CONDITIONAL: dict[str, tuple[int, int | None]] = {
    "open": (2, None), "openat": (257, 56), "fcntl": (72, 25),
    "socketpair": (53, 199), "ioctl": (16, 29), "prctl": (157, 167), "prlimit64": (302, 261), "kill": (62, 129),
    "tgkill": (234, 131), "clone": (56, 220), "clone3": (435, 435),
}  # fmt: skip
_WRITING = frozenset({
    "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "chmod", "fchmod", "fchmodat",
    "utimensat", "truncate", "ftruncate",
})  # fmt: skip
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_AF_UNIX, _SOCK_STREAM, _SOCK_NONBLOCK, _SOCK_CLOEXEC = 1, 1, 0x800, 0x80000
# TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
_IOCTLS = 0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451
# DUPFD GETFD SETFD GETFL DUPFD_CLOEXEC GETPIPE_SZ: no lease, lock, owner or signal
_FCNTLS = 0, 1, 2, 3, 1030, 1032
_F_SETFL, _O_ASYNC = 4, 0o20000
_O_WRITING = 0o1 | 0o2 | 0o100 | 0o1000  # WRONLY RDWR CREAT TRUNC
_PR_SET_SECCOMP, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 22, 15, 16, 0x53564D41
_CLONE_THREAD = 0x00010000
_CLONE_NAMESPACES = 0x7E020000

_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_RET_ALLOW, _RET_ERRNO, _RET_KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_SECCOMP_MODE_FILTER = 2


@dataclass(frozen=True)
class Rules:
    """What a filter allows besides ALLOWED.

    ``processes``: fork, signals to others, and a further filter. ``writes``: to open files for writing, and to make,
    change and remove them: where there is no file system of the jail's own, nothing may.
    """

    processes: bool = False
    threads: bool = True
    writes: bool = True


def install(pid: int, rules: Rules) -> None:
    """Filter the system calls of this thread and of all that it starts; ``pid`` is this process's own.

    Needs no_new_privs (kernel.forbid_new_privileges). Raises OSError where the kernel has no filters.
    """
    program = _program(pid, rules)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    kernel.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, name="seccomp")


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _load(argument: int) -> bytes:
    return _instruction(_LOAD, 16 + 8 * argument)


def _refuse(number: int) -> bytes:
    return _instruction(_RETURN, _RET_ERRNO | number)


_ALLOW, _FORBID = _instruction(_RETURN, _RET_ALLOW), _refuse(errno.EPERM)


def _program(pid: int, rules: Rules) -> bytes:
    column, architecture = _ARCHITECTURES.get(platform.machine(), (None, 0))
    if column is None:
        raise OSError(f"seccomp: the system calls of {platform.machine()} are not known here")
    code = [
        _instruction(_LOAD, 4),
        _instruction(_JUMP_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _RET_KILL_PROCESS),
        _instruction(_LOAD, 0),
    ]
    blocks = {name: [_ALLOW] for name in ALLOWED if rules.writes or name not in _WRITING}
    for name, block in (blocks | _conditions(pid, rules)).items():
        number = (ALLOWED | CONDITIONAL)[name][column]
        if number is not None:
            code += [_instruction(_JUMP_EQUAL, number, 0, len(block)), *block]
    return b"".join([*code, _FORBID])


def _conditions(pid: int, rules: Rules) -> dict[str, list[bytes]]:
    options = [_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA, *([_PR_SET_SECCOMP] if rules.processes else [])]
    own = [_ALLOW] if rules.processes else _argument_is_one_of(0, [pid])
    return {
        "open": [_ALLOW] if rules.writes else _argument_has_none_of(1, _O_WRITING),
        "openat": [_ALLOW] if rules.writes else _argument_has_none_of(2, _O_WRITING),
        "fcntl": _descriptor_flags(),
        "socketpair": _stream_pair(),
        "ioctl": _argument_is_one_of(1, _IOCTLS),
        "prctl": _argument_is_one_of(0, options),
        "prlimit64": _argument_is_one_of(0, [0]),
        "kill": own,
        "tgkill": own,
        "clone": _clone(rules),
        # Its flags lie in memory, out of a filter's sight: libc falls back to clone.
        "clone3": [_refuse(errno.ENOSYS)],
    }


def _argument_is_one_of(argument: int, values: Sequence[int]) -> list[bytes]:
    """Allow where the lower 32 bits of an argument (all that the kernel looks at here) are one of ``values``."""
    count = len(values)
    tests = [_instruction(_JUMP_EQUAL, value, count - number, 0) for number, value in enumerate(values)]
    return [_load(argument), *tests, _FORBID, _ALLOW]


def _argument_has_none_of(argument: int, bits: int) -> list[bytes]:
    return [_load(argument), _instruction(_JUMP_SET, bits, 0, 1), _FORBID, _ALLOW]


def _descriptor_flags() -> list[bytes]:
    """fcntl: a lease would stop others from opening a file, and an owner of a descriptor is sent signals."""
    set_flags = _argument_has_none_of(2, _O_ASYNC)
    skip = _instruction(_JUMP_EQUAL, _F_SETFL, 0, len(set_flags))
    return [_load(1), skip, *set_flags, *_argument_is_one_of(1, _FCNTLS)]


def _stream_pair() -> list[bytes]:
    """Two connected ends, as asyncio needs: a datagram socket could be pointed at a service of the machine."""
    kinds = [_SOCK_STREAM | a | b for a in (0, _SOCK_NONBLOCK) for b in (0, _SOCK_CLOEXEC)]
    return [_load(0), _instruction(_JUMP_EQUAL, _AF_UNIX, 1, 0), _FORBID, *_argument_is_one_of(1, kinds)]


def _clone(rules: Rules) -> list[bytes]:
    """Threads, and with ``processes`` forks, but never with a namespace of their own."""
    if not rules.threads and not rules.processes:
        return [_refuse(errno.EAGAIN)]
    wanted = [] if rules.processes else [_instruction(_JUMP_SET, _CLONE_THREAD, 1, 0), _refuse(errno.EAGAIN)]
    return [_load(0), _instruction(_JUMP_SET, _CLONE_NAMESPACES, 0, 1), _FORBID, *wanted, _ALLOW]
