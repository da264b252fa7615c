"""A decode process that an image has taken over: what it tries is refused, each thing by the kernel."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.hostile.conftest import decoders
from worker.images import seccomp
from worker.images.pool import DecodePool
from worker.images.sandbox import confine
from worker.records import EncodedImage

NewPool = Callable[..., Awaitable[DecodePool]]
PTRACE_ATTACH, PTRACE_TRACEME = 16, 0
CLONE_NEWUSER = 0x10000000
MEMORY_BYTES = 1 << 30
"""Beside what this process has already: it is not as light as a fork server."""

pytestmark = pytest.mark.skipif(seccomp.why_not() != "", reason=seccomp.why_not())


def confined(attempt: Callable[[], object], keep: tuple[int, ...] = ()) -> str:
    """What becomes of an attempt in a confined process: the error's name, `signal N`, or `done`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent, memory_bytes = os.getpid(), psutil.Process().memory_info().vms + MEMORY_BYTES
    child = os.fork()
    if child == 0:
        try:
            open_because = confine(memory_bytes, (theirs.fileno(), *keep), parent)
            theirs.send((open_because + _attempt(attempt)).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    theirs.close()
    _, status = os.waitpid(child, 0)
    with ours:
        return ours.recv(1000).decode() or f"signal {-os.waitstatus_to_exitcode(status)}"


def raise_the_limit() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:  # what Python makes of EPERM
        raise OSError(errno.EPERM, str(error)) from error


def _attempt(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def libc(name: str, *arguments: object) -> None:
    """A function of the C library, or Linux's by number, that answers -1 where it fails."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def test_no_connection_is_made_and_the_listener_sees_none(listener: socket.socket) -> None:
    address = listener.getsockname()
    assert confined(lambda: socket.socket().connect(address)) == "EPERM"
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_socket_that_was_left_open_could_not_be_connected_either(listener: socket.socket) -> None:
    address = listener.getsockname()
    with socket.socket() as left:
        assert confined(lambda: left.connect(address), keep=(left.fileno(),)) == "EPERM"
    with pytest.raises(BlockingIOError):
        listener.accept()


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "read a file": (lambda: os.open("/etc/passwd", os.O_RDONLY), "EACCES"),
    "make a file": (lambda: os.open("/tmp/made-by-a-decoder", os.O_CREAT | os.O_WRONLY), "EACCES"),
    "delete a file": (lambda: os.unlink("/tmp/made-by-a-decoder"), "EPERM"),
    "make a directory": (lambda: os.mkdir("/tmp/made-by-a-decoder"), "EPERM"),
    "list a directory": (lambda: os.listdir("/"), "EACCES"),
    "start a program": (lambda: os.execv("/bin/true", ["true"]), "EPERM"),
    "fork": (os.fork, "EPERM"),
    "fork as vfork": (lambda: libc("vfork"), "EPERM"),
    "make a pipe": (os.pipe, "EPERM"),
    "make a socket pair": (socket.socketpair, "EPERM"),
    "kill its parent": (lambda: os.kill(os.getppid(), signal.SIGKILL), "EPERM"),
    "kill all": (lambda: os.kill(-1, signal.SIGKILL), "EPERM"),
    "trace its parent": (lambda: libc("ptrace", PTRACE_ATTACH, os.getppid(), None, None), "EPERM"),
    "be traced": (lambda: libc("ptrace", PTRACE_TRACEME, 0, None, None), "EPERM"),
    "read another's memory": (lambda: libc("process_vm_readv", os.getppid(), None, 0, None, 0, 0), "EPERM"),
    "get a namespace of its own": (lambda: libc("unshare", CLONE_NEWUSER), "EPERM"),
    "mount": (lambda: libc("mount", b"none", b"/mnt", b"tmpfs", 0, None), "EPERM"),
    "get memory beside its limit": (lambda: os.memfd_create("more"), "EPERM"),
    "raise its limit": (raise_the_limit, "EPERM"),
    "be looked into again": (lambda: seccomp.prctl(4, 1), "EPERM"),
    "signal a thread of its parent": (lambda: libc("tgkill", os.getppid(), os.getppid(), 9), "EPERM"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_cannot(what: str) -> None:
    attempt, refusal = REFUSED[what]
    assert confined(attempt) == refusal


@pytest.mark.parametrize("number", [425, 426, 427, 321, 298, 323, 250, 308, 438], ids=lambda number: f"call {number}")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
def test_calls_that_attack_kernels_are_refused(number: int) -> None:
    """io_uring (3), bpf, perf_event_open, userfaultfd, keyctl, setns, pidfd_getfd."""
    assert confined(lambda: libc("syscall", number, 0, 0, 0, 0)) == "EPERM"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 is of x86_64")
def test_a_call_by_the_x32_table_is_death() -> None:
    assert confined(lambda: libc("syscall", 0x40000000 + 39)) == f"signal {signal.SIGSYS.value}"


def test_it_can_compute_take_memory_and_start_a_thread() -> None:
    def work() -> None:
        thread = threading.Thread(target=lambda: mmap.mmap(-1, 1 << 20).close())
        thread.start()
        thread.join()

    assert confined(work) == "done"


def test_memory_beyond_the_limit_is_refused() -> None:
    assert confined(lambda: mmap.mmap(-1, 2 * MEMORY_BYTES)) == "ENOMEM"


def test_without_a_filter_it_says_why_and_the_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "why_not", lambda: "no filter here: ")
    assert confined(lambda: os.open("/etc/passwd", os.O_RDONLY)) == "no filter here: EMFILE"
    assert confined(socket.socket) == "no filter here: EMFILE"
    assert confined(lambda: mmap.mmap(-1, 2 * MEMORY_BYTES)) == "no filter here: ENOMEM"


def test_an_abort_is_seen_as_one() -> None:
    assert confined(os.abort) == f"signal {signal.SIGABRT.value}"


def test_one_whose_fork_server_is_gone_does_not_begin() -> None:
    child = os.fork()
    if child == 0:
        try:
            confine(MEMORY_BYTES, (), parent=1)
        except OSError:
            os._exit(7)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


async def test_a_pool_says_that_its_processes_are_shut_in(pool: NewPool) -> None:
    started = await pool(decode_processes=2)
    assert started.confinement().shut
    for child in decoders():
        status = Path(f"/proc/{child.pid}/status").read_text()
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status


async def test_a_process_inherits_no_secret_and_no_file(pool: NewPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-ours")
    held, other = os.pipe()
    os.set_inheritable(held, True)
    await pool()
    os.close(held)
    os.close(other)
    [child] = decoders()
    server = child.parent()
    assert server is not None
    for process in (child, server):
        assert b"a-secret-of-ours" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    folder = Path(f"/proc/{child.pid}/fd")
    found = sorted(os.readlink(link).partition(":")[0] for link in folder.iterdir())
    assert found == ["/dev/null", "/dev/null", "/dev/null", "socket"]


async def test_a_new_process_stands_soon_after_one_was_killed(
    pool: NewPool, good_image: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Says how soon. Not a test of time: these machines are noisy."""
    started = await pool()
    took_s = [await _killed_until_it_stands(started, good_image) for _ in range(20)]
    with capsys.disabled():
        assert len(took_s) == 20
        sys.stdout.write(
            f"\n  killed until the next has decoded: median {statistics.median(took_s) * 1000:.1f} ms of 20\n"
        )


async def _killed_until_it_stands(started: DecodePool, image: bytes) -> float:
    await started.decode(EncodedImage(image))
    [child] = decoders()
    begun_s = time.perf_counter()
    os.kill(child.pid, signal.SIGKILL)
    await started.decode(EncodedImage(image))
    took_s = time.perf_counter() - begun_s
    assert decoders() != [child]
    return took_s
