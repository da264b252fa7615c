"""The system calls that are left to a decode process, as a seccomp filter (Linux, x86_64 and aarch64).

A list of what is allowed, not of what is forbidden: a kernel's next call is refused before anyone here heard of it.
What is on it computes, takes memory, reads and writes descriptors that are open already, and ends the process. There is
no call on it that opens a file or a socket, starts a program or a process, or touches another one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_ALLOWED = {
    "futex": (202, 98),
    "recvfrom": (45, 207),
    "sendto": (44, 206),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "mprotect": (10, 226),
    "brk": (12, 214),
    "setitimer": (38, 103),
    "getitimer": (36, 102),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "membarrier": (324, 283),
    "read": (0, 63),
    "write": (1, 64),
    "writev": (20, 66),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""Numbers by machine: x86_64, aarch64. Those that every image needs stand first."""
_OPENING = {"open": (2, None), "creat": (85, None), "openat": (257, 56), "openat2": (437, 437)}
_CLONE, _CLONE3, _TGKILL = (56, 220), (435, 435), (234, 131)

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column of the tables above, and AUDIT_ARCH_* of linux/audit.h."""
_X32_BIT = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_CLONE_THREAD, _CLONE_NEW_NAMESPACES, _CLONE_PTRACE = 0x00010000, 0x7E020000, 0x00002000

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2


def why_not() -> str:
    """Why there is no filter for this machine; empty where there is one."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return f"no table of system calls for {machine}"
    return "" if struct.calcsize("P") == 8 else "this Python is no 64-bit program"


def install() -> None:
    """Put the filter on this process, for good. PR_SET_NO_NEW_PRIVS has to be set. Raises OSError where it fails."""
    code = program(os.getpid())
    instructions = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(instructions)))
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(head))


def prctl(option: int, *arguments: int) -> None:
    """prctl(2). Raises OSError."""
    words = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    if ctypes.CDLL(None, use_errno=True).prctl(option, *words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def program(pid: int) -> bytes:
    """The filter in BPF for the process of this id: the only one that it may signal."""
    column, architecture = _ARCHITECTURES[platform.machine()]
    calls = b"".join(_if_equal(numbers[column], _ALLOW) for numbers in _ALLOWED.values())
    opening = (numbers[column] for numbers in _OPENING.values())
    calls += b"".join(_if_equal(number, _refuse(errno.EACCES)) for number in opening if number is not None)
    # The C library asks with clone3 first, whose flags lie in memory that a filter cannot see, and then with clone.
    calls += _if_equal(_CLONE3[column], _refuse(errno.ENOSYS))
    return _of_this_machine(architecture) + calls + _threads_only(_CLONE[column]) + _itself_only(_TGKILL[column], pid)


def _of_this_machine(architecture: int) -> bytes:
    """Kill what comes by another machine's table (32-bit calls, x32): its numbers mean other calls."""
    return (
        _instruction(_LOAD, _ARCHITECTURE_AT)
        + _instruction(_EQUAL, architecture, 1, 0)
        + _instruction(_RETURN, _KILL)
        + _instruction(_LOAD, _NUMBER_AT)
        + _instruction(_AT_LEAST, _X32_BIT, 0, 1)
        + _instruction(_RETURN, _KILL)
    )


def _threads_only(clone: int) -> bytes:
    """A codec may start a thread of this process, in the namespaces that it has."""
    watched = _CLONE_THREAD | _CLONE_NEW_NAMESPACES | _CLONE_PTRACE
    return (
        _instruction(_EQUAL, clone, 0, 4)
        + _instruction(_LOAD, _FIRST_ARGUMENT_AT)
        + _instruction(_AND, watched)
        + _if_equal(_CLONE_THREAD, _ALLOW)
        + _instruction(_LOAD, _NUMBER_AT)
    )


def _itself_only(tgkill: int, pid: int) -> bytes:
    """abort() signals its own thread, so that a crash is seen as what it is. The end: everything else is refused."""
    return (
        _instruction(_EQUAL, tgkill, 0, 3)
        + _instruction(_LOAD, _FIRST_ARGUMENT_AT)
        + _if_equal(pid, _ALLOW)
        + _instruction(_RETURN, _refuse(errno.EPERM))
    )


def _if_equal(value: int, verdict: int) -> bytes:
    return _instruction(_EQUAL, value, 0, 1) + _instruction(_RETURN, verdict)


def _refuse(number: int) -> int:
    return _ERRNO | number


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter; the jumps count instructions to leap over."""
    return struct.pack("HBBI", code, if_true, if_false, value)
