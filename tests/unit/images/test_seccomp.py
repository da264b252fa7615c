"""The filter, run on paper: what it says to a call, on machines that are not at hand too."""

from __future__ import annotations

import errno
import platform
import struct

import pytest

from worker.images import seccomp

X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
PID = 4711
THREAD = 0x003D0F00
"""The flags of pthread_create: CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID."""
FORK, NEW_USER_NAMESPACE = 0x01200011, 0x10000000


def verdict(machine: str, architecture: int, number: int, argument: int = 0) -> int:
    """What the filter for a machine says to a call, by classic BPF's rules (linux/filter.h)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "machine", lambda: machine)
        code = seccomp.program(PID)
    instructions = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    memory = {0: number, 4: architecture, 16: argument & 0xFFFFFFFF}
    accumulator = at = 0
    while True:
        operation, if_true, if_false, value = instructions[at]
        at += 1
        match operation:
            case 0x20:
                accumulator = memory[value]
            case 0x54:
                accumulator &= value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x06:
                return int(value)


def refused(number: int) -> int:
    return ERRNO | number


@pytest.mark.parametrize(
    ("call", "argument", "expected"),
    [
        (63, 0, ALLOW),  # read
        (207, 0, ALLOW),  # recvfrom
        (98, 0, ALLOW),  # futex
        (222, 0, ALLOW),  # mmap
        (94, 0, ALLOW),  # exit_group
        (220, THREAD, ALLOW),  # clone
        (220, FORK, refused(errno.EPERM)),
        (220, THREAD | NEW_USER_NAMESPACE, refused(errno.EPERM)),
        (435, 0, refused(errno.ENOSYS)),  # clone3
        (56, 0, refused(errno.EACCES)),  # openat
        (437, 0, refused(errno.EACCES)),  # openat2
        (198, 0, refused(errno.EPERM)),  # socket
        (203, 0, refused(errno.EPERM)),  # connect
        (221, 0, refused(errno.EPERM)),  # execve
        (129, 0, refused(errno.EPERM)),  # kill
        (131, PID, ALLOW),  # tgkill
        (131, PID + 1, refused(errno.EPERM)),
        (9999, 0, refused(errno.EPERM)),
    ],
)
def test_on_aarch64(call: int, argument: int, expected: int) -> None:
    assert verdict("aarch64", AARCH64, call, argument) == expected


@pytest.mark.parametrize(
    ("call", "argument", "expected"),
    [
        (0, 0, ALLOW),  # read
        (45, 0, ALLOW),  # recvfrom
        (56, THREAD, ALLOW),  # clone
        (56, FORK, refused(errno.EPERM)),
        (57, 0, refused(errno.EPERM)),  # fork
        (58, 0, refused(errno.EPERM)),  # vfork
        (435, 0, refused(errno.ENOSYS)),  # clone3
        (2, 0, refused(errno.EACCES)),  # open
        (41, 0, refused(errno.EPERM)),  # socket
        (59, 0, refused(errno.EPERM)),  # execve
        (234, PID, ALLOW),  # tgkill
        (234, 1, refused(errno.EPERM)),
        (0x40000000, 0, KILL),  # read, of x32
        (0xFFFFFFFF, 0, KILL),
    ],
)
def test_on_x86_64(call: int, argument: int, expected: int) -> None:
    assert verdict("x86_64", X86_64, call, argument) == expected


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", I386), ("x86_64", AARCH64), ("aarch64", X86_64)])
def test_a_call_by_another_machines_table_is_death(machine: str, architecture: int) -> None:
    assert verdict(machine, architecture, 0) == KILL


def test_a_machine_without_a_table_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert seccomp.why_not() == "no table of system calls for riscv64"
